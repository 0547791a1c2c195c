// A query's result that keeps itself up to date, shared by everybody in this window who asks for the same query.
//
// What it shows is an immutable snapshot: a new object when something has changed, with the same row objects where rows are
// unchanged. It subscribes when the first listener comes and unsubscribes a while after the last has gone, so that a view
// that is taken down and put up again finds everything in place.

import type { Diff, Snapshot as SnapshotPush } from "../generated/wire.js";
import { type KeepDBError, tell } from "./errors.js";
import type { Feed, Plan, Sink } from "./feed.js";
import type { Feeds } from "./feeds.js";
import { type RowObject, applyDiff, reconciled, toRows } from "./rows.js";

/**
 * `loading`: nothing has arrived yet. `live`: up to date. `stale`: right as of `seq`; the connection is being restored.
 * `error`: it has ended, `error` says why; rows are the last there were.
 */
export type Status = "loading" | "live" | "stale" | "error";

/** A result at one position. Immutable; a row that has not changed is the same object as before. */
export interface Snapshot<Row> {
  readonly rows: readonly Row[];
  readonly status: Status;
  readonly error: KeepDBError | null;
  /** The position it is true for. */
  readonly seq: number;
  /** Give it to `after` for the rows behind these; null if there are none. */
  readonly cursor: string | null;
}

const LOADING: Snapshot<never> = Object.freeze({ rows: [], status: "loading", error: null, seq: 0, cursor: null });

/** What live queries of one database object share. */
export interface LiveHost {
  readonly feeds: Feeds;
  /** Highest position this client has committed. */
  readonly lastSeq: number;
  /** How long a live query without listeners is kept, in ms. */
  readonly graceMs: number;
}

/** Called when somebody begins to listen, and when nobody has listened for a while. */
export interface LiveUse {
  begins(): void;
  ends(): void;
}

export class LiveQuery<Row> implements AsyncIterable<Snapshot<Row>> {
  readonly #host: LiveHost;
  readonly #plan: Plan;
  readonly #use: LiveUse;
  readonly #listeners = new Set<(snapshot: Snapshot<Row>) => void>();
  #current: Snapshot<Row> = LOADING;
  #columns: readonly string[] = [];
  #key: string | undefined;
  #feed: Feed | null = null;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #isDisposed = false;

  /** Made by `query.live()`. */
  constructor(host: LiveHost, plan: Plan, use: LiveUse) {
    this.#host = host;
    this.#plan = plan;
    this.#use = use;
    this.#rest();
  }

  /** The newest snapshot, at once. It moves as long as somebody listens. */
  get current(): Snapshot<Row> {
    return this.#current;
  }

  /**
   * Call back with every new snapshot, first with the present one as soon as there is one, never before this returns.
   * Returns how to stop; an aborted signal stops too.
   */
  subscribe(
    callback: (snapshot: Snapshot<Row>) => void,
    options: { signal?: AbortSignal | undefined } = {},
  ): () => void {
    const { signal } = options;
    if (signal?.aborted === true) {
      return () => undefined;
    }
    // One function may listen more than once: each gets an entry of its own.
    const listener = (snapshot: Snapshot<Row>): void => callback(snapshot);
    const stop = (): void => {
      signal?.removeEventListener("abort", stop);
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) {
        this.#rest();
      }
    };
    signal?.addEventListener("abort", stop, { once: true });
    this.#begin();
    this.#listeners.add(listener);
    const present = this.#current;
    if (present.status !== "loading") {
      queueMicrotask(() => {
        // A newer one may have been told already.
        if (this.#listeners.has(listener) && this.#current === present) {
          tell(listener, present);
        }
      });
    }
    return stop;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Snapshot<Row>> {
    return this.changes();
  }

  /** Snapshots as they come, the newest only where several came meanwhile. Ends in the error if the query fails. */
  changes(options: { signal?: AbortSignal | undefined } = {}): AsyncIterableIterator<Snapshot<Row>> {
    return iterated((tell) => this.subscribe(tell), options.signal);
  }

