// Made by `keepdb typegen --wire` from the messages of KeepDB's protocol. Do not edit: run `make generate`.
//
// Every message is a msgpack map whose `type` tells which one it is. A member at its default may be left out, both
// ways; `complete` puts the defaults of received messages back.
//
// Integers have 64 bits on the wire and are `number` here. Positions, times and sizes stay below 2^53. An integer field
// of an app may hold more: it arrives as `bigint` from a decoder that keeps it exact, such as msgpackr with
// `int64AsType: "auto"`.

/** Version of the protocol; the ready line announces the server's. */
export const PROTOCOL = 1;

/** A larger frame ends the connection. */
export const FRAME_BYTES_MAX = 8388608;

/**
 * One event to commit. type: "<collection>.created|updated|deleted" or a domain event's name.
 *
 * id: the entity; left out on creation, the writer makes one. data: the event's fields by name.
 */
export interface NewEvent {
  readonly type: string;
  /** Default: null. */
  readonly id?: string | null;
  /** Default: {}. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/**
 * Client -> writer. Answered by Receipt or Refused. All events are committed, or none.
 *
 * client: 16 random bytes, one per client session. number: 1, 2, 3 … per client, the request's identity.
 * firstUnanswered: the lowest number whose answer the client has not seen (this one's at the latest);
 * everything below it is settled. A retry repeats number and payload and gets the first receipt.
 * idempotencyKey: the app's own, survives restarts of client and server. durability: "disk" = synced before
 * the receipt; "os" = survives killed processes, not a power cut.
 */
export interface Commit {
  readonly type: "commit";
  readonly client: Uint8Array;
  readonly number: number;
  readonly firstUnanswered: number;
  readonly events: readonly NewEvent[];
  /** Default: "disk". */
  readonly durability?: "disk" | "os";
  /** Default: null. */
  readonly idempotencyKey?: string | null;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Client -> writer: what became of a request whose answer never came? Answered by Receipt, or Refused with
 * code `request_unknown`, which means it was not carried out.
 */
export interface RequestOutcome {
  readonly type: "request_outcome";
  readonly client: Uint8Array;
  readonly number: number;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Client or operator -> writer. Answered by WriterFigures. */
export interface WriterStatus {
  readonly type: "writer_status";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Operator -> writer: build the state anew from the log beside the old one, then switch.
 *
 * Answered at once by Done; progress is in WriterFigures, the end is `rebuild_total == 0` again.
 */
export interface Rebuild {
  readonly type: "rebuild";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Related rows, shown beside each row of a query as one more column.
 *
 * via: a ref field. Without source it is one of the rows' own: the column holds the row it points to, or nil.
 * source ("from" on the wire): a collection whose `via` points to the rows: the column holds a list of them.
 * where, orderBy, limit (per row) are for lists only; select and include are for both.
 */
export interface Include {
  readonly via: string;
  /** Default: "". */
  readonly from?: string;
  /** Default: {}. */
  readonly where?: Readonly<Record<string, unknown>>;
  /** Default: []. */
  readonly orderBy?: readonly string[];
  /** Default: null. */
  readonly limit?: number | null;
  /** Default: []. */
  readonly select?: readonly string[];
  /** Default: {}. */
  readonly include?: Readonly<Record<string, Include>>;
  /** Default: false. */
  readonly withDeleted?: boolean;
}

/**
 * A structured query: data, never code. See docs/queries.md.
 *
 * source: the collection, "from" on the wire. where: {"field": value | {"op": value}, "and": [...], "or":
 * [...], "not": {...}}. orderBy: ["field", "-field"]; the id is always appended. after: opaque cursor of an
 * earlier page, which the result begins behind. until: a cursor it ends at, that row included: with both, a
 * page keeps its bounds however many rows come and go inside. aggregates: {"name":
 * {"count"|"sum"|"avg"|"min"|"max": field or "*"}}. having: a filter like where, over groupBy fields and the
 * names of aggregates. distinct: each combination of the selected fields once. include: related rows by the
 * name they are shown under.
 */
export interface Query {
  readonly from: string;
  /** Default: {}. */
  readonly where?: Readonly<Record<string, unknown>>;
  /** Default: []. */
  readonly orderBy?: readonly string[];
  /** Default: null. */
  readonly limit?: number | null;
  /** Default: null. */
  readonly after?: string | null;
  /** Default: null. */
  readonly until?: string | null;
  /** Default: []. */
  readonly select?: readonly string[];
  /** Default: false. */
  readonly distinct?: boolean;
  /** Default: []. */
  readonly groupBy?: readonly string[];
  /** Default: {}. */
  readonly aggregates?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Default: {}. */
  readonly having?: Readonly<Record<string, unknown>>;
  /** Default: {}. */
  readonly include?: Readonly<Record<string, Include>>;
  /** Default: false. */
  readonly withDeleted?: boolean;
}

/** Read-only SQL over the collections. params: positional (list) or named (map) values, always bound. */
export interface Sql {
  readonly sql: string;
  /** Default: []. */
  readonly params?: readonly unknown[] | Readonly<Record<string, unknown>>;
}

/**
 * Client -> query actor. Answered by Rows or Refused. Give exactly one of query and sql.
 *
 * atLeast: wait until the state has reached this seq (read your own writes).
 */
export interface Read {
  readonly type: "read";
  /** Default: null. */
  readonly query?: Query | null;
  /** Default: null. */
  readonly sql?: Sql | null;
  /** Default: 0. */
  readonly atLeast?: number;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Client -> query actor: the schema in force. Answered by Description. */
export interface Describe {
  readonly type: "describe";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Client -> query actor: how this query is answered and kept up to date. Give exactly one of query and sql.
 *
 * Answered by Explanation, or by Moved when another actor keeps this query.
 */
export interface Explain {
  readonly type: "explain";
  /** Default: null. */
  readonly query?: Query | null;
  /** Default: null. */
  readonly sql?: Sql | null;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Operator -> query actor. Answered by QueryFigures. */
export interface QueryStatus {
  readonly type: "query_status";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Client -> query actor: keep this result up to date. Answered by Subscribed, then pushes arrive: Snapshot
 * first, then Diff (or Snapshot again where no diff can be made).
 *
 * sub: the client's own id for it, unique per connection; every push carries it. credit: pushes the server
 * may send before it needs an Ack.
 */
export interface Subscribe {
  readonly type: "subscribe";
  readonly sub: string;
  /** Default: null. */
  readonly query?: Query | null;
  /** Default: null. */
  readonly sql?: Sql | null;
  /** Default: 0. */
  readonly atLeast?: number;
  /** Default: 16. */
  readonly credit?: number;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Client -> query actor: every change after seq `after`, gap-free, in order. Answered by Subscribed, then
 * Changes pushes; Rehydrate if the ring no longer reaches back that far.
 *
 * after: -1 means from now on. collections: only these (empty = all); covered seqs are still reported.
 */
export interface SubscribeChanges {
  readonly type: "subscribe_changes";
  readonly sub: string;
  /** Default: -1. */
  readonly after?: number;
  /** Default: 0. */
  readonly generation?: number;
  /** Default: []. */
  readonly collections?: readonly string[];
  /** Default: 16. */
  readonly credit?: number;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Client -> query actor. Answered by Done, also when there is no such subscription. */
export interface Unsubscribe {
  readonly type: "unsubscribe";
  readonly sub: string;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Client -> query actor, a tell: `count` pushes of this subscription were taken in. */
export interface Ack {
  readonly type: "ack";
  readonly sub: string;
  /** Default: 1. */
  readonly count?: number;
}

/** Client -> query actor, about twice a second while it has subscriptions there. Answered by Pong. */
export interface Ping {
  readonly type: "ping";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Answered by JobStarted; the job's result holds {"backup", "seq", "bytes", "events", "digest"}. */
export interface MakeBackup {
  readonly type: "make_backup";
  /** Default: "". */
  readonly label?: string;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Restore into a scratch directory and compare digests. Answered by JobStarted.
 *
 * backup: its id; "" means the newest.
 */
export interface VerifyBackup {
  readonly type: "verify_backup";
  /** Default: "". */
  readonly backup?: string;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Answered by Job. */
export interface GetJob {
  readonly type: "get_job";
  readonly job: string;
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Answered by Backups. */
export interface ListBackups {
  readonly type: "list_backups";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Client -> supervisor. Answered by Status. */
export interface GetStatus {
  readonly type: "get_status";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Client -> health. Answered by Health. */
export interface GetHealth {
  readonly type: "get_health";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/** Operator or app -> supervisor: stop everything in order. Answered by Done before the stop begins. */
export interface Shutdown {
  readonly type: "shutdown";
  /** Default: 5000. */
  readonly budgetMs?: number;
}

/**
 * Anyone -> the sender of a request, in place of its answer.
 *
 * code: stable name, see docs/errors.md. message: what and why. fix: what to do. retryable: the same request
 * may succeed later.
 */
export interface Refused {
  readonly type: "refused";
  readonly code: string;
  readonly message: string;
  readonly fix: string;
  /** Default: false. */
  readonly retryable?: boolean;
}

/** Answer of a request that has nothing to tell but that it was carried out. */
export interface Done {
  readonly type: "done";
}

/**
 * Writer -> client. The events are in the log and (stage "materialized") in the state.
 *
 * seqFirst, seqLast: positions of the request's events. ids: the entity of each event, in order. at: time of
 * the commit, ms since the epoch. duplicate: this request had been carried out before.
 */
export interface Receipt {
  readonly type: "receipt";
  readonly seqFirst: number;
  readonly seqLast: number;
  readonly ids: readonly string[];
  readonly at: number;
  /** Default: "materialized". */
  readonly stage?: "logged" | "materialized";
  /** Default: false. */
  readonly duplicate?: boolean;
}

/** Writer -> asker. Where log and state stand; bytes are file sizes. */
export interface WriterFigures {
  readonly type: "writer_figures";
  readonly seq: number;
  readonly stateSeq: number;
  readonly generation: number;
  readonly stateGeneration: number;
  readonly schemaHash: string;
  readonly logBytes: number;
  readonly walBytes: number;
  readonly stateBytes: number;
  readonly mode: "degraded" | "serving";
  /** Default: "". */
  readonly reason?: string;
  /** Default: 0. */
  readonly quarantined?: number;
  /** Default: 0. */
  readonly rebuildDone?: number;
  /** Default: 0. */
  readonly rebuildTotal?: number;
}

/**
 * columns: names. rows: arrays in that order. seq: position of the snapshot the rows were read from.
 *
 * cursor: pass as `after` for the next page; null when there is no further row.
 */
export interface Rows {
  readonly type: "rows";
  readonly columns: readonly string[];
  readonly rows: readonly unknown[];
  readonly seq: number;
  /** Default: null. */
  readonly cursor?: string | null;
  /** Default: false. */
  readonly cached?: boolean;
}

/** schema: collections, events and methods as plain data, see docs/schema.md. */
export interface Description {
  readonly type: "description";
  readonly schemaHash: string;
  readonly schema: Readonly<Record<string, unknown>>;
}

/**
 * sql: what runs. plan: SQLite's query plan, a line each. strategy: how a live query of it is kept up to
 * date: "window" and "groups" from the changed rows alone, "rerun" by running it again; reason: why this one.
 *
 * reads: "collection.field" whose changes matter. guards: "collection.field = value" that a changed row must
 * meet. live: figures of the live query if there is one now, else empty. decisions: what its latest changes
 * did, newest last: [seq, "sent" | "silent" | "skipped" | "refilled" | "ran", why].
 */
export interface Explanation {
  readonly type: "explanation";
  readonly sql: string;
  readonly plan: readonly string[];
  readonly strategy: "groups" | "rerun" | "window";
  readonly reason: string;
  readonly reads: readonly string[];
  /** Default: []. */
  readonly guards?: readonly string[];
  /** Default: {}. */
  readonly live?: Readonly<Record<string, number>>;
  /** Default: []. */
  readonly decisions?: readonly (readonly [number, string, string])[];
}

/** Counters since the actor started. */
export interface QueryFigures {
  readonly type: "query_figures";
  readonly seq: number;
  readonly reads: number;
  readonly liveQueries: number;
  readonly subscribers: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly slowestUs: number;
}

/** Query actor -> client. seq: the position the subscription starts from. epoch: see Pong. */
export interface Subscribed {
  readonly type: "subscribed";
  readonly sub: string;
  readonly seq: number;
  readonly generation: number;
  readonly epoch: string;
}

/**
 * Query actor -> client, instead of Subscribed: `service` keeps this query; subscribe there. Identical
 * queries of all clients share one window in the worker that owns them.
 */
export interface Moved {
  readonly type: "moved";
  readonly sub: string;
  readonly service: string;
}

/**
 * epoch: made anew whenever the actor starts. subscriptions: how many this connection has.
 *
 * A client whose own figures differ subscribes again.
 */
export interface Pong {
  readonly type: "pong";
  readonly epoch: string;
  readonly subscriptions: number;
}

/** job: pass to GetJob. */
export interface JobStarted {
  readonly type: "job_started";
  readonly job: string;
}

/**
 * done, total: units of work, for a progress bar. state: running, finished, failed.
 *
 * result is set when finished; code, message and fix when failed.
 */
export interface Job {
  readonly type: "job";
  readonly job: string;
  readonly state: string;
  /** Default: 0. */
  readonly done?: number;
  /** Default: 0. */
  readonly total?: number;
  /** Default: {}. */
  readonly result?: Readonly<Record<string, unknown>>;
  /** Default: "". */
  readonly code?: string;
  /** Default: "". */
  readonly message?: string;
  /** Default: "". */
  readonly fix?: string;
}

/** Newest first: {"id", "at", "seq", "bytes", "events", "digest", "label", "verifiedAt"|null}. */
export interface Backups {
  readonly type: "backups";
  readonly backups: readonly Readonly<Record<string, unknown>>[];
}

/**
 * One row of `status`. state: waiting (for what it needs), starting, ready, stable, busy, degraded, backoff,
 * failed (tried again after a while), stopped.
 */
export interface ActorStatus {
  readonly name: string;
  readonly pid: number;
  readonly state: string;
  readonly restarts: number;
  readonly uptimeMs: number;
  /** Default: "". */
  readonly reason?: string;
}

/** Where an actor can be reached. key: its CURVE public key (Z85 text). feed: its PUB endpoint, if it has one. */
export interface Service {
  readonly name: string;
  readonly endpoint: string;
  readonly key: string;
  /** Default: "". */
  readonly feed?: string;
}

/** The tree as the supervisor sees it. state: starting, ready, degraded, stopping. */
export interface Status {
  readonly type: "status";
  readonly state: "degraded" | "ready" | "starting" | "stopping";
  readonly pid: number;
  readonly uptimeMs: number;
  readonly version: string;
  readonly protocol: number;
  readonly data: string;
  readonly actors: readonly ActorStatus[];
  readonly services: readonly Service[];
}

/** actors: newest figures per actor. storage: bytes per file or folder. alerts: what needs attention. */
export interface Health {
  readonly type: "health";
  readonly actors: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly storage: Readonly<Record<string, number>>;
  /** Default: []. */
  readonly alerts?: readonly Readonly<Record<string, unknown>>[];
}

/**
 * Push: the whole result at seq. key: index of the primary key column in a row, -1 if rows have none.
 *
 * cursor: behind the last row, null when there is no further row.
 */
export interface Snapshot {
  readonly type: "snapshot";
  readonly sub: string;
  readonly seq: number;
  readonly columns: readonly string[];
  readonly rows: readonly unknown[];
  /** Default: -1. */
  readonly key?: number;
  /** Default: null. */
  readonly cursor?: string | null;
}

/**
 * Push: what changed since the last push of this subscription.
 *
 * Apply in this order: take out the keys in `exit` and in `move`; replace rows in `update` by key (also those
 * just taken out); then put `enter` [index, row] and `move` [index, key] back in ascending index. cursor: as
 * in Snapshot, for the result as it is now.
 */
export interface Diff {
  readonly type: "diff";
  readonly sub: string;
  readonly seq: number;
  /** Default: []. */
  readonly exit?: readonly unknown[];
  /** Default: []. */
  readonly update?: readonly unknown[];
  /** Default: []. */
  readonly enter?: readonly (readonly [number, unknown])[];
  /** Default: []. */
  readonly move?: readonly (readonly [number, unknown])[];
  /** Default: null. */
  readonly cursor?: string | null;
}

/** Push: a live query could not be kept up to date and has ended. */
export interface LiveFailed {
  readonly type: "live_failed";
  readonly sub: string;
  readonly code: string;
  readonly message: string;
  readonly fix: string;
  /** Default: false. */
  readonly retryable?: boolean;
}

/** Push of a change stream: all changes with seqFirst <= seq <= seqLast. rows: [seq, collection, op, id]. */
export interface Changes {
  readonly type: "changes";
  readonly sub: string;
  readonly seqFirst: number;
  readonly seqLast: number;
  readonly rows: readonly (readonly [number, string, "delete" | "insert" | "update", string])[];
}

/** Push: continuity is broken (`reason`); read everything anew as of `seq` and go on from there. */
export interface Rehydrate {
  readonly type: "rehydrate";
  readonly sub: string;
  readonly seq: number;
  readonly generation: number;
  readonly reason: string;
}

/** What a client sends. */
export type Sent =
  | Commit
  | RequestOutcome
  | WriterStatus
  | Rebuild
  | Read
  | Describe
  | Explain
  | QueryStatus
  | Subscribe
  | SubscribeChanges
  | Unsubscribe
  | Ack
  | Ping
  | MakeBackup
  | VerifyBackup
  | GetJob
  | ListBackups
  | GetStatus
  | GetHealth
  | Shutdown;

/** What comes back for a request, under its request id. */
export type Answer =
  | Refused
  | Done
  | Receipt
  | WriterFigures
  | Rows
  | Description
  | Explanation
  | QueryFigures
  | Subscribed
  | Moved
  | Pong
  | JobStarted
  | Job
  | Backups
  | Status
  | Health;

/** What comes unasked, under the name of a subscription. */
export type Push =
  | Snapshot
  | Diff
  | LiveFailed
  | Changes
  | Rehydrate;

/** What a client receives. */
export type Received = Answer | Push;

/** Defaults of received messages by `type`. */
export const RECEIVED_DEFAULTS = {
  refused: { retryable: false },
  receipt: { stage: "materialized", duplicate: false },
  writer_figures: { reason: "", quarantined: 0, rebuildDone: 0, rebuildTotal: 0 },
  rows: { cursor: null, cached: false },
  explanation: { guards: [], live: {}, decisions: [] },
  job: { done: 0, total: 0, result: {}, code: "", message: "", fix: "" },
  health: { alerts: [] },
  snapshot: { key: -1, cursor: null },
  diff: { exit: [], update: [], enter: [], move: [], cursor: null },
  live_failed: { retryable: false },
} as const;

/** A received message with its defaults in place. */
export type Complete<M extends Received> = M extends Received ? Required<M> : never;

/** Put back what the sender left out because it is at its default. Other members, known or not, stay as they are. */
export function complete<M extends Received>(message: M): Complete<M> {
  const defaults: object | undefined = (RECEIVED_DEFAULTS as Readonly<Record<string, object>>)[message.type];
  return { ...defaults, ...message } as unknown as Complete<M>;
}
