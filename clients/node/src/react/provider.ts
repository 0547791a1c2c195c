// Which database the components below talk to.

import { type ReactNode, createContext, createElement, useContext } from "react";

import type { Database } from "../core/database.js";
import type { AnySchema, UnknownSchema } from "../core/schema.js";

// Components name their schema themselves (`useDatabase<Schema>()`); the context cannot know it.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
const DatabaseContext = createContext<Database<any> | null>(null);

export interface KeepDBProviderProps<S extends AnySchema> {
  /** From `connect()`; it is not closed when the provider goes. */
  readonly db: Database<S>;
  readonly children?: ReactNode;
}

/** Gives the components below their database. */
export function KeepDBProvider<S extends AnySchema>({ db, children }: KeepDBProviderProps<S>): ReactNode {
  return createElement(DatabaseContext.Provider, { value: db }, children);
}

/** The database of the nearest provider. Throws without one. */
export function useDatabase<S extends AnySchema = UnknownSchema>(): Database<S> {
  const db = useContext(DatabaseContext);
  if (db === null) {
    throw new Error("useDatabase found no database. Put <KeepDBProvider db={db}> around this component.");
  }
  return db as Database<S>;
}
