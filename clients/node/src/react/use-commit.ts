// Commits from event handlers.

import { useMemo } from "react";

import type { Database } from "../core/database.js";
import type { AnySchema, UnknownSchema } from "../core/schema.js";
import { useDatabase } from "./provider.js";

/** `commit` of the provider's database: the same function as long as the database is the same. */
export function useCommit<S extends AnySchema = UnknownSchema>(): Database<S>["commit"] {
  const db = useDatabase<S>();
  return useMemo(() => db.commit.bind(db) as Database<S>["commit"], [db]);
}
