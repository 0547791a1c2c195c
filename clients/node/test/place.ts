// Where the database program is: KEEPDB_PYTHON names the interpreter, the checkout around this package has the program.

import { fileURLToPath } from "node:url";

import { type CreateOptions, MainDatabase } from "@keepdb/client/main";
import { type TestDatabase, startTestDatabase } from "@keepdb/client/testing";

const root = process.env["KEEPDB_ROOT"] ?? fileURLToPath(new URL("../../../", import.meta.url));
const python = process.env["KEEPDB_PYTHON"] ?? `${root}/.venv/bin/python`;

export const command: readonly string[] = [python, `${root}/supervisor.py`];

/** A real database for one file of tests. */
export function start(options: Partial<CreateOptions> = {}): Promise<TestDatabase<any>> {
  return startTestDatabase({ command, ...options });
}

/** Process ids of the actors by name. */
export async function pidsOf(database: MainDatabase<any>): Promise<Record<string, number>> {
  const status = await database.serverStatus();
  return Object.fromEntries(status.actors.map(({ name, pid }) => [name, pid]));
}

/** Resolves when the condition holds; checked whenever the source calls back. */
export function until<T>(
  subscribe: (tell: (value: T) => void) => () => void,
  holds: (value: T) => boolean,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("it did not happen within 30 s")), 30_000);
    const stop = subscribe((value) => {
      if (holds(value)) {
        clearTimeout(timer);
        queueMicrotask(() => stop());
        resolve(value);
      }
    });
  });
}
