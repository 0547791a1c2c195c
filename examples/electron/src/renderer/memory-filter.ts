// What the filter of the memory list means as a query. The database does the work; every keystroke is another live
// query.

import type { HubDatabase } from "./database.js";

export const MEMORY_TYPES = ["person", "concept", "event", "task", "conversation", "knowledge"] as const;

export type MemoryType = (typeof MEMORY_TYPES)[number];

export type MemoryFilter = { text: string; type: MemoryType | null; least: number; most: number; limit: number };

export const EVERYTHING: MemoryFilter = { text: "", type: null, least: 0, most: 100, limit: 20 };

export function memoryQuery(db: HubDatabase, personaId: string, filter: MemoryFilter) {
  return db
    .from("memoryEntities")
    .where({
      personaId,
      importance: { between: [filter.least, filter.most] },
      ...(filter.text && { name: { like: `%${literal(filter.text)}%` } }),
      ...(filter.type && { type: filter.type }),
    })
    .orderBy("-importance")
    .limit(filter.limit)
    .select("name", "type", "importance", "createdAt");
}

/** % and _ stand for other characters in a pattern; typed by a user they mean themselves. */
const literal = (text: string): string => text.replace(/[\\%_]/g, "\\$&");
