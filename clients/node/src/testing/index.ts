// For the tests of apps: a real database in a temporary directory, and ports that are linked as a window's are.

/// <reference lib="esnext.disposable" preserve="true" />

import "../main/guard.js";

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";

import { type ConnectOptions, connect } from "../core/connect.js";
import type { Database } from "../core/database.js";
import type { PortLike } from "../core/port.js";
import type { AnySchema, UnknownSchema } from "../core/schema.js";
import { type CreateOptions, type MainDatabase, createDatabase } from "../main/main-database.js";

/** As for `createDatabase`; what is left out is made up. */
export type TestOptions = Partial<CreateOptions>;

export interface TestDatabase<S extends AnySchema> extends AsyncDisposable {
  readonly database: MainDatabase<S>;
  readonly directory: string;
  /** A database object as a window has it: over a port, in this process. */
  openWindow(options?: ConnectOptions): Promise<Database<S>>;
  /** Stop it and remove its directory. */
  close(): Promise<void>;
}

/** Start a real database with its own temporary directory. The program is `command`, as for `createDatabase`. */
export async function startTestDatabase<S extends AnySchema = UnknownSchema>(
  options: TestOptions = {},
): Promise<TestDatabase<S>> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), "keepdb-")));
  const remove = async (): Promise<void> => {
    if (options.directory === undefined) {
      await rm(directory, { recursive: true, force: true });
    }
  };
  let database: MainDatabase<S>;
  try {
    database = await createDatabase<S>({ passphrase: "only for tests", ...options, directory });
  } catch (error) {
    await remove();
    throw error;
  }
  const close = async (): Promise<void> => {
    try {
      await database.close();
    } finally {
      await remove();
    }
  };
  return {
    database,
    directory,
    openWindow: (connecting) => {
      const [main, window] = linkedPorts();
      database.attach(main);
      return connect<S>(window, connecting);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Two ports that are linked: what one posts, the other receives, cloned as between processes. */
export function linkedPorts(): readonly [PortLike, PortLike] {
  const { port1, port2 } = new MessageChannel();
  return [port1 as unknown as PortLike, port2 as unknown as PortLike];
}
