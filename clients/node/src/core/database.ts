// `Database`: what an app does with a running KeepDB, in a window or in the main process.

/// <reference lib="esnext.disposable" preserve="true" />

import { type Complete, type Description, type Explanation, type NewEvent, complete } from "../generated/wire.js";
import type { Channel } from "./channel.js";
import { encode } from "./codec.js";
import { KeepDBError, closedError, protocolError, uncertain, usage } from "./errors.js";
import type { Plan } from "./feed.js";
import { Feeds } from "./feeds.js";
import { LiveQuery } from "./live.js";
import { namesSubscription } from "./names.js";
import { CollectionQuery, Query, type QueryHost, type ReadOptions, type Result, refuseUndefined } from "./query.js";
import { type Receipt, receiptOf } from "./receipt.js";
import { type CallOptions, Requests } from "./requests.js";
import { toRows } from "./rows.js";
import type {
  AnySchema,
  CollectionName,
  DataOf,
  EventName,
  EventOf,
  IdOf,
  MethodData,
  MethodName,
  RowOf,
  UnknownSchema,
} from "./schema.js";
import { Workers } from "./workers.js";

/** How long a live query that nobody listens to is kept. */
const GRACE_MS = 5_000;
/** How often `explain` is sent on to where the query lives. */
const MOVES_MAX = 8;

export interface DatabaseOptions {
  /** How long a live query that nobody listens to is kept, in ms; default 5 000. */
  readonly liveGraceMs?: number | undefined;
}

export interface CommitOptions extends CallOptions {
  /** `disk` (default): synced before the receipt. `os`: survives killed processes, not a power cut. */
  readonly durability?: "disk" | "os" | undefined;
  /** Your own name for the deed: a second commit with it returns the first receipt, also after a restart. */
  readonly idempotencyKey?: string | undefined;
}

/** The id is needed where the event is about an existing row. */
type CommitArguments<S extends AnySchema, T extends EventName<S>> =
  IdOf<S, T> extends { readonly id: string }
    ? [options: IdOf<S, T> & CommitOptions]
    : [options?: IdOf<S, T> & CommitOptions];

export class Database<S extends AnySchema = UnknownSchema> {
  readonly #channel: Channel;
  /** @internal */
  protected readonly requests: Requests;
  readonly #feeds: Feeds;
  readonly #workers: Workers;
  readonly #live = new Map<string, LiveQuery<object>>();
  readonly #graceMs: number;
  readonly #host: QueryHost;
  #lastSeq = 0;
  #schema: Description["schema"] | undefined;

