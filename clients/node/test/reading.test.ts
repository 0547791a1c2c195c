// Reading and committing from the main process's own database object.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { KeepDBError, type MainDatabase } from "@keepdb/client/main";
import type { TestDatabase } from "@keepdb/client/testing";

import { start } from "./place.js";

let place: TestDatabase<any>;
let db: MainDatabase<any>;

before(async () => {
  place = await start();
  db = place.database;
});
after(() => place.close());

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof KeepDBError, String(error));
  assert.equal(error.code, expected);
  assert.ok(error.fix.length > 0 && error.message.length > 0);
  return true;
};

test("a committed row is read back by the next read, whichever worker answers", async () => {
  for (let turn = 0; turn < 20; turn++) {
    const receipt = await db.commit("personas.created", { name: `Ada ${turn}` });
    const row = await db.get("personas", receipt.ids[0] as string);
    assert.equal(row?.["name"], `Ada ${turn}`);
    assert.equal(db.lastSeq, receipt.seqLast);
  }
});

test("a receipt tells positions, ids and time, and its stages can be awaited", async () => {
  const receipt = await db.commitAll([
    { type: "personas.created", data: { name: "Bea" } },
    { type: "personas.created", data: { name: "Cy" } },
  ]);
  assert.equal(receipt.seqLast - receipt.seqFirst, 1);
  assert.equal(receipt.ids.length, 2);
  assert.ok(Math.abs(receipt.at - Date.now()) < 60_000);
  assert.equal(receipt.duplicate, false);
  await receipt.reached("logged");
  await receipt.reached("materialized");
});

test("the same idempotency key returns the first receipt", async () => {
  const options = { idempotencyKey: "once", durability: "os" } as const;
  const first = await db.commit("personas.created", { name: "Once" }, options);
  const second = await db.commit("personas.created", { name: "Once" }, options);
  assert.equal(second.duplicate, true);
  assert.deepEqual(second.ids, first.ids);
});

test("all events of a commit are carried out or none", async () => {
  const before = (await db.from("personas").count().get()).rows[0]?.count;
  const commit = db.commitAll([
    { type: "personas.created", data: { name: "Half" } },
    { type: "personas.updated", id: "nobody", data: { name: "Whole" } },
  ]);
  await assert.rejects(commit, code("not_found"));
  assert.equal((await db.from("personas").count().get()).rows[0]?.count, before);
});

test("after a refused commit the next ones go on", async () => {
  const attempts = [
    db.commit("personas.created", { name: "One" }),
    db.commit("personas.created", { nom: "Two" }),
    db.commit("personas.exploded", {}),
    db.commit("personas.created", { name: "Three" }),
  ];
  const outcomes = await Promise.allSettled(attempts);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["fulfilled", "rejected", "rejected", "fulfilled"],
  );
  await assert.rejects(attempts[1] as Promise<unknown>, code("validation_failed"));
  await assert.rejects(attempts[2] as Promise<unknown>, code("unknown_event"));
});

test("a method commits its event, and an unknown one is refused with the names there are", async () => {
  const { ids } = await db.commit("personas.created", { name: "Method" });
  await db.call("personas.activate", ids[0] as string);
  assert.equal((await db.get("personas", ids[0] as string))?.["isActive"], true);
  await assert.rejects(db.call("personas.explode", ids[0] as string), (error: KeepDBError) => {
    assert.match(error.message, /personas\.activate/);
    return code("method_unknown")(error);
  });
});

test("pages follow one another by cursor without a gap", async () => {
  await db.commitAll(
    Array.from({ length: 25 }, (_, at) => ({
      type: "memoryEntities.created",
      data: { type: "event", name: `page ${String(at).padStart(2, "0")}` },
    })),
  );
  const pages = db.from("memoryEntities").where({ type: "event" }).orderBy("name").select("name").limit(10);
  const names: string[] = [];
  let cursor: string | null = null;
  do {
    const page: { rows: readonly Record<string, unknown>[]; cursor: string | null } = await pages.after(cursor).get();
    names.push(...page.rows.map((row) => row["name"] as string));
    cursor = page.cursor;
  } while (cursor !== null);
  assert.deepEqual(
    names,
    Array.from({ length: 25 }, (_, at) => `page ${String(at).padStart(2, "0")}`),
  );
});

test("relations, figures, distinct values and bounded pages say what the page on queries says", async () => {
  const { ids } = await db.commit("personas.created", { name: "Hub" });
  const personaId = ids[0] as string;
  const memory = (name: string, importance: number, type = "knowledge") => ({
    type: "memoryEntities.created",
    data: { personaId, type, name, importance },
  });
  await db.commitAll([memory("a", 90), memory("b", 60), memory("c", 30), memory("d", 10, "concept")]);
  const mine = db.from("memoryEntities").where({ personaId });

  const hub = await db
    .from("personas")
    .where({ id: personaId })
    .select("name")
    .include({
      best: { from: "memoryEntities", via: "personaId", select: ["name"], orderBy: ["-importance"], limit: 2 },
    })
    .get();
  assert.deepEqual(
    hub.rows[0]?.["best"].map(({ name }: { name: string }) => name),
    ["a", "b"],
  );
  const owned = await mine
    .select("name")
    .include({ persona: { via: "personaId", select: ["name"] } })
    .get();
  assert.deepEqual(owned.rows[0]?.["persona"], { id: personaId, name: "Hub" });

  const groups = mine.groupBy("type").aggregate({ n: { count: "*" }, mean: { avg: "importance" } });
  assert.deepEqual((await groups.orderBy("-n").get()).rows, [
    { type: "knowledge", n: 3, mean: 60 },
    { type: "concept", n: 1, mean: 10 },
  ]);
  assert.equal((await groups.having({ n: { ">": 1 } }).get()).rows.length, 1);
  assert.deepEqual((await mine.distinct("type").get()).rows, [{ type: "concept" }, { type: "knowledge" }]);

  const ordered = mine.orderBy("-importance").select("name");
  const { cursor } = await ordered.limit(2).get();
  const page = await ordered.until(cursor).get();
  assert.deepEqual(
    page.rows.map(({ name }) => name),
    ["a", "b"],
  );
  assert.deepEqual(
    (await ordered.after(cursor).get()).rows.map(({ name }) => name),
    ["c", "d"],
  );
});

