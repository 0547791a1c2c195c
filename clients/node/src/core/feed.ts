// One subscription on the wire: subscribing, following `moved`, acknowledging, and subscribing again whenever the service
// that feeds it was replaced. What the pushes mean for a result is its sink's business.

import type { Diff, Moved, Push, Query, Snapshot, Sql, Subscribed } from "../generated/wire.js";
import { decode, encode } from "./codec.js";
import { KeepDBError } from "./errors.js";
import type { Feeds } from "./feeds.js";

/** Pushes that may be under way, and how many are acknowledged at once: an ack for each would wake the actor as often as the
 * changes do. */
const CREDIT = 16;
const ACK_EVERY = 8;
/** First pause after a passing failure; it doubles up to the last. */
const RETRY_MS = 50;
const RETRY_MS_MAX = 2_000;

export type Plan = { readonly query: Query } | { readonly sql: Sql };

/** What a subscription feeds. */
export interface Sink {
  readonly plan: Plan;
  /** The first snapshot is to be at least this new. */
  readonly atLeast: number;
  snapshot(push: Snapshot): void;
  /** Throws if it does not fit; then a snapshot is asked for. */
  diff(push: Diff): void;
  /** What it has may be out of date; a snapshot follows when the service is back. */
  stale(): void;
  /** What it has is up to date after all. */
  fresh(): void;
  failed(error: KeepDBError): void;
}

export class Feed {
  readonly #feeds: Feeds;
  readonly #number: number;
  readonly #sub: string;
  readonly #sink: Sink;
  readonly #ack: Uint8Array;
  /** Where to subscribe. */
  #service: string;
  /** Where it was subscribed last. */
  #heldAt: string | null = null;
  /** Of the service when it took the subscription; null while there is none: pushes are of an earlier one then. */
  #epoch: string | null = null;
  /** Whether a snapshot came since: diffs before it lead on from another result. */
  #hasBase = false;
  #unacknowledged = 0;
  /** The service did not reach the position we know; a log that was restored from a backup never will. */
  #isBehind = false;
  /** Counts renewals, so that what belongs to an earlier one is recognised. */
  #round = 0;
  #pause = RETRY_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #cancel: (() => void) | undefined;

  constructor(feeds: Feeds, number: number, sub: string, sink: Sink) {
    this.#feeds = feeds;
    this.#number = number;
    this.#sub = sub;
    this.#sink = sink;
    this.#service = feeds.service();
    this.#ack = encode({ type: "ack", sub: this.#sub, count: ACK_EVERY });
  }

  stop(): void {
    this.#reset();
    this.#feeds.forget(this.#number);
    this.#release();
  }

  /** Subscribe, or subscribe again: under the same name, which replaces what was there. */
  renew(): void {
    this.#reset();
    const round = this.#round;
    const { ended } = this.#feeds;
    if (ended === null) {
      this.#feeds.enter(() => this.#subscribe(round));
    } else {
      // Later, as with every other answer.
      queueMicrotask(() => round === this.#round && this.fail(ended));
    }
  }

  take(service: string, body: Uint8Array): void {
    if (this.#epoch === null || service !== this.#service) {
      return;
    }
    const push = decode(body) as Push;
    if (++this.#unacknowledged === ACK_EVERY) {
      this.#unacknowledged = 0;
      this.#feeds.channel.tell(service, this.#ack);
    }
    if (push.type === "snapshot") {
      this.#hasBase = true;
      this.#isBehind = false;
      this.#pause = RETRY_MS;
      this.#sink.snapshot(push);
    } else if (push.type === "diff" && this.#hasBase) {
      this.#apply(push);
    } else if (push.type === "live_failed") {
      this.#reset();
      this.#release();
      this.#refused(new KeepDBError(push));
    }
  }

  onService(service: string, epoch: string | null, lost: boolean): void {
    if (service !== this.#service || this.#epoch === null) {
      return;
    }
    if (epoch === null) {
      this.#sink.stale();
    } else if (lost || epoch !== this.#epoch) {
      this.#sink.stale();
      this.renew();
    } else if (this.#hasBase) {
      this.#sink.fresh();
    }
  }

  onServices(names: readonly string[]): void {
    if (!names.includes(this.#service)) {
      this.#heldAt = null;
      this.#service = this.#feeds.service();
      this.#sink.stale();
      this.renew();
    }
  }

  fail(error: KeepDBError): void {
    this.stop();
    this.#sink.failed(error);
  }

  #reset(): void {
    this.#round++;
    this.#epoch = null;
    this.#hasBase = false;
    this.#unacknowledged = 0;
    clearTimeout(this.#timer);
    this.#cancel?.();
  }

  #release(): void {
    if (this.#heldAt !== null) {
      this.#feeds.channel.release(this.#heldAt, this.#sub);
      this.#heldAt = null;
    }
  }

  #subscribe(round: number): void {
    if (round !== this.#round) {
      this.#feeds.leave();
      return;
    }
    let isOver = false;
    const over = (): void => {
      isOver = true;
      this.#cancel = undefined;
      this.#feeds.leave();
    };
    const atLeast = this.#isBehind ? 0 : this.#sink.atLeast;
    const message = { type: "subscribe", sub: this.#sub, ...this.#sink.plan, atLeast, credit: CREDIT };
    const giveUp = this.#feeds.requests.start(
      this.#service,
      message,
      ["subscribed", "moved"],
      {},
      (answer) => {
        over();
        this.#answered(answer);
      },
      (error) => {
        over();
        this.#refused(error as KeepDBError);
      },
    );
    if (!isOver) {
      this.#cancel = () => {
        giveUp();
        over();
      };
    }
  }

  #answered(answer: Subscribed | Moved): void {
    if (answer.type === "moved") {
      this.#service = answer.service;
      this.renew();
      return;
    }
    if (this.#heldAt !== this.#service) {
      this.#release();
    }
    this.#epoch = answer.epoch;
    this.#heldAt = this.#service;
    this.#feeds.channel.hold(this.#service, this.#sub, answer.epoch);
  }

  #refused(error: KeepDBError): void {
    if (!error.retryable || this.#feeds.ended !== null) {
      this.#sink.failed(this.#feeds.ended ?? error);
      return;
    }
    this.#isBehind = error.code === "not_there_yet";
    this.#sink.stale();
    this.#timer = setTimeout(() => this.renew(), this.#pause);
    this.#pause = Math.min(this.#pause * 2, RETRY_MS_MAX);
  }

  #apply(push: Diff): void {
    try {
      this.#sink.diff(push);
    } catch (error) {
      if (!(error instanceof RangeError)) {
        throw error;
      }
      this.renew();
    }
  }
}
