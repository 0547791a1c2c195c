// Windows over ports: what passes between them and the main process, and what happens when one goes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { type MainDatabase, type Snapshot, connect } from "@keepdb/client/main";
import { type TestDatabase, linkedPorts } from "@keepdb/client/testing";
import { Unpackr } from "msgpackr/unpack-no-eval";

import { start, until } from "./place.js";
import { RawWindow } from "./raw-window.js";

let place: TestDatabase<any>;
let db: MainDatabase<any>;

before(async () => {
  place = await start({ settings: { "query.workers": 1 } });
  db = place.database;
});
after(() => place.close());

type Row = Record<string, any>;
type Live = { subscribe(tell: (snapshot: Snapshot<Row>) => void): () => void };
const seen = (live: Live, holds: (found: Snapshot<Row>) => boolean) =>
  until<Snapshot<Row>>((tell) => live.subscribe(tell), holds);

test("two windows see each other's writes", async () => {
  const [one, two] = await Promise.all([place.openWindow(), place.openWindow()]);
  const query = { description: "shared" };
  const live = two.from("personas").where(query).live();
  await seen(live, ({ status }) => status === "live");
  await one.commit("personas.created", { name: "From one", ...query });
  const snapshot = await seen(live, ({ rows }) => rows.length === 1);
  assert.equal(snapshot.rows[0]?.["name"], "From one");

  await two.commit("personas.created", { name: "From two", ...query });
  await seen(one.from("personas").where(query).live(), ({ rows }) => rows.length === 2);
  await Promise.all([one.close(), two.close()]);
});

test("windows do everything the main process does, errors included", async () => {
  const window = await place.openWindow();
  const receipt = await window.commit("personas.created", { name: "Windowed" });
  assert.equal((await window.get("personas", receipt.ids[0] as string))?.["name"], "Windowed");
  assert.equal((await window.sql<{ n: number }>("SELECT 1 AS n").get()).rows[0]?.n, 1);
  await assert.rejects(window.commit("personas.created", {}), {
    name: "KeepDBError",
    code: "validation_failed",
    retryable: false,
  });
  await window.close();
  await assert.rejects(window.from("personas").get(), { code: "closed" });
});

test("the main process forwards frames as the bytes they are and decodes none of them", async (t) => {
  const window = await RawWindow.open(db);
  const decoded = t.mock.method(Unpackr.prototype, "unpack");
  for (let number = 1; number <= 50; number++) {
    window.request("query-1", `${window.prefix}${number}`, {
      type: "read",
      sql: { sql: "SELECT ? AS n", params: [number] },
    });
  }
  window.request("query-1", `${window.prefix}99`, {
    type: "subscribe",
    sub: `${window.prefix}s1`,
    query: { from: "personas", limit: 1 },
  });
  for (let number = 1; number <= 50; number++) {
    assert.deepEqual((await window.answer(`${window.prefix}${number}`))["rows"], [[number]]);
  }
  assert.equal((await window.answer(`${window.prefix}99`))["type"], "subscribed");
  assert.equal((await window.answer(`${window.prefix}s1`))["type"], "snapshot");
  assert.equal(decoded.mock.callCount(), 0);

  // Bytes that are no message at all reach the server, which answers; nobody on the way minds.
  window.post(["request", "query-1", Buffer.from(`${window.prefix}200`), Buffer.from("c1c1", "hex")]);
  assert.equal((await window.answer(`${window.prefix}200`))["code"], "malformed_message");
  window.close();
});

test("frames cross the port with exactly their own bytes", async () => {
  const window = await RawWindow.open(db);
  window.request("query-1", `${window.prefix}1`, { type: "read", sql: { sql: "SELECT 1 AS n" } });
  await window.answer(`${window.prefix}1`);
  const body = window.items[0]?.[3] as Uint8Array;
  assert.equal(body.buffer.byteLength, body.byteLength);
  window.close();
});

test("a window cannot speak under another's name", async () => {
  const [one, two] = [await RawWindow.open(db), await RawWindow.open(db)];
  one.request("query-1", `${two.prefix}1`, { type: "read", sql: { sql: "SELECT 1 AS n" } });
  one.request("query-1", "p1", { type: "ping" });
  one.request("query-1", `${one.prefix}2`, { type: "read", sql: { sql: "SELECT 2 AS n" } });
  assert.deepEqual((await one.answer(`${one.prefix}2`))["rows"], [[2]]);
  assert.equal(one.items.length, 1);
  assert.equal(two.items.length, 0);
  one.close();
  two.close();
});

test("a window reaches neither services that do not exist nor the one that can stop the database", async () => {
  const window = await RawWindow.open(db);
  window.request("oracle", `${window.prefix}1`, { type: "ping" });
  window.request("supervisor", `${window.prefix}2`, { type: "shutdown" });
  assert.equal((await window.answer(`${window.prefix}1`))["code"], "service_unknown");
  assert.equal((await window.answer(`${window.prefix}2`))["code"], "service_unknown");
  window.close();
});

test("a window that sends what is no message is disconnected, and the others go on", async () => {
  const bytes = new Uint8Array(1);
  const wrong: readonly unknown[][] = [
    ["request", "query-1", "no bytes", bytes],
    ["request", "query-1", bytes],
    ["commit", { id: bytes, events: bytes, durability: "never", idempotencyKey: null, timeoutMs: 1 }],
    ["commit", { id: bytes, events: bytes, durability: "disk", idempotencyKey: null, timeoutMs: Infinity }],
    ["commit", null],
    ["toString"],
    [undefined],
    [],
  ];
  for (const item of wrong) {
    const window = await RawWindow.open(db);
    window.post(item);
    await window.until(() => window.items.some(([kind]) => kind === "end"));
    assert.equal((window.items.at(-1)?.[1] as { code: string }).code, "malformed_message");
  }
  await db.from("personas").get();
});

