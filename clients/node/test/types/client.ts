// Types of the client against the shipped schema's. This file is compiled, never run: lines that must not compile say so, and
// `same` compares types exactly.

import { type Database, type LiveQuery, type Result, connect } from "@keepdb/client";

import type {
  ConversationsMessagesItem,
  ConversationsRow,
  MemoryEntitiesRow,
  PersonasRow,
  Schema,
} from "../../../../examples/electron/src/generated/schema.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(proof: Same<A, B>): void;
type RowIn<Q> = Q extends { get(): Promise<Result<infer Row>> } ? Row : never;
type Plain<T> = { [K in keyof T]: T[K] };

declare const db: Database<Schema>;

// Rows and selections.
const personas = db.from("personas");
same<RowIn<typeof personas>, PersonasRow>(true);
const names = personas.select("name", "isActive");
same<RowIn<typeof names>, { readonly id: string; readonly name: string; readonly isActive: boolean }>(true);
const withMessages = db.from("conversations").select("*", "messages");
same<RowIn<typeof withMessages>, Plain<ConversationsRow & { readonly messages: readonly ConversationsMessagesItem[] }>>(
  true,
);
const messages = db.from("conversations.messages").where({ parent: "c1" }).orderBy("position").limit(10);
same<RowIn<typeof messages>["role"], "user" | "assistant" | "system" | "tool">(true);
// @ts-expect-error: no such collection
db.from("people");
// @ts-expect-error: no such field
personas.select("nickname");

// Filters know fields, values and operators.
const memories = db.from("memoryEntities");
memories.where({ type: "task", importance: { ">=": 50, "<": 90 }, tags: { contains: "urgent" }, summary: null });
memories.where({
  or: [{ name: { like: "A%" } }, { not: { memoryTier: { in: ["hot", "warm"] } } }],
  and: [{ personaId: "p1" }],
});
memories.where({ createdAt: { between: [1, 2] }, metadata: { isNull: false }, embedding: { isNull: true } });
// @ts-expect-error: not one of the enum's values
memories.where({ type: "chore" });
// @ts-expect-error: a number is compared with numbers
memories.where({ importance: "high" });
// @ts-expect-error: encrypted fields cannot be filtered
memories.where({ content: "secret" });
// @ts-expect-error: like is for texts
memories.where({ importance: { like: "5%" } });
// @ts-expect-error: json has no order
memories.where({ metadata: { ">": 1 } });
// @ts-expect-error: no such field, also deep inside
memories.where({ or: [{ not: { nickname: "x" } }] });

// Order.
memories.orderBy("-importance", "name");
// @ts-expect-error: encrypted fields cannot be sorted by
memories.orderBy("content");
// @ts-expect-error: lists neither
memories.orderBy("-tags");

// Relations.
const related = memories.include({
  persona: { via: "personaId", select: ["name"] },
});
same<RowIn<typeof related>["persona"], { readonly id: string; readonly name: string } | null>(true);
const hub = personas.select("name").include({
  memories: { from: "memoryEntities", via: "personaId", where: { type: "task" }, orderBy: ["-importance"], limit: 3 },
  conversations: { from: "conversations", via: "personaId", select: ["title", "messages"] },
});
type Hub = RowIn<typeof hub>;
same<keyof Hub, "id" | "name" | "memories" | "conversations">(true);
same<Hub["memories"][number]["importance"], number>(true);
same<Plain<Hub["memories"][number]>, Plain<MemoryEntitiesRow>>(true);
same<Hub["conversations"][number]["title"], string | null>(true);
same<Hub["conversations"][number]["messages"], readonly ConversationsMessagesItem[]>(true);
const nested = db
  .from("conversations")
  .include({ persona: { via: "personaId", include: { workflows: { from: "workflows", via: "personaId" } } } });
same<NonNullable<RowIn<typeof nested>["persona"]>["workflows"][number]["isTemplate"], boolean>(true);
// @ts-expect-error: not a ref
memories.include({ persona: { via: "name" } });
// @ts-expect-error: workflows do not refer to conversations
db.from("conversations").include({ flows: { from: "workflows", via: "personaId" } });