  /** The database was closed: nothing comes any more. */
  dispose(): void {
    this.#isDisposed = true;
    clearTimeout(this.#idle);
    this.#end();
  }

  #begin(): void {
    clearTimeout(this.#idle);
    if (this.#feed === null) {
      if (this.#current.status === "error") {
        this.#show(LOADING);
      }
      this.#use.begins();
      this.#feed = this.#host.feeds.open(this.#sink());
      this.#feed.renew();
    }
  }

  /** Nobody listens: end after a while. */
  #rest(): void {
    clearTimeout(this.#idle);
    if (this.#isDisposed) {
      return;
    }
    this.#idle = setTimeout(() => {
      this.#end();
      this.#use.ends();
    }, this.#host.graceMs);
  }

  #end(): void {
    this.#feed?.stop();
    this.#feed = null;
    if (this.#current.status === "live") {
      this.#current = { ...this.#current, status: "stale" };
    }
  }

  #sink(): Sink {
    const live = this;
    return {
      plan: live.#plan,
      get atLeast() {
        return Math.max(live.#host.lastSeq, live.#current.seq);
      },
      snapshot: (push) => live.#replace(push),
      diff: (push) => live.#update(push),
      stale: () => live.#turn("live", "stale"),
      fresh: () => live.#turn("stale", "live"),
      failed: (error) => {
        live.#feed?.stop();
        live.#feed = null;
        live.#show({ ...live.#current, status: "error", error });
      },
    };
  }

  #replace(push: SnapshotPush): void {
    const { columns, key = -1, seq, cursor = null } = push;
    this.#columns = columns;
    this.#key = columns[key];
    const rows = reconciled(this.#current.rows as readonly RowObject[], toRows(columns, push.rows), this.#key);
    this.#show({ rows: rows as readonly Row[], status: "live", error: null, seq, cursor });
  }

  #update(push: Diff): void {
    if (this.#key === undefined) {
      throw new RangeError("a diff for rows without a key");
    }
    const rows = applyDiff(this.#current.rows as readonly RowObject[], this.#columns, this.#key, push);
    this.#show({
      rows: rows as readonly Row[],
      status: "live",
      error: null,
      seq: push.seq,
      cursor: push.cursor ?? null,
    });
  }

  #turn(from: Status, to: Status): void {
    if (this.#current.status === from) {
      this.#show({ ...this.#current, status: to });
    }
  }

  #show(snapshot: Snapshot<Row>): void {
    this.#current = Object.freeze(snapshot);
    for (const listener of [...this.#listeners]) {
      tell(listener, snapshot);
    }
  }
}

/** Not a generator: its `return` would wait for the next snapshot, and keep the subscription as long. */
function iterated<Row>(
  subscribe: (tell: (snapshot: Snapshot<Row>) => void) => () => void,
  signal: AbortSignal | undefined,
): AsyncIterableIterator<Snapshot<Row>> {
  type Step = IteratorResult<Snapshot<Row>, undefined>;
  type Outcome = Step | Promise<never>;
  const done: Step = { value: undefined, done: true };
  let newest: Step | null = null;
  let last: (() => Outcome) | null = null;
  const waiting: ((outcome: Outcome) => void)[] = [];
  const finish = (outcome: () => Outcome): void => {
    if (last === null) {
      last = outcome;
      stop();
      signal?.removeEventListener("abort", aborted);
      waiting.splice(0).forEach((take) => take(outcome()));
    }
  };
  const aborted = (): void => finish(() => Promise.reject(signal?.reason));
  const stop = subscribe((snapshot) => {
    const { error } = snapshot;
    if (error !== null) {
      finish(() => Promise.reject(error));
      return;
    }
    newest = { value: snapshot, done: false };
    const take = waiting.shift();
    if (take !== undefined) {
      take(newest);
      newest = null;
    }
  });
  signal?.addEventListener("abort", aborted);
  if (signal?.aborted === true) {
    aborted();
  }
  return {
    next: () =>
      new Promise((resolve) => {
        const found = newest ?? last?.();
        newest = null;
        if (found === undefined) {
          waiting.push(resolve);
        } else {
          resolve(found);
        }
      }),
    return: () => {
      newest = null;
      finish(() => done);
      last = () => done;
      return Promise.resolve(done);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
