// What the core needs from whatever carries its bytes: the sockets in the main process, or a MessagePort in a window.
// It never knows which. Frames are raw msgpack; nothing between the server and the core decodes them.

import type { ErrorParts } from "./errors.js";

/** A commit on its way to the main process, which numbers all commits of all windows, in order. */
export interface CommitRequest {
  /** First frame of the answer. */
  readonly id: Uint8Array;
  /** The array of events as msgpack. */
  readonly events: Uint8Array;
  readonly durability: "disk" | "os";
  readonly idempotencyKey: string | null;
  /** How long it is sent again; past that it is answered with `timeout`. */
  readonly timeoutMs: number;
}

export interface Channel {
  /** Of the database: "writer", "query-1", … */
  readonly services: readonly string[];
  /** What every request id and name of a subscription begins with: unique per window. */
  readonly prefix: string;

  /** Send a request; its answer comes through `onFrame`. */
  request(service: string, id: Uint8Array, body: Uint8Array): void;
  /** Send what is not answered. */
  tell(service: string, body: Uint8Array): void;
  /** Hand over a commit: it is numbered, sent, sent again and deduplicated; answered under its id. */
  commit(request: CommitRequest): void;
  /** Nobody waits for this request any more. */
  cancel(id: Uint8Array): void;
  /** A subscription was made in this epoch of the service, which is watched as long as there is one. */
  hold(service: string, sub: string, epoch: string): void;
  /** It is not wanted any more: it is taken back at the service. */
  release(service: string, sub: string): void;
  close(): void;

  /** An answer or a push arrived; first: the request's id or the subscription's name. */
  onFrame: (service: string, first: Uint8Array, body: Uint8Array) => void;
  /**
   * A service with subscriptions is gone or silent (null), or is there, in this epoch. lost: subscriptions that were made
   * before this are gone although the epoch is the same.
   */
  onService: (service: string, epoch: string | null, lost: boolean) => void;
  /** The database was started again, with these services. */
  onServices: (names: readonly string[]) => void;
  /** The end: nothing will be answered any more. */
  onEnd: (error: ErrorParts) => void;
}