// Figures.
const count = memories.count();
same<RowIn<typeof count>, { readonly count: number }>(true);
const figures = memories.groupBy("type", "personaId").aggregate({
  n: { count: "*" },
  mean: { avg: "importance" },
  latest: { max: "createdAt" },
  first: { min: "name" },
});
type Figures = RowIn<typeof figures>;
same<Figures["type"], MemoryEntitiesRow["type"]>(true);
same<Figures["personaId"], string | null>(true);
same<Figures["n"], number>(true);
same<Figures["mean"], number | null>(true);
same<Figures["latest"], number | null>(true);
same<Figures["first"], string | null>(true);
figures.having({ n: { ">": 1 }, type: "task", or: [{ mean: null }, { not: { first: { like: "A%" } } }] }).limit(5);
// @ts-expect-error: no such column
figures.having({ sum: 1 });
// @ts-expect-error: texts have no average
memories.aggregate({ mean: { avg: "name" } });
const types = memories.distinct("type", "memoryTier");
same<
  RowIn<typeof types>,
  { readonly type: MemoryEntitiesRow["type"]; readonly memoryTier: MemoryEntitiesRow["memoryTier"] }
>(true);
// @ts-expect-error: json cannot be told apart
memories.distinct("metadata");

// Live, pages, SQL.
same<
  ReturnType<typeof names.live>,
  LiveQuery<{ readonly id: string; readonly name: string; readonly isActive: boolean }>
>(true);
names.after("cursor").until(null);
const sql = db.sql<{ n: number }>("SELECT count(*) AS n FROM personas WHERE name = :name", { name: "Ada" });
same<RowIn<typeof sql>, { n: number }>(true);
// @ts-expect-error: rows cannot be changed
names.live().current.rows[0]!.name = "x";

// Commits.
db.commit("personas.created", { name: "Ada", isActive: true }, { durability: "os", idempotencyKey: "once" });
db.commit("personas.updated", { description: null }, { id: "p1" });
db.commit("personaActivated", {}, { id: "p1", timeoutMs: 1_000 });
// @ts-expect-error: the name is required
db.commit("personas.created", {});
// @ts-expect-error: an update needs the id
db.commit("personas.updated", { name: "Ada" });
// @ts-expect-error: an update's options without the id
db.commit("personas.updated", { name: "Ada" }, { durability: "os" });
// @ts-expect-error: no such event
db.commit("personas.exploded", {});
// @ts-expect-error: a wrong value
db.commit("memoryEntities.created", { type: "chore", name: "x" });
db.commitAll([
  { type: "personas.created", data: { name: "Ada" } },
  { type: "messageAdded", id: "c1", data: { role: "user", content: "Hi" } },
  { type: "personaActivated", id: "p1" },
]);
// @ts-expect-error: the id is required
db.commitAll([{ type: "messageAdded", data: { role: "user", content: "Hi" } }]);
db.call("personas.activate", "p1");
db.call("conversations.addMessage", "c1", { role: "user", content: "Hi" }, { durability: "os" });
// @ts-expect-error: the message is required
db.call("conversations.addMessage", "c1");
// @ts-expect-error: no such method
db.call("personas.explode", "p1");
const row = await db.get("personas", "p1");
same<typeof row, PersonasRow | null>(true);

// Without a schema nothing is checked, and nothing is in the way.
const loose = await connect();
loose
  .from("anything")
  .where({ a: 1, or: [{ b: { like: "x" } }] })
  .orderBy("-a")
  .select("a", "b")
  .include({ c: { via: "d" } });
const anything = await loose.get("anything", "id");
anything?.["whatever"].deep.down;
loose.commit("anything.created", { a: 1 });
loose.commit("anything.updated", { a: 1 }, { id: "x" });
loose
  .from("anything")
  .groupBy("a")
  .aggregate({ n: { count: "*" } })
  .having({ n: { ">": 1 } });
