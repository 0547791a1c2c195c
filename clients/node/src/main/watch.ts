// Whether the services that feed subscriptions are still there and still know them: one ping at a time per service, for all
// windows together.

import { decode, encode } from "../core/codec.js";
import { bytesOf } from "../core/names.js";

/** First frames of pings and of unsubscribing: a letter and a number. No window's name begins with a letter. */
export const PING_NAME = "p";
export const UNSUBSCRIBE_NAME = "u";

const PING_MS = 500;
/** A service that has answered nothing for so long is taken for silent. */
const SILENT_MS = 2_000;

interface Watched {
  /** Subscriptions by name, and in which era they were made. */
  readonly subs: Map<string, number>;
  /** Counts the times that what was subscribed before was lost. */
  era: number;
  epoch: string | null;
  isThere: boolean;
  answeredAt: number;
  /** The ping under way, with how many subscriptions the service must know at least; null if there is none. */
  ping: { readonly name: string; readonly atLeast: number; hasReleases: boolean } | null;
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

  /** A subscription was made. */
  hold(service: string, sub: string): void {
    let watched = this.#watched.get(service);
    if (watched === undefined) {
      const answeredAt = performance.now();
      watched = { subs: new Map(), era: 0, epoch: null, isThere: true, answeredAt, ping: null };
      this.#watched.set(service, watched);
      this.#timer ??= setInterval(() => this.#tick(), PING_MS);
    }
    watched.subs.set(sub, watched.era);
  }

  /** It is not wanted any more. A service that was replaced meanwhile does not know it: that is answered alike. */
  release(service: string, sub: string): void {
    const watched = this.#watched.get(service);
    if (watched?.subs.delete(sub) === true) {
      if (watched.ping !== null) {
        watched.ping.hasReleases = true;
      }
      if (watched.subs.size === 0) {
        this.#watched.delete(service);
      }
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
      // Ask at once who is there now.
      this.#ping(service, watched);
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

  /** The database runs again. */
  allBack(): void {
    for (const [service, watched] of this.#watched) {
      this.#ping(service, watched);
    }
  }

  /** Take in the answer to a ping. */
  take(service: string, name: string, body: Uint8Array): void {
    const watched = this.#watched.get(service);
    const message = decode(body);
    if (watched?.ping?.name !== name || message.type !== "pong") {
      return;
    }
    const { atLeast, hasReleases } = watched.ping;
    watched.ping = null;
    watched.answeredAt = performance.now();
    const isReplaced = watched.epoch !== null && watched.epoch !== message.epoch;
    // Subscriptions that are being made make the service's count higher, never lower.
    const lost = isReplaced || (message.subscriptions < atLeast && !hasReleases);
    if (lost) {
      watched.era++;
    }
    if (lost || !watched.isThere || watched.epoch === null) {
      watched.epoch = message.epoch;
      watched.isThere = true;
      this.#host.announce(service, message.epoch, lost && !isReplaced);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watched.clear();
  }

  #tick(): void {
    const now = performance.now();
    for (const [service, watched] of this.#watched) {
      if (now - watched.answeredAt >= SILENT_MS) {
        this.#silent(service, watched);
      }
      this.#ping(service, watched);
    }
    if (this.#watched.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /** Send a ping; one that is unanswered yet is not waited for, it may be lost. */
  #ping(service: string, watched: Watched): void {
    const name = PING_NAME + ++this.#last;
    let atLeast = 0;
    for (const era of watched.subs.values()) {
      atLeast += era === watched.era ? 1 : 0;
    }
    watched.ping = { name, atLeast, hasReleases: false };
    this.#host.request(service, bytesOf(name), encode({ type: "ping" }));
  }

  #silent(service: string, watched: Watched): void {
    if (watched.isThere) {
      watched.isThere = false;
      this.#host.announce(service, null, false);
    }
  }
}
