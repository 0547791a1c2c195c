// Live queries in the main process: what listeners see, and what stays the same object.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setImmediate } from "node:timers/promises";

import type { MainDatabase, Snapshot } from "@keepdb/client/main";
import type { TestDatabase } from "@keepdb/client/testing";

import { start, until } from "./place.js";

let place: TestDatabase<any>;
let db: MainDatabase<any>;

before(async () => {
  place = await start({ liveGraceMs: 50 });
  db = place.database;
});
after(() => place.close());

type Row = Record<string, any>;

const seen = (
  live: { subscribe(tell: (snapshot: Snapshot<Row>) => void): () => void },
  holds: (found: Snapshot<Row>) => boolean,
) => until<Snapshot<Row>>((tell) => live.subscribe(tell), holds);

test("a listener hears the present result and every change, and unchanged rows stay the same objects", async () => {
  const { ids } = await db.commitAll(
    ["Ann", "Bob", "Cy"].map((name) => ({ type: "personas.created", data: { name, description: "first" } })),
  );
  const live = db.from("personas").where({ description: "first" }).orderBy("name").live();
  assert.equal(live.current.status, "loading");
  const stop = live.subscribe(() => undefined);
  const one = await seen(live, ({ status }) => status === "live");
  assert.deepEqual(
    one.rows.map(({ name }) => name),
    ["Ann", "Bob", "Cy"],
  );
  assert.equal(live.current, one);

  await db.commit("personas.updated", { name: "Bo" }, { id: ids[1] });
  const two = await seen(live, ({ rows }) => rows[1]?.["name"] === "Bo");
  assert.equal(two.rows[0], one.rows[0]);
  assert.equal(two.rows[2], one.rows[2]);
  assert.notEqual(two.rows[1], one.rows[1]);
  assert.equal(one.rows[1]?.["name"], "Bob");
  assert.ok(two.seq > one.seq);

  await db.commit("personas.updated", { name: "Zoe" }, { id: ids[0] });
  const three = await seen(live, ({ rows }) => rows[2]?.["name"] === "Zoe");
  assert.deepEqual(
    three.rows.map(({ name }) => name),
    ["Bo", "Cy", "Zoe"],
  );

  await db.commit("personas.deleted", {}, { id: ids[2] });
  const four = await seen(live, ({ rows }) => rows.length === 2);
  assert.equal(four.rows[0], two.rows[1]);
  stop();
});

test("equal queries are one live query, and a change that leaves the result as it is tells nobody", async () => {
  const live = db.from("personas").where({ description: "quiet", isActive: true }).live();
  assert.equal(db.from("personas").where({ isActive: true, description: "quiet" }).live(), live);
  let calls = 0;
  const stop = live.subscribe(() => {
    calls++;
  });
  await seen(live, ({ status }) => status === "live");
  const marker = db.from("personas").where({ description: "marker" }).count().live();
  await seen(marker, ({ status }) => status === "live");
  const before = calls;
  await db.commit("personas.created", { name: "Other", description: "marker" });
  await seen(marker, ({ rows }) => rows[0]?.["count"] === 1);
  assert.equal(calls, before);
  stop();
});

test("the first call comes after subscribe has returned, also when the result is there already", async () => {
  const live = db.from("personas").where({ description: "first" }).live();
  const keep = live.subscribe(() => undefined);
  await seen(live, ({ status }) => status === "live");
  const calls: unknown[] = [];
  const stop = live.subscribe((snapshot) => calls.push(snapshot));
  assert.equal(calls.length, 0);
  await setImmediate();
  assert.deepEqual(calls, [live.current]);
  stop();
  keep();
});

test("an aborted signal ends a subscription", async () => {
  const live = db.from("personas").where({ description: "signal" }).live();
  const controller = new AbortController();
  let calls = 0;
  live.subscribe(() => calls++, { signal: controller.signal });
  const other = seen(live, ({ rows }) => rows.length === 1);
  await seen(live, ({ status }) => status === "live");
  controller.abort();
  const before = calls;
  await db.commit("personas.created", { name: "Late", description: "signal" });
  await other;
  assert.equal(calls, before);
});

