// The first frame says whom a message is for, without looking into it: "<client>.<secret>." and then a number for the answer
// to a request, or "s" and a number for a push of a subscription. The main process gives each window a client number, so that
// many windows share one connection and it routes their frames by these few bytes alone. The secret is what keeps a window
// from naming another's subscriptions in messages that nobody on the way decodes.

const DOT = 0x2e;
const LETTER_S = 0x73;
const ZERO = 0x30;

/** ASCII text as bytes. For names of ten characters, this is several times faster than a TextEncoder. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) {
    bytes[at] = text.charCodeAt(at);
  }
  return bytes;
}

/** ASCII bytes as text. */
export function textOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    text += String.fromCharCode(byte);
  }
  return text;
}

/** What the names of one client begin with. secret: without a dot. */
export function prefixOf(client: number, secret: string): string {
  return `${client}.${secret}.`;
}

/** The name of a subscription. */
export function subscriptionName(prefix: string, number: number): string {
  return `${prefix}s${number}`;
}

/** The client a first frame belongs to; -1 if it is no name of a client's. */
export function clientOf(first: Uint8Array): number {
  const at = first.indexOf(DOT);
  return at < 1 ? -1 : digits(first, 0, at);
}

/** Whether a first frame begins with this prefix. */
export function beginsWith(first: Uint8Array, prefix: Uint8Array): boolean {
  for (let at = 0; at < prefix.length; at++) {
    if (first[at] !== prefix[at]) {
      return false;
    }
  }
  return true;
}

/** Whether the rest of a first frame names a subscription. */
export function namesSubscription(first: Uint8Array, prefixLength: number): boolean {
  return first[prefixLength] === LETTER_S;
}

/** Likewise where the prefix is not known any more. */
export function namesSomeSubscription(first: Uint8Array): boolean {
  return namesSubscription(first, first.lastIndexOf(DOT) + 1);
}

/** The number of a request or subscription; -1 if there is none. */
export function numberOf(first: Uint8Array, prefixLength: number): number {
  return digits(first, prefixLength + (namesSubscription(first, prefixLength) ? 1 : 0), first.length);
}

function digits(bytes: Uint8Array, from: number, to: number): number {
  if (from >= to) {
    return -1;
  }
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) {
      return -1;
    }
    value = value * 10 + digit;
  }
  return value;
}
