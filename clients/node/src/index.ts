// Everything a window needs. It loads neither Node modules nor ZeroMQ, and so works in a sandboxed renderer.

export { connect, type ConnectOptions } from "./core/connect.js";
export { type CommitOptions, Database, type DatabaseOptions } from "./core/database.js";
export { type ErrorParts, KeepDBError } from "./core/errors.js";
export { LiveQuery, type Snapshot, type Status } from "./core/live.js";
export type { PortLike } from "./core/port.js";
export { CollectionQuery, GroupQuery, Query, type ReadOptions, type Result } from "./core/query.js";
export type { Receipt, Stage } from "./core/receipt.js";
export type { CallOptions } from "./core/requests.js";
export type {
  Aggregate,
  AnySchema,
  CollectionName,
  EventName,
  EventOf,
  Having,
  Includes,
  MethodName,
  OrderBy,
  RowOf,
  Selectable,
  UnknownSchema,
  Where,
} from "./core/schema.js";
