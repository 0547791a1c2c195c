// `createDatabase`: what an app calls once, in its main process.

import { curveKeyPair } from "zeromq";

import { Database, type DatabaseOptions } from "../core/database.js";
import type { PortLike } from "../core/port.js";
import type { CallOptions } from "../core/requests.js";
import type { AnySchema, UnknownSchema } from "../core/schema.js";
import { type Complete, type Status as ServerStatus, complete } from "../generated/wire.js";
import { bridge } from "./bridge.js";
import { Hub } from "./hub.js";
import { type DatabaseStatus, Keeper, type KeeperEvents } from "./keeper.js";
import type { Launch } from "./launch.js";
import { Link } from "./link.js";
import type { Seat } from "./seat.js";
import type { Ready } from "./sidecar.js";

export interface CreateOptions extends Launch, DatabaseOptions, KeeperEvents {
  /** Give up starting. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Start the database process and connect to it. It ends with this process, whatever becomes of that, and is started again
 * if it ends by itself. Rejects with KeepDBError: the process's own words, such as `wrong_key`, or `start_failed`.
 */
export async function createDatabase<S extends AnySchema = UnknownSchema>(
  options: CreateOptions,
): Promise<MainDatabase<S>> {
  const own = curveKeyPair();
  const hub = new Hub(new Link(own));
  const keeper = new Keeper(options, own.publicKey, hub, options);
  const ready = await keeper.start(options.signal);
  return new MainDatabase<S>(hub, hub.join("main"), keeper, ready, options);
}

/** The database object of the main process: what windows have, and what only their host can do. */
export class MainDatabase<S extends AnySchema = UnknownSchema> extends Database<S> {
  /** Only when the database has just been made: show it once, it is stored nowhere. */
  readonly recoveryCode: string | null;
  readonly #hub: Hub;
  readonly #keeper: Keeper;

  /** @internal */
  constructor(hub: Hub, seat: Seat, keeper: Keeper, ready: Ready, options: DatabaseOptions) {
    super(seat, options);
    this.recoveryCode = ready.recovery_code ?? null;
    this.#hub = hub;
    this.#keeper = keeper;
  }

  get status(): DatabaseStatus {
    return this.#keeper.status;
  }

  /** Process id of the database process; another one after a restart. */
  get pid(): number | undefined {
    return this.#keeper.pid;
  }

  /** The processes of the database, as its supervisor sees them. */
  async serverStatus(options?: CallOptions): Promise<Complete<ServerStatus>> {
    return complete(await this.requests.ask("supervisor", { type: "get_status" }, ["status"], options));
  }

  /** Serve a window over its port: there, `connect(port)`. Ends when the port closes, or by the function returned. */
  attach(port: PortLike): () => void {
    return bridge(port, this.#hub.join("window"));
  }

  /** Stop the database in order. What is under way is refused with `closed`. */
  override async close(): Promise<void> {
    try {
      await super.close();
    } finally {
      await this.#keeper.close();
    }
  }
}