test("a live query without listeners is let go after its grace, and before that comes back as it was", async () => {
  const query = db.from("personas").where({ description: "grace" });
  const live = query.live();
  const first = live.subscribe(() => undefined);
  await seen(live, ({ status }) => status === "live");
  const { current } = live;
  first();
  const again = live.subscribe(() => undefined);
  assert.equal(live.current, current);
  again();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(live.current.status, "stale");
  assert.notEqual(query.live(), live);

  // Whoever still holds the old one may listen again.
  await db.commit("personas.created", { name: "Back", description: "grace" });
  const back = await seen(live, ({ status, rows }) => status === "live" && rows.length === 1);
  assert.equal(back.rows[0]?.["name"], "Back");
});

test("an iterator that is slow gets the newest snapshot only", async () => {
  const query = db.from("personas").where({ description: "loop" }).count();
  const counts: number[] = [];
  for await (const snapshot of query.live()) {
    counts.push(snapshot.rows[0]?.count as number);
    if (counts.at(-1) === 10) {
      break;
    }
    if (counts.length === 1) {
      const watched = seen(query.live(), ({ rows }) => rows[0]?.["count"] === 10);
      for (let at = 0; at < 10; at++) {
        await db.commit("personas.created", { name: "Loop", description: "loop" });
      }
      await watched;
    }
  }
  assert.deepEqual(counts, [0, 10]);
});

test("a query that cannot be live ends in its error, for listeners and for iterators", async () => {
  const live = db.from("nowhere").live();
  const failed = await seen(live, ({ status }) => status === "error");
  assert.equal(failed.error?.code, "query_unknown_collection");
  await assert.rejects(
    async () => {
      for await (const _ of db.from("nowhere").live()) {
        // Nothing comes.
      }
    },
    { code: "query_unknown_collection" },
  );
});

test("aggregates and SQL are live too, and keep equal rows", async () => {
  const query = db
    .from("personas")
    .where({ description: { in: ["group a", "group b"] } })
    .groupBy("description")
    .aggregate({ n: { count: "*" } });
  const sql = db.sql<{ n: number }>("SELECT count(*) AS n FROM personas WHERE description = ? AND deletedAt IS NULL", [
    "group b",
  ]);
  await db.commitAll(
    ["group a", "group b"].map((description) => ({ type: "personas.created", data: { name: "G", description } })),
  );
  const [groups, count] = [query.live(), sql.live()];
  const stops = [groups.subscribe(() => undefined), count.subscribe(() => undefined)];
  const before = await seen(groups, ({ status }) => status === "live");
  await seen(count, ({ status }) => status === "live");
  await db.commit("personas.created", { name: "G", description: "group b" });
  const after = await seen(groups, ({ rows }) => rows[1]?.["n"] === 2);
  assert.equal(after.rows[0], before.rows[0]);
  await seen(count, ({ rows }) => rows[0]?.["n"] === 2);
  stops.forEach((stop) => stop());
});

test("a listener that throws does not keep others from hearing", async () => {
  const live = db.from("personas").where({ description: "thrower" }).live();
  const caught = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve));
  const stop = live.subscribe(({ rows }) => {
    if (rows.length > 0) {
      throw new Error("from a listener");
    }
  });
  const heard = seen(live, ({ rows }) => rows.length === 1);
  await seen(live, ({ status }) => status === "live");
  await db.commit("personas.created", { name: "T", description: "thrower" });
  await heard;
  assert.equal(((await caught) as Error).message, "from a listener");
  process.setUncaughtExceptionCaptureCallback(null);
  stop();
});

test("reading the present value is synchronous and takes less than 5 µs", async () => {
  const live = db.from("personas").live();
  const stop = live.subscribe(() => undefined);
  await seen(live, ({ status }) => status === "live");
  const turns = 100_000;
  const begun = performance.now();
  let rows = 0;
  for (let turn = 0; turn < turns; turn++) {
    rows += live.current.rows.length;
  }
  const each = ((performance.now() - begun) * 1_000) / turns;
  assert.ok(rows > 0);
  assert.ok(each < 5, `${each.toFixed(3)} µs`);
  stop();
});

test("hundreds of live queries at once all come alive", async () => {
  const lives = Array.from({ length: 600 }, (_, at) => db.from("personas").where({ usageCount: at }).live());
  const snapshots = await Promise.all(lives.map((live) => seen(live, ({ status }) => status === "live")));
  assert.equal(snapshots.length, 600);
});
