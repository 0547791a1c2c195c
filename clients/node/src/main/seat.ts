// One window's place in the hub, and the channel of the main process's own database object: what it may have under way, which
// names it may use, and what has to be tidied up when it goes.

import { randomBytes } from "node:crypto";

import type { Channel, CommitRequest } from "../core/channel.js";
import { encode } from "../core/codec.js";
import type { ErrorParts } from "../core/errors.js";
import { beginsWith, bytesOf, numberOf, prefixOf } from "../core/names.js";
import { FRAME_BYTES_MAX } from "../generated/wire.js";
import { HEAD_BYTES } from "./committer.js";
import type { Hub } from "./hub.js";

/** Bytes of an acknowledgement, the only thing there is to tell. */
const TELL_BYTES_MAX = 1_024;
/** Nobody guesses so many; six bytes are eight characters. */
const SECRET_BYTES = 6;
/** Bytes of one window's commits that are not answered yet. */
const COMMIT_BYTES_MAX = 64 * 1024 * 1024;
/** Subscriptions of one window that are remembered; the server allows fewer. */
const SUBSCRIPTIONS_MAX = 20_000;
/** What only the main process may speak to: it can stop the database. */
const RESERVED = "supervisor";

export class Seat implements Channel {
  readonly prefix: string;
  onServices: Channel["onServices"] = () => undefined;
  onFrame: Channel["onFrame"] = () => undefined;
  onService: Channel["onService"] = () => undefined;
  onEnd: Channel["onEnd"] = () => undefined;
  readonly #hub: Hub;
  readonly #prefix: Uint8Array;
  readonly #isMain: boolean;
  readonly #leave: () => void;
  /** Commits under way: request number to commit number and bytes. */
  readonly #commits = new Map<number, { readonly commit: number; readonly bytes: number }>();
  readonly #subs = new Map<string, string>();
  #commitBytes = 0;

  constructor(hub: Hub, number: number, isMain: boolean, leave: () => void) {
    this.#hub = hub;
    this.#isMain = isMain;
    this.#leave = leave;
    this.prefix = prefixOf(number, randomBytes(SECRET_BYTES).toString("base64url"));
    this.#prefix = bytesOf(this.prefix);
  }

  get services(): readonly string[] {
    return this.#isMain ? this.#hub.services : this.#hub.services.filter((name) => name !== RESERVED);
  }

  /** Why nothing is answered any more; null as long as the database runs or is to run again. */
  get ended(): ErrorParts | null {
    return this.#hub.ended;
  }

  request(service: string, id: Uint8Array, body: Uint8Array): void {
    if (this.#admits(service, id, body.length)) {
      this.#hub.link.request(service, id, body);
    }
  }

  tell(service: string, body: Uint8Array): void {
    if (body.length <= TELL_BYTES_MAX && this.#offers(service)) {
      this.#hub.link.tell(service, body);
    }
  }

  commit(request: CommitRequest): void {
    const { id, events } = request;
    const number = numberOf(id, this.prefix.length);
    if (!this.#admits("writer", id, events.length) || this.#commits.has(number)) {
      return;
    }
    const bytes = events.length + HEAD_BYTES;
    if (this.#commitBytes + bytes > COMMIT_BYTES_MAX) {
      this.#refuse("writer", id, busy(this.#commitBytes));
      return;
    }
    const commit = this.#hub.committer.submit(request, (body) => {
      this.#settled(number);
      this.onFrame("writer", id, body);
    });
    this.#commitBytes += bytes;
    this.#commits.set(number, { commit, bytes });
  }

  cancel(id: Uint8Array): void {
    const number = numberOf(id, this.prefix.length);
    const found = this.#commits.get(number);
    if (found !== undefined) {
      this.#settled(number);
      this.#hub.committer.giveUp(found.commit);
    }
  }

  hold(service: string, sub: string, epoch: string): void {
    if (this.#owns(service, sub) && this.#subs.size < SUBSCRIPTIONS_MAX) {
      this.#subs.set(sub, service);
      this.#hub.watch.hold(service, sub, epoch);
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
    this.onServices = () => undefined;
    this.onService = () => undefined;
    this.onEnd = () => undefined;
  }

  /** An answer or a push that may be for this window; false if it is not. */
  deliver(service: string, first: Uint8Array, body: Uint8Array): boolean {
    const isOurs = beginsWith(first, this.#prefix);
    if (isOurs) {
      this.onFrame(service, first, body);
    }
    return isOurs;
  }

  /** Whether a request may go on its way; otherwise it is refused, or is none. */
  #admits(service: string, id: Uint8Array, bytes: number): boolean {
    if (!beginsWith(id, this.#prefix) || numberOf(id, this.prefix.length) < 0) {
      return false;
    }
    if (!this.#offers(service)) {
      this.#refuse(service, id, {
        code: "service_unknown",
        message: `There is no service ${JSON.stringify(service)} for this window.`,
        fix: `It has ${this.services.join(", ")}.`,
        // There may have been one before the database was started again.
        retryable: service !== RESERVED,
      });
    } else if (bytes > FRAME_BYTES_MAX) {
      this.#refuse(service, id, {
        code: "message_too_large",
        message: `The message has ${bytes} bytes; allowed are ${FRAME_BYTES_MAX}.`,
        fix: "Split it into several smaller ones.",
      });
    } else {
      return true;
    }
    return false;
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

function busy(bytes: number): ErrorParts {
  return {
    code: "busy",
    message: `Commits of ${bytes} bytes of this window are under way already.`,
    fix: "Wait for some of them before sending more.",
    retryable: true,
  };
}
