// Values as msgpack. Our own writer, because integers must be integers, above 2^32 too, and bigint beside them: libraries
// write floats or 64 bits for all of them. Members that are undefined are left out; nothing else is dropped or guessed.

const BYTES_FIRST = 4_096;
const BYTES_KEPT_MAX = 256 * 1024;
/** Text up to this length is tried as ASCII first: faster than a TextEncoder. */
const SHORT_CHARS = 64;
const DEPTH_MAX = 100;
const TWO_32 = 2 ** 32;

const utf8 = new TextEncoder();
let bytes = new Uint8Array(BYTES_FIRST);
let view = new DataView(bytes.buffer);
let at = 0;

/** Throws TypeError for what msgpack cannot say. The result has a buffer of its own. */
export function pack(value: unknown): Uint8Array {
  at = 0;
  write(value, 0);
  const packed = bytes.slice(0, at);
  if (bytes.length > BYTES_KEPT_MAX) {
    at = 0;
    resize(BYTES_FIRST);
  }
  return packed;
}

function write(value: unknown, depth: number): void {
  switch (typeof value) {
    case "string":
      return writeText(value);
    case "number":
      return Number.isSafeInteger(value) ? writeInteger(value) : writeFloat(value);
    case "boolean":
      return writeByte(value ? 0xc3 : 0xc2);
    case "bigint":
      return writeBigInteger(value);
    case "object":
      return value === null ? writeByte(0xc0) : writeObject(value, depth);
    case "undefined":
      return writeByte(0xc0);
    default:
      throw new TypeError(`a ${typeof value}`);
  }
}

function writeObject(value: object, depth: number): void {
  if (depth === DEPTH_MAX) {
    throw new TypeError(`more than ${DEPTH_MAX} levels of lists and objects`);
  }
  if (Array.isArray(value)) {
    writeHead(value.length, 0x90, 16, 0, 0xdc);
    for (const part of value) {
      write(part, depth + 1);
    }
  } else if (ArrayBuffer.isView(value)) {
    const part = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    writeHead(part.length, 0, 0, 0xc4, 0xc5);
    reserve(part.length);
    bytes.set(part, at);
    at += part.length;
  } else if (Object.prototype.toString.call(value) === "[object Object]") {
    const names = Object.keys(value).filter((name) => (value as Record<string, unknown>)[name] !== undefined);
    writeHead(names.length, 0x80, 16, 0, 0xde);
    for (const name of names) {
      writeText(name);
      write((value as Record<string, unknown>)[name], depth + 1);
    }
  } else {
    throw new TypeError(`a ${value.constructor.name}`);
  }
}

function writeText(text: string): void {
  reserve(5 + 3 * text.length);
  const start = at;
  if (text.length <= SHORT_CHARS) {
    writeHead(text.length, 0xa0, 32, 0xd9, 0xda);
    let place = 0;
    for (; place < text.length; place++) {
      const code = text.charCodeAt(place);
      if (code > 0x7f) {
        break;
      }
      bytes[at++] = code;
    }
    if (place === text.length) {
      return;
    }
  }
  // How long it is shows the length's own size only afterwards.
  const { written } = utf8.encodeInto(text, bytes.subarray(start + 5));
  at = start;
  writeHead(written, 0xa0, 32, 0xd9, 0xda);
  bytes.copyWithin(at, start + 5, start + 5 + written);
  at += written;
}

/** A length: in one byte with `short` where it is below `shortMax`, else behind the mark for 8, 16 or 32 bits. */
function writeHead(length: number, short: number, shortMax: number, mark8: number, mark16: number): void {
  reserve(5);
  if (length < shortMax) {
    bytes[at++] = short | length;
  } else if (mark8 !== 0 && length < 0x100) {
    bytes[at++] = mark8;
    bytes[at++] = length;
  } else if (length < 0x10000) {
    bytes[at] = mark16;
    view.setUint16(at + 1, length);
    at += 3;
  } else {
    bytes[at] = mark16 + 1;
    view.setUint32(at + 1, length);
    at += 5;
  }
}

function writeInteger(value: number): void {
  reserve(9);
  if (value >= -32 && value < 128) {
    bytes[at++] = value;
  } else if (value >= -0x80000000 && value < TWO_32) {
    const bits = value < 0 ? sizeOf(-1 - value, 0x80) : sizeOf(value, 0x100);
    bytes[at++] = (value < 0 ? 0xd0 : 0xcc) + bits;
    for (let shift = (8 << bits) - 8; shift >= 0; shift -= 8) {
      bytes[at++] = value >> shift;
    }
  } else {
    bytes[at] = value < 0 ? 0xd3 : 0xcf;
    view.setInt32(at + 1, Math.floor(value / TWO_32));
    view.setUint32(at + 5, value >>> 0);
    at += 9;
  }
}

/** 0, 1, 2: it fits in 8, 16, 32 bits. limit: the first that does not fit in 8. */
function sizeOf(value: number, limit: number): number {
  return value < limit ? 0 : value < limit * 0x100 ? 1 : 2;
}

function writeBigInteger(value: bigint): void {
  reserve(9);
  const isSigned = value < 0n;
  if (value !== (isSigned ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value))) {
    throw new TypeError("an integer of more than 64 bits");
  }
  bytes[at] = isSigned ? 0xd3 : 0xcf;
  view.setBigUint64(at + 1, BigInt.asUintN(64, value));
  at += 9;
}

function writeFloat(value: number): void {
  reserve(9);
  bytes[at] = 0xcb;
  view.setFloat64(at + 1, value);
  at += 9;
}

function writeByte(value: number): void {
  reserve(1);
  bytes[at++] = value;
}

function reserve(count: number): void {
  if (at + count > bytes.length) {
    resize(Math.max(bytes.length * 2, at + count));
  }
}

function resize(length: number): void {
  const before = bytes;
  bytes = new Uint8Array(length);
  bytes.set(before.subarray(0, at));
  view = new DataView(bytes.buffer);
}