test("however much a window asks for at once, the others go on", async () => {
  const window = await RawWindow.open(db);
  const ping = Buffer.from("81a474797065a470696e67", "hex");
  const names = Array.from({ length: 20_100 }, (_, at) => `${window.prefix}${at + 1}`);
  window.post(...names.map((name) => ["request", "query-1", Buffer.from(name), ping]));
  const other = await place.openWindow();
  assert.equal((await other.from("personas").count().get()).rows.length, 1);
  await window.answer(names.at(-1) as string);
  window.close();
  await other.close();
});

test("a window has at most so many bytes of commits under way, and each name once", async () => {
  const window = await RawWindow.open(db);
  const commit = (number: number, bytes: number) => [
    "commit",
    {
      id: Buffer.from(`${window.prefix}${number}`),
      events: Buffer.alloc(bytes, 0xc1),
      durability: "disk",
      idempotencyKey: null,
      timeoutMs: 1_000,
    },
  ];
  window.post(...Array.from({ length: 9 }, (_, at) => commit(at + 1, 8_000_000)));
  assert.equal((await window.answer(`${window.prefix}9`))["code"], "busy");
  for (let number = 1; number < 9; number++) {
    assert.notEqual((await window.answer(`${window.prefix}${number}`))["code"], "busy");
  }
  const before = window.items.length;
  window.post(...Array.from({ length: 100 }, () => commit(20, 10)), commit(21, 10));
  await window.answer(`${window.prefix}21`);
  assert.equal(window.items.length, before + 2);
  window.close();
});

test("a window neither replaces nor ends another's subscriptions, whatever names it makes up", async () => {
  const victim = await place.openWindow();
  const live = victim.from("personas").where({ description: "victim" }).live();
  const keep = live.subscribe(() => undefined);
  await seen(live, ({ status }) => status === "live");
  const other = await RawWindow.open(db);
  let asked = 0;
  for (let client = 0; client < 50; client++) {
    for (const sub of [`${client}.s1`, `${client}.AAAAAAAA.s1`]) {
      const query = { from: "personas", limit: 3 };
      other.request("query-1", `${other.prefix}${++asked}`, { type: "subscribe", sub, query });
      other.request("query-1", `${other.prefix}${++asked}`, { type: "unsubscribe", sub });
      other.post(["release", "query-1", sub], ["hold", "query-1", sub, "epoch"]);
    }
  }
  await other.answer(`${other.prefix}${asked}`);
  assert.match(other.prefix, /^\d+\.[\w-]{8}\.$/);
  await db.commit("personas.created", { name: "Mine", description: "victim" });
  const { rows } = await seen(live, (found) => found.rows.length > 0);
  assert.deepEqual(
    rows.map(({ name }) => name),
    ["Mine"],
  );
  keep();
  other.close();
  await victim.close();
});

test("when a window goes, its subscriptions end at the service", async () => {
  const watcher = await RawWindow.open(db);
  let asked = 0;
  const subscribers = async (): Promise<number> => {
    const name = `${watcher.prefix}${++asked}`;
    watcher.request("query-1", name, { type: "query_status" });
    return (await watcher.answer(name))["subscribers"] as number;
  };
  const before = await subscribers();
  const window = await place.openWindow();
  const lives = [1, 2, 3].map((usageCount) => window.from("personas").where({ usageCount }).live());
  await Promise.all(
    lives.map((live) =>
      until<Snapshot<Row>>(
        (tell) => (live.subscribe(tell), () => undefined),
        ({ status }) => status === "live",
      ),
    ),
  );
  assert.equal(await subscribers(), before + 3);

  // One more that is being made when the window goes.
  window
    .from("personas")
    .where({ usageCount: 4 })
    .live()
    .subscribe(() => undefined);
  await window.close();
  while ((await subscribers()) !== before) {
    // Asked again: unsubscribing has no answer that we could wait for.
  }
  watcher.close();
});

test("a commit is carried out although its window closes right behind it", async () => {
  const window = await place.openWindow();
  const last = window.commit("personas.created", { name: "Last words", description: "last words" });
  const closed = assert.rejects(last, { code: "closed" });
  await window.close();
  await closed;
  await seen(db.from("personas").where({ description: "last words" }).live(), ({ rows }) => rows.length === 1);
});

test("a window that is detached is told, and its queries say so", async () => {
  const [main, port] = linkedPorts();
  const detach = db.attach(main);
  const window = await connect<any>(port);
  const live = window.from("personas").live();
  await seen(live, ({ status }) => status === "live");
  const keep = live.subscribe(() => undefined);
  detach();
  const ended = await seen(live, ({ status }) => status === "error");
  assert.equal(ended.error?.code, "disconnected");
  await assert.rejects(window.from("personas").get(), { code: "disconnected", retryable: true });
  keep();
  await window.close();
});

test("without a port, connecting ends in time", async () => {
  await assert.rejects(connect(null, { timeoutMs: 50 }), { code: "no_port" });
  const reason = new Error("not any more");
  await assert.rejects(connect(null, { signal: AbortSignal.abort(reason) }), reason);
  const [, silent] = linkedPorts();
  await assert.rejects(connect(silent, { timeoutMs: 50 }), { code: "no_port" });
  silent.close?.();
});
