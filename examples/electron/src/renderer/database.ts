// The database as this app sees it: the hook with our schema filled in.

import type { Database } from "@keepdb/client";
import { useDatabase } from "@keepdb/client/react";

import type { Schema } from "../generated/schema.js";

export type HubDatabase = Database<Schema>;

export const useHub = (): HubDatabase => useDatabase<Schema>();