  constructor(channel: Channel, options: DatabaseOptions = {}) {
    this.#channel = channel;
    this.#graceMs = options.liveGraceMs ?? GRACE_MS;
    this.#workers = new Workers(channel.services);
    this.requests = new Requests(channel);
    this.#feeds = new Feeds(channel, this.requests, this.#workers.next);
    this.#host = {
      read: (plan, call) => this.#read(plan, call),
      live: (key, plan) => this.#liveOf(key, plan),
      explain: (plan, call) => this.#explain(plan, call),
    };
    const prefixLength = channel.prefix.length;
    channel.onFrame = (service, first, body) => {
      if (namesSubscription(first, prefixLength)) {
        this.#feeds.take(service, first, body);
      } else {
        this.requests.take(service, first, body);
      }
    };
    channel.onService = (service, epoch, lost) => {
      this.#workers.onService(service, epoch !== null);
      this.#feeds.onService(service, epoch, lost);
    };
    channel.onServices = (names) => {
      this.#workers.onServices(names);
      this.#feeds.onServices(names);
    };
    channel.onEnd = (parts) => this.#end(new KeepDBError(parts));
  }

  /** Highest position this client has committed; its reads see at least that. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  // -- reading -----------------------------------------------------------------------------------------------------

  /** A query of a collection, or of child rows as "conversations.messages". */
  from<C extends CollectionName<S>>(collection: C): CollectionQuery<S, C, RowOf<S, C>> {
    return new CollectionQuery(this.#host, { from: collection });
  }

  /** Read-only SQL; params: a list for `?`, a map for `:name`, always bound. */
  sql<Row extends object = Record<string, unknown>>(
    text: string,
    params?: readonly unknown[] | Readonly<Record<string, unknown>>,
  ): Query<Row> {
    refuseUndefined(params ?? null, "params");
    return new Query<Row>(this.#host, { sql: params === undefined ? { sql: text } : { sql: text, params } });
  }

  /** One row by its id, null if there is none. */
  async get<C extends CollectionName<S>>(
    collection: C,
    id: string,
    options?: ReadOptions,
  ): Promise<RowOf<S, C> | null> {
    if (typeof id !== "string") {
      throw usage(`The id of the row is ${String(id)}, which is no text.`, "Give the id of the row that is wanted.");
    }
    const plan = { query: { from: collection, where: { id }, limit: 1 } };
    const result = await this.#read(plan, options);
    return (result.rows[0] as RowOf<S, C> | undefined) ?? null;
  }

  /** The schema in force as plain data. */
  async describe(options?: CallOptions): Promise<Readonly<Record<string, unknown>>> {
    this.#schema ??= (
      await this.requests.ask(this.#workers.next, { type: "describe" }, ["description"], options)
    ).schema;
    return this.#schema;
  }

  // -- writing -----------------------------------------------------------------------------------------------------

  /** Commit one event; resolves when it is as durable as asked. Rejects with KeepDBError. */
  commit<T extends EventName<S>>(type: T, data: DataOf<S, T>, ...[options]: CommitArguments<S, T>): Promise<Receipt> {
    const { id, ...rest } = (options ?? {}) as { id?: string } & CommitOptions;
    return this.#commit(
      [{ type, ...(id === undefined ? {} : { id }), data: data as NonNullable<NewEvent["data"]> }],
      rest,
    );
  }

  /** Commit several events: all, or none. */
  commitAll(events: readonly EventOf<S>[], options: CommitOptions = {}): Promise<Receipt> {
    return this.#commit(events as readonly NewEvent[], options);
  }

  /** Call a collection's method, for example call("personas.activate", id). */
  async call<M extends MethodName<S>>(
    method: M,
    id: string,
    ...[data, options]: {} extends MethodData<S, M>
      ? [data?: MethodData<S, M>, options?: CommitOptions]
      : [data: MethodData<S, M>, options?: CommitOptions]
  ): Promise<Receipt> {
    const { methods } = (await this.describe(options)) as { methods?: Record<string, { event: string }> };
    const found = methods !== undefined && Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (found === undefined) {
      throw new KeepDBError({
        code: "method_unknown",
        message: `There is no method ${method}; there are ${
          Object.keys(methods ?? {})
            .sort()
            .join(", ") || "none"
        }.`,
        fix: "See `methods` in schema.yaml.",
      });
    }
    return this.#commit([{ type: found.event, id, data: (data ?? {}) as Record<string, unknown> }], options ?? {});
  }

  /** Give up whatever is under way and let go of the connection. The database itself goes on. */
  close(): Promise<void> {
    this.#end(closedError());
    this.#channel.close();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // -- inside ------------------------------------------------------------------------------------------------------

  async #commit(events: readonly NewEvent[], options: CommitOptions): Promise<Receipt> {
    const { durability = "disk", idempotencyKey = null } = options;
    if (durability !== "disk" && durability !== "os") {
      throw usage(`durability is ${String(durability)}.`, "It is disk or os.");
    }
    if (idempotencyKey !== null && typeof idempotencyKey !== "string") {
      throw usage(`idempotencyKey is ${String(idempotencyKey)}, which is no text.`, "Give text, or leave it out.");
    }
    const bytes = encode(events);
    const answer = await this.requests.entrust("receipt", options, (id, timeoutMs) => {
      this.#channel.commit({ id, events: bytes, durability, idempotencyKey, timeoutMs });
    });
    this.#lastSeq = Math.max(this.#lastSeq, answer.seqLast);
    return receiptOf(answer, (seq, call) => this.#read({ sql: { sql: "SELECT 1" } }, { ...call, atLeast: seq }));
  }

  async #read(plan: Plan, options: ReadOptions = {}): Promise<Result<object>> {
    const atLeast = Math.max(this.#lastSeq, options.atLeast ?? 0);
    const found = await this.requests.ask(this.#workers.next, { type: "read", ...plan, atLeast }, ["rows"], options);
    return { rows: toRows(found.columns, found.rows), seq: found.seq, cursor: found.cursor ?? null };
  }

  async #explain(plan: Plan, options: CallOptions = {}): Promise<Complete<Explanation>> {
    const message = { type: "explain", ...plan };
    let service = this.#workers.next();
    for (let moves = 0; ; moves++) {
      const answer = await this.requests.ask(service, message, ["explanation", "moved"], options);
      if (answer.type === "explanation") {
        return complete(answer);
      }
      if (moves === MOVES_MAX) {
        throw protocolError(service, answer.type);
      }
      service = answer.service;
    }
  }

  #liveOf(key: string, plan: Plan): LiveQuery<object> {
    const known = this.#live.get(key);
    if (known !== undefined) {
      return known;
    }
    const database = this;
    const host = {
      feeds: this.#feeds,
      graceMs: this.#graceMs,
      get lastSeq() {
        return database.#lastSeq;
      },
    };
    const made: LiveQuery<object> = new LiveQuery<object>(host, plan, {
      begins: () => {
        // It may have ended meanwhile, and be used again by somebody who has kept it.
        if (!this.#live.has(key)) {
          this.#live.set(key, made);
        }
      },
      ends: () => {
        if (this.#live.get(key) === made) {
          this.#live.delete(key);
        }
      },
    });
    this.#live.set(key, made);
    return made;
  }

  #end(error: KeepDBError): void {
    this.requests.end(error, uncertain(error));
    this.#feeds.end(error);
    for (const live of this.#live.values()) {
      live.dispose();
    }
    this.#live.clear();
  }
}
