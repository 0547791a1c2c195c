// A window and the end of its connection, seen from the window: the other end of its port is played by the test.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { KeepDBError, type LiveQuery, connect } from "@keepdb/client";
import { encode } from "@msgpack/msgpack";

import { RawMain } from "./raw-main.js";

const GONE = { code: "disconnected", message: "Gone.", fix: "Come back.", retryable: true };

const statusOf = (live: LiveQuery<any>, status: string): Promise<void> =>
  new Promise((resolve) => {
    live.subscribe((found) => found.status === status && resolve());
  });

test("thousands of live queries that wait for their turn end when the window closes", async () => {
  const { main, db } = await RawMain.connected();
  const lives = Array.from({ length: 10_000 }, (_, usageCount) => db.from("personas").where({ usageCount }).live());
  lives.forEach((live) => live.subscribe(() => undefined));
  await db.close();
  assert.ok(lives.every(({ current }) => current.status === "error" && current.error?.code === "closed"));
  main.close();
});

test("thousands of live queries that wait for their turn can be given up at once, and others have theirs", async () => {
  const { main, db } = await RawMain.connected({ liveGraceMs: 0 });
  const stops = Array.from({ length: 10_000 }, (_, usageCount) =>
    db.from("personas").where({ usageCount }).live().subscribe(() => undefined),
  );
  // Those that wait first: then the whole queue is stale when the first place is free.
  stops.reverse().forEach((stop) => stop());
  await pause(100);
  db.from("workflows").live().subscribe(() => undefined);
  const asks = ([kind, , , body]: readonly unknown[]): boolean =>
    kind === "request" && Buffer.from(body as Uint8Array).includes("workflows");
  await main.heard((items) => items.some(asks));
  await db.close();
  main.close();
});

test("a live query that is made after the connection was lost ends in its error, once and after subscribe returned", async () => {
  const { main, db } = await RawMain.connected();
  const before = db.from("personas").live();
  const lost = statusOf(before, "error");
  main.post(["end", GONE]);
  await lost;
  const live = db.from("workflows").live();
  const told: string[] = [];
  live.subscribe(({ status }) => told.push(status));
  assert.deepEqual(told, []);
  await pause(200);
  assert.deepEqual(told, ["error"]);
  assert.equal(live.current.error?.code, "disconnected");
  main.close();
});

test("a commit under way when the connection goes is not called repeatable, one made later is", async () => {
  const { main, db } = await RawMain.connected();
  const commit = db.commit("personas.created", { name: "Ada" });
  await main.heard((items) => items.length === 1);
  const refused = assert.rejects(commit, (error: KeepDBError) => {
    assert.deepEqual([error.code, error.retryable], ["disconnected", false]);
    assert.match(error.message, /may have been carried out/);
    return true;
  });
  main.post(["end", GONE]);
  await refused;
  await assert.rejects(db.commit("personas.created", { name: "Bob" }), { code: "disconnected", retryable: true });
  main.close();
});

test("options that nobody can mean refuse their call only", async () => {
  const { main, db } = await RawMain.connected();
  for (const timeoutMs of [NaN, 0, -1, "10" as never]) {
    await assert.rejects(db.from("personas").get({ timeoutMs }), { code: "usage" });
    await assert.rejects(db.commit("personas.created", {}, { timeoutMs }), { code: "usage" });
  }
  await assert.rejects(db.commit("personas.created", {}, { idempotencyKey: 7 as never }), { code: "usage" });
  await assert.rejects(db.commit("personas.created", {}, { durability: "never" as never }), { code: "usage" });
  assert.equal(main.items.length, 0);
  const endless = db.commit("personas.created", { name: "Ada" }, { timeoutMs: Infinity });
  await main.heard((items) => items.length === 1);
  assert.equal((main.items[0] as any)[1].timeoutMs, 2 ** 31 - 1);
  main.answer(1, { type: "receipt", seqFirst: 1, seqLast: 1, ids: ["a"], at: 1 });
  assert.equal((await endless).seqLast, 1);
  await db.close();
  main.close();
});

test("undefined in a filter, in values for SQL or as an id is refused instead of matching everything", async () => {
  const { main, db } = await RawMain.connected();
  const refused = { code: "query_bad_value" };
  const nothing = undefined as never;
  assert.throws(() => db.from("personas").where({ id: nothing }), refused);
  assert.throws(() => db.from("personas").where({ or: [{ name: { in: ["a", nothing] } }] }), refused);
  assert.throws(() => db.from("personas").count().having({ count: nothing }), refused);
  assert.throws(() => db.sql("SELECT ?", [nothing]), refused);
  await assert.rejects(db.get("personas", nothing), { code: "usage" });
  assert.equal(main.items.length, 0);
  await db.close();
  main.close();
});

test("filters that differ only in what JSON cannot say are different queries", async () => {
  const { main, db } = await RawMain.connected();
  const keys = [NaN, Infinity, -Infinity, null, 1n].map((usageCount) => db.from("personas").where({ usageCount }).key);
  assert.equal(new Set(keys).size, keys.length);
  await db.close();
  main.close();
});

test("an iterator that waits for the next snapshot ends at once when it is returned or aborted", async () => {
  const { main, db } = await RawMain.connected({ liveGraceMs: 0 });
  const iterator = db.from("personas").live()[Symbol.asyncIterator]();
  const next = iterator.next();
  assert.deepEqual(await iterator.return?.(), { value: undefined, done: true });
  assert.deepEqual(await next, { value: undefined, done: true });
  const controller = new AbortController();
  const reason = new Error("enough");
  const changes = db.from("workflows").live().changes({ signal: controller.signal });
  const waiting = assert.rejects(changes.next(), reason);
  controller.abort(reason);
  await waiting;
  await db.close();
  main.close();
});

