// A window's project that knows neither Node nor anything newer than ES2022: the types ask for no more.

import { type Database, KeepDBError, connect } from "@keepdb/client";

export async function names(): Promise<readonly unknown[]> {
  const db: Database = await connect();
  const { rows } = await db.from("personas").get();
  return rows.map(({ name }) => name);
}

export const isOurs = (error: unknown): boolean => error instanceof KeepDBError;
