// Whether the services that feed subscriptions are still there and still know them: one ping at a time per service, for all
// windows together.

import { decode, encode } from "../core/codec.js";
import { bytesOf } from "../core/names.js";

/** First frames of pings and of unsubscribing: a letter and a number. No window's name begins with a letter. */
export const PING_NAME = "p";
export const UNSUBSCRIBE_NAME = "u";

const PING_MS = 500;
/** A service that has left a ping unanswered for so long is taken for silent. */
const SILENT_MS = 2_000;
const PING = encode({ type: "ping" });

interface Sub {
  /** Of the service when it was made. */
  readonly epoch: string;
  /** The last ping before it was held: that one's answer may not count it yet. */
  readonly after: number;
}

interface Watched {
  readonly subs: Map<string, Sub>;
  epoch: string | null;
  isThere: boolean;
  /** The ping under way. */
  ping: { readonly number: number; readonly sentAt: number } | null;
  /** It seems to have lost some; or they were given up on its side, which we hear of before the next pong. */
  isSuspect: boolean;
}

/** What a watch does with what it finds. */
export interface WatchHost {
  request(service: string, name: Uint8Array, body: Uint8Array): void;
  announce(service: string, epoch: string | null, lost: boolean): void;
}

export class Watch {
  readonly #host: WatchHost;
  readonly #watched = new Map<string, Watched>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #last = 0;

  constructor(host: WatchHost) {
    this.#host = host;
  }

  /** A subscription was made, in this epoch of the service. */
  hold(service: string, sub: string, epoch: string): void {
    let watched = this.#watched.get(service);
    if (watched === undefined) {
      watched = { subs: new Map(), epoch: null, isThere: true, ping: null, isSuspect: false };
      this.#watched.set(service, watched);
      this.#timer ??= setInterval(() => this.#tick(), PING_MS);
    }
    watched.subs.set(sub, { epoch, after: this.#last });
  }

  /** It is not wanted any more. A service that was replaced meanwhile does not know it: that is answered alike. */
  release(service: string, sub: string): void {
    const watched = this.#watched.get(service);
    if (watched !== undefined) {
      watched.subs.delete(sub);
      this.#forgetUnused(service, watched);
    }
    const name = bytesOf(UNSUBSCRIBE_NAME + ++this.#last);
    this.#host.request(service, name, encode({ type: "unsubscribe", sub }));
  }

  /** The connection came or went. */
  onConnection(service: string, isUp: boolean): void {
    const watched = this.#watched.get(service);
    if (watched === undefined) {
      return;
    }
    if (isUp) {
      // Ask at once who is there now; what it does not know on this connection is lost.
      watched.isSuspect = true;
      this.#ping(service, watched, performance.now());
    } else {
      this.#silent(service, watched);
    }
  }

  /** The database process ended: all its services are gone. */
  allGone(): void {
    for (const [service, watched] of this.#watched) {
      this.#silent(service, watched);
    }
  }

  /** The database runs again, with these services. */
  allBack(services: readonly string[]): void {
    for (const [service, watched] of this.#watched) {
      if (services.includes(service)) {
        this.#ping(service, watched, performance.now());
      } else {
        this.#watched.delete(service);
      }
    }
  }

  /** Take in the answer to a ping. */
  take(service: string, name: string, body: Uint8Array): void {
    const watched = this.#watched.get(service);
    const message = decode(body);
    const ping = watched?.ping;
    if (watched === undefined || !ping || name !== PING_NAME + ping.number || message.type !== "pong") {
      return;
    }
    watched.ping = null;
    const { epoch, isThere } = watched;
    const lost = this.#hasLost(watched, ping.number, message.epoch, message.subscriptions);
    watched.epoch = message.epoch;
    watched.isThere = true;
    if (lost || !isThere || epoch !== message.epoch) {
      this.#host.announce(service, message.epoch, lost);
    }
    this.#forgetUnused(service, watched);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#watched.clear();
  }

  /** Compare what was held before a ping with what its answer knows; what is lost is forgotten until it is held again. */
  #hasLost(watched: Watched, ping: number, epoch: string, found: number): boolean {
    const counted = [...watched.subs].filter(([, sub]) => sub.after < ping);
    const known = counted.filter(([, sub]) => sub.epoch === epoch);
    // Subscriptions that are being made make the service's count higher, never lower.
    const isShort = found < known.length;
    const lost = isShort && watched.isSuspect;
    watched.isSuspect = isShort && !lost;
    for (const [name, sub] of counted) {
      if (lost || sub.epoch !== epoch) {
        watched.subs.delete(name);
      }
    }
    return lost;
  }

  #tick(): void {
    const now = performance.now();
    for (const [service, watched] of this.#watched) {
      const isLate = watched.ping !== null && now - watched.ping.sentAt >= SILENT_MS;
      if (isLate) {
        this.#silent(service, watched);
      }
      if (isLate || watched.ping === null) {
        this.#ping(service, watched, now);
      }
    }
  }

  #ping(service: string, watched: Watched, now: number): void {
    const number = ++this.#last;
    watched.ping = { number, sentAt: now };
    this.#host.request(service, bytesOf(PING_NAME + number), PING);
  }

  #silent(service: string, watched: Watched): void {
    if (watched.isThere) {
      watched.isThere = false;
      this.#host.announce(service, null, false);
    }
  }

  /** A service that is away is watched until it is back: others avoid it until they hear so. */
  #forgetUnused(service: string, { subs, isThere }: Watched): void {
    if (subs.size === 0 && isThere) {
      this.#watched.delete(service);
    }
    if (this.#watched.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
