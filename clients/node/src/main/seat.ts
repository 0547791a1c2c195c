// One window's place in the hub, and the channel of the main process's own database object: what it may have under way, which
// names it may use, and what has to be tidied up when it goes.

import type { Channel, CommitRequest } from "../core/channel.js";
import { encode } from "../core/codec.js";
import type { ErrorParts } from "../core/errors.js";
import { clientOf, namesSubscription, numberOf, prefixOf } from "../core/names.js";
import { FRAME_BYTES_MAX } from "../generated/wire.js";
import type { Hub } from "./hub.js";

/** Requests of one window under way at once; past that they are refused with `busy`. */
const IN_FLIGHT_MAX = 20_000;
/** Bytes of one window's commits that are not answered yet. */
const COMMIT_BYTES_MAX = 64 * 1024 * 1024;
/** Subscriptions of one window that are remembered; the server allows fewer. */
const SUBSCRIPTIONS_MAX = 20_000;
/** What only the main process may speak to: it can stop the database. */
const RESERVED = "supervisor";

export class Seat implements Channel {
  readonly prefix: string;
  onFrame: Channel["onFrame"] = () => undefined;
  onService: Channel["onService"] = () => undefined;
  onEnd: Channel["onEnd"] = () => undefined;
  readonly #hub: Hub;
  readonly #number: number;
  readonly #isMain: boolean;
  readonly #leave: () => void;
  readonly #requests = new Set<number>();
  /** Commits under way: request number to commit number and bytes. */
  readonly #commits = new Map<number, { readonly commit: number; readonly bytes: number }>();
  readonly #subs = new Map<string, string>();
  #commitBytes = 0;

  constructor(hub: Hub, number: number, isMain: boolean, leave: () => void) {
    this.#hub = hub;
    this.#number = number;
    this.#isMain = isMain;
    this.#leave = leave;
    this.prefix = prefixOf(number);
  }

  get services(): readonly string[] {
    return this.#isMain ? this.#hub.services : this.#hub.services.filter((name) => name !== RESERVED);
  }

  request(service: string, id: Uint8Array, body: Uint8Array): void {
    const number = this.#admitted(service, id, body.length);
    if (number >= 0) {
      this.#requests.add(number);
      this.#hub.link.request(service, id, body);
    }
  }

  tell(service: string, body: Uint8Array): void {
    if (body.length <= FRAME_BYTES_MAX && this.#offers(service)) {
      this.#hub.link.tell(service, body);
    }
  }

  commit(request: CommitRequest): void {
    const bytes = request.events.length;
    const number = this.#admitted("writer", request.id, bytes);
    if (number < 0) {
      return;
    }
    if (this.#commitBytes + bytes > COMMIT_BYTES_MAX) {
      this.#refuse("writer", request.id, busy(`Commits of ${this.#commitBytes} bytes`));
      return;
    }
    const commit = this.#hub.committer.submit(request, (body) => {
      this.#settled(number);
      this.onFrame("writer", request.id, body);
    });
    this.#commitBytes += bytes;
    this.#commits.set(number, { commit, bytes });
  }

  cancel(id: Uint8Array): void {
    const number = numberOf(id, this.prefix.length);
    this.#requests.delete(number);
    const found = this.#commits.get(number);
    if (found !== undefined) {
      this.#settled(number);
      this.#hub.committer.giveUp(found.commit);
    }
  }

  hold(service: string, sub: string): void {
    if (this.#owns(service, sub) && this.#subs.size < SUBSCRIPTIONS_MAX) {
      this.#subs.set(sub, service);
      this.#hub.watch.hold(service, sub);
    }
  }

  release(service: string, sub: string): void {
    if (this.#owns(service, sub)) {
      this.#subs.delete(sub);
      this.#hub.watch.release(service, sub);
    }
  }

  /** The window is gone: its subscriptions end, its commits are carried through. */
  close(): void {
    this.#leave();
    for (const [sub, service] of this.#subs) {
      this.#hub.watch.release(service, sub);
    }
    this.#subs.clear();
    this.onFrame = () => undefined;
    this.onService = () => undefined;
    this.onEnd = () => undefined;
  }

  /** An answer or a push for this window. */
  deliver(service: string, first: Uint8Array, body: Uint8Array): void {
    if (!namesSubscription(first, this.prefix.length)) {
      this.#requests.delete(numberOf(first, this.prefix.length));
    }
    this.onFrame(service, first, body);
  }

  /** The number of a request that may go on its way; -1: it was refused or is none. */
  #admitted(service: string, id: Uint8Array, bytes: number): number {
    const number = numberOf(id, this.prefix.length);
    if (clientOf(id) !== this.#number || number < 0) {
      return -1;
    }
    if (!this.#offers(service)) {
      this.#refuse(service, id, {
        code: "service_unknown",
        message: `There is no service ${JSON.stringify(service)} for this window.`,
        fix: `It has ${this.services.join(", ")}.`,
      });
    } else if (bytes > FRAME_BYTES_MAX) {
      this.#refuse(service, id, {
        code: "message_too_large",
        message: `The message has ${bytes} bytes; allowed are ${FRAME_BYTES_MAX}.`,
        fix: "Split it into several smaller ones.",
      });
    } else if (this.#requests.size + this.#commits.size >= IN_FLIGHT_MAX && !this.#requests.has(number)) {
      this.#refuse(service, id, busy(`${IN_FLIGHT_MAX} requests`));
    } else {
      return number;
    }
    return -1;
  }

  #offers(service: string): boolean {
    return this.#hub.services.includes(service) && (this.#isMain || service !== RESERVED);
  }

  #owns(service: string, sub: string): boolean {
    return sub.startsWith(this.prefix) && this.#offers(service);
  }

  #settled(number: number): void {
    this.#commitBytes -= this.#commits.get(number)?.bytes ?? 0;
    this.#commits.delete(number);
  }

  #refuse(service: string, id: Uint8Array, error: ErrorParts): void {
    this.onFrame(service, id, encode({ type: "refused", ...error }));
  }
}

function busy(what: string): ErrorParts {
  return {
    code: "busy",
    message: `${what} of this window are under way already.`,
    fix: "Wait for some of them before sending more.",
    retryable: true,
  };
}