test("explain says how a query is kept up to date", async () => {
  const explained = await db.from("personas").where({ isActive: true }).orderBy("name").limit(10).explain();
  assert.match(explained.sql, /SELECT/i);
  assert.ok(["window", "groups", "rerun"].includes(explained.strategy));
  assert.ok(explained.reads.includes("personas.isActive"));
});

test("SQL reads with bound values, by place and by name", async () => {
  const place = await db.sql<{ n: number }>("SELECT count(*) AS n FROM personas WHERE name = ?", ["Bea"]).get();
  const name = await db
    .sql<{ n: number }>("SELECT count(*) AS n FROM personas WHERE name = :name", { name: "Bea" })
    .get();
  assert.deepEqual([place.rows[0]?.n, name.rows[0]?.n], [1, 1]);
  await assert.rejects(db.sql("DELETE FROM personas").get(), code("sql_not_read_only"));
});

test("encrypted values come back opened, JSON as it was", async () => {
  const personality = { mood: "calm", traits: ["kind", "dry"], depth: { level: 3, none: null } };
  const { ids } = await db.commit("personas.created", { name: "Sealed", personality });
  assert.deepEqual((await db.get("personas", ids[0] as string))?.["personality"], personality);
});

test("integers beyond 2^53 stay exact both ways, and large ones below stay numbers", async () => {
  const { ids } = await db.commit("personas.created", {
    name: "Big",
    usageCount: 2n ** 62n + 1n,
    lastUsed: 1_732_300_000_000,
  });
  const row = await db.get("personas", ids[0] as string);
  assert.equal(row?.["usageCount"], 2n ** 62n + 1n);
  assert.equal(row?.["lastUsed"], 1_732_300_000_000);
});

test("what cannot be sent is refused before it is sent, and the numbering of commits goes on", async () => {
  await assert.rejects(db.commit("personas.created", { name: () => "Ada" }), code("malformed_message"));
  await assert.rejects(db.commit("personas.created", { name: "x".repeat(9_000_000) }), code("message_too_large"));
  await db.commit("personas.created", { name: "After" });
});

test("a wrong query is refused with the place and the nearest name", async () => {
  await assert.rejects(db.from("persona").get(), code("query_unknown_collection"));
  await assert.rejects(db.from("personas").where({ nmae: "x" }).get(), (error: KeepDBError) => {
    assert.match(error.message, /where/);
    assert.match(error.message + error.fix, /name/);
    return code("query_unknown_field")(error);
  });
});

test("an aborted signal rejects with its reason, before and while waiting", async () => {
  const reason = new Error("changed my mind");
  await assert.rejects(db.from("personas").get({ signal: AbortSignal.abort(reason) }), reason);

  const controller = new AbortController();
  const waiting = db.from("personas").get({ signal: controller.signal, atLeast: db.lastSeq + 1_000 });
  controller.abort(reason);
  await assert.rejects(waiting, reason);

  const committing = new AbortController();
  const commit = db.commit("personas.created", { name: "Perhaps" }, { signal: committing.signal });
  committing.abort(reason);
  await assert.rejects(commit, reason);
  await db.commit("personas.created", { name: "Surely" });
});

test("a read that waits for a position in vain ends in a retryable error in time", async () => {
  const begun = performance.now();
  await assert.rejects(
    db.from("personas").get({ atLeast: db.lastSeq + 1_000, timeoutMs: 400 }),
    (error: KeepDBError) => {
      assert.equal(error.retryable, true);
      return code("not_there_yet")(error);
    },
  );
  assert.ok(performance.now() - begun < 2_000);
});

test("thousands of reads at once are all answered, each with its own row", async () => {
  const { ids } = await db.commitAll(
    Array.from({ length: 100 }, (_, at) => ({ type: "personas.created", data: { name: `many ${at}` } })),
  );
  const rows = await Promise.all(Array.from({ length: 3_000 }, (_, at) => db.get("personas", ids[at % 100] as string)));
  rows.forEach((row, at) => assert.equal(row?.["name"], `many ${at % 100}`));
});

test("queries are values: equal ones have equal keys, and narrowing one leaves it as it was", () => {
  const all = db.from("personas");
  const some = all.where({ name: "Ada", isActive: true });
  assert.equal(some.key, db.from("personas").where({ isActive: true, name: "Ada" }).key);
  assert.notEqual(some.key, all.key);
  assert.deepEqual(all.plan, { query: { from: "personas" } });
  assert.deepEqual(some.where({ usageCount: { ">": 1 } }).plan, {
    query: { from: "personas", where: { and: [{ name: "Ada", isActive: true }, { usageCount: { ">": 1 } }] } },
  });
});