test("a live query that ended and is listened to again is the one that equal queries give", async () => {
  const { main, db } = await RawMain.connected({ liveGraceMs: 0 });
  const query = db.from("personas");
  const kept = query.live();
  await pause(20);
  assert.notEqual(query.live(), kept);
  await pause(20);
  kept.subscribe(() => undefined);
  assert.equal(query.live(), kept);
  await db.close();
  main.close();
});

test("listeners of a query that ended hear that it begins anew with somebody else", async () => {
  const { main, db } = await RawMain.connected();
  const live = db.from("personas").live();
  const told: string[] = [];
  live.subscribe(({ status }) => told.push(status));
  await main.heard((items) => items.length === 1);
  main.answer(1, { type: "refused", code: "query_bad_value", message: "No.", fix: "Yes." });
  await statusOf(live, "error");
  live.subscribe(() => undefined);
  assert.deepEqual(told, ["error", "loading"]);
  await db.close();
  main.close();
});

test("a result with a column called __proto__ has it as a column", async () => {
  const { main, db } = await RawMain.connected();
  const reading = db.sql("SELECT 1").get();
  await main.heard((items) => items.length === 1);
  main.answer(1, { type: "rows", seq: 1, columns: ["id", "__proto__"], rows: [["a", { isAdmin: true }]] });
  const row = (await reading).rows[0] as Record<string, unknown>;
  assert.deepEqual(Object.keys(row), ["id", "__proto__"]);
  assert.equal(row["isAdmin"], undefined);
  await db.close();
  main.close();
});

test("explain gives up when it is sent on and on", async () => {
  const { main, db } = await RawMain.connected();
  const explaining = assert.rejects(db.from("personas").explain(), { code: "protocol_error" });
  for (let number = 1; number <= 9; number++) {
    await main.heard((items) => items.length === number);
    main.answer(number, { type: "moved", sub: "", service: "query-1" });
  }
  await explaining;
  await db.close();
  main.close();
});

test("a port that nobody greets is let go, and one that closes or says why is refused for that reason", async () => {
  const silent = new RawMain();
  const closed = silent.closed();
  await assert.rejects(connect(silent.window as never, { timeoutMs: 50 }), { code: "no_port" });
  await closed;

  const gone = new RawMain();
  const refused = assert.rejects(connect(gone.window as never), { code: "disconnected" });
  gone.close();
  await refused;

  const over = new RawMain();
  over.post(["end", { code: "sidecar_ended", message: "It is over.", fix: "Look." }]);
  await assert.rejects(connect(over.window as never), { code: "sidecar_ended" });
  over.close();
  await assert.rejects(connect({} as never), TypeError);
});

test("a service that is gone after a restart is replaced for reads and for live queries", async () => {
  const main = new RawMain();
  main.greet();
  const db = await connect<any>(main.window as never);
  main.post(["services", ["writer", "query-1", "query-2"]]);
  await pause(20);
  const lives = [1, 2].map((usageCount) => db.from("personas").where({ usageCount }).live());
  lives.forEach((live) => live.subscribe(() => undefined));
  await main.heard((items) => items.length === 2);
  assert.deepEqual(main.items.map(([, service]) => service).sort(), ["query-1", "query-2"]);
  main.items.length = 0;
  main.post(["services", ["writer", "query-1"]]);
  await main.heard((items) => items.some(([kind, service]) => kind === "request" && service === "query-1"));
  main.items.length = 0;
  void db.from("personas").get().catch(() => undefined);
  void db.from("personas").get().catch(() => undefined);
  await main.heard((items) => items.length >= 2);
  assert.ok(main.items.every(([, service]) => service === "query-1"));
  await db.close();
  main.close();
});

test("msgpack of our own reads as what it was written from", async () => {
  const { pack } = await import("../dist/esm/core/msgpack.js");
  const { decode } = await import("@msgpack/msgpack");
  const integers = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
  const numbers = [...integers, ...integers.map((value) => -value - 1).filter(Number.isSafeInteger), 1.5, -0.1, 1e300];
  const texts = ["", "a".repeat(31), "a".repeat(32), "ä".repeat(64), "ä".repeat(20), "€".repeat(100), "😀".repeat(30_000)];
  const values = { numbers, texts, truth: [true, false, null], nested: { a: [{ b: { c: [] } }] }, many: [...Array(70_000).keys()] };
  assert.deepEqual(decode(pack(values)), values);
  // The very bytes of a library that is known to be right, wherever it writes integers as short as we do.
  const small = numbers.filter((value) => value >= -(2 ** 31) && value < 2 ** 32);
  assert.deepEqual(pack([small, texts, { a: 1 }]), encode([small, texts, { a: 1 }]));
  assert.deepEqual(decode(pack([2n ** 64n - 1n, -(2n ** 63n)]), { useBigInt64: true }), [2n ** 64n - 1n, -(2n ** 63n)]);
  assert.deepEqual(decode(pack({ bin: new Uint8Array([1, 2]), gone: undefined })), { bin: new Uint8Array([1, 2]) });
  const endless: unknown[] = [];
  endless.push(endless);
  for (const value of [2n ** 64n, () => 1, Symbol("s"), new Date(0), new Map(), endless]) {
    assert.throws(() => pack({ value }), TypeError);
  }
  assert.deepEqual(decode(pack("after")), "after");
});

test("the entry for windows loads no native module", () => {
  const { sharedObjects } = process.report.getReport() as { sharedObjects: string[] };
  assert.deepEqual(sharedObjects.filter((path) => path.endsWith(".node")), []);
});
