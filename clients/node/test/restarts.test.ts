// Processes are killed while the client commits and listens. Queries go stale and come back with the right rows; commits
// that were under way are carried out once.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Database, DatabaseStatus, MainDatabase, Snapshot } from "@keepdb/client/main";
import type { TestDatabase } from "@keepdb/client/testing";

import { pidsOf, start, until } from "./place.js";

let place: TestDatabase<any>;
let db: MainDatabase<any>;
let window: Database<any>;
const statuses: DatabaseStatus[] = [];
const exits: (string | null)[] = [];

before(async () => {
  place = await start({
    onStatus: (status) => statuses.push(status),
    onExit: ({ signal }) => exits.push(signal),
  });
  db = place.database;
  window = await place.openWindow();
});
after(() => place.close());

type Row = Record<string, any>;

/** What a live query has gone through, and how to wait for more. */
function followed(database: Database<any>, description: string) {
  const live = database.from("personas").where({ description }).orderBy("name").select("name", "description").live();
  const history: string[] = [];
  live.subscribe(({ status }) => {
    if (history.at(-1) !== status) {
      history.push(status);
    }
  });
  const shows = (holds: (found: Snapshot<Row>) => boolean) =>
    until<Snapshot<Row>>((tell) => live.subscribe(tell), holds);
  return { live, history, shows };
}

const named = (rows: readonly Row[]) => rows.map((row) => row["name"] as string);

/** Commits one after another until told to stop; every one must be carried out. */
function committing(database: Database<any>, description: string) {
  let isOver = false;
  const names: string[] = [];
  const work = Promise.all(
    Array.from({ length: 8 }, async (_, lane) => {
      for (let turn = 0; !isOver; turn++) {
        const name = `${lane}-${String(turn).padStart(4, "0")}`;
        names.push(name);
        await database.commit("personas.created", { name, description }, { timeoutMs: 30_000 });
      }
    }),
  );
  return {
    async stop(): Promise<string[]> {
      isOver = true;
      await work;
      return names.sort();
    },
  };
}

async function commitsWhile(description: string, disturb: () => Promise<void>): Promise<void> {
  const [main, other] = [committing(db, description), committing(window, `${description} too`)];
  await disturb();
  for (const [commits, about] of [
    [main, description],
    [other, `${description} too`],
  ] as const) {
    const expected = await commits.stop();
    const found = await db.from("personas").where({ description: about }).orderBy("name").limit(10_000).get();
    assert.deepEqual(named(found.rows), expected);
  }
}

test("a killed query actor: its live queries go stale, then live with what was committed meanwhile", async () => {
  const followers = [followed(db, "query killed"), followed(window, "query killed")];
  await db.commit("personas.created", { name: "before", description: "query killed" });
  await Promise.all(followers.map(({ shows }) => shows(({ rows }) => rows.length === 1)));
  const pids = await pidsOf(db);
  for (const name of ["query-1", "query-2"]) {
    process.kill(pids[name] as number, "SIGKILL");
  }
  await Promise.all(followers.map(({ shows }) => shows(({ status }) => status === "stale")));
  await db.commit("personas.created", { name: "meanwhile", description: "query killed" });
  const came = await Promise.all(
    followers.map(({ shows }) => shows(({ status, rows }) => status === "live" && rows.length === 2)),
  );
  came.forEach(({ rows }) => assert.deepEqual(named(rows), ["before", "meanwhile"]));
  followers.forEach(({ history }) => assert.deepEqual(history, ["live", "stale", "live"]));
  // And they go on.
  await window.commit("personas.created", { name: "then", description: "query killed" });
  await Promise.all(followers.map(({ shows }) => shows(({ rows }) => rows.length === 3)));
});

test("reads that are under way when their query actors are killed are answered all the same", async () => {
  const pids = await pidsOf(db);
  const reads = Array.from({ length: 2_000 }, () => db.from("personas").count().get());
  // From here on they have many of them in their inboxes, which die with them.
  await reads[0];
  for (const name of ["query-1", "query-2"]) {
    process.kill(pids[name] as number, "SIGKILL");
  }
  const answers = await Promise.all(reads);
  assert.ok(answers.every(({ rows }) => typeof rows[0]?.count === "number"));
});

test("a frozen query actor: its queries go stale and come back when it was replaced", async () => {
  const follower = followed(db, "query frozen");
  await follower.shows(({ status }) => status === "live");
  const pids = await pidsOf(db);
  for (const name of ["query-1", "query-2"]) {
    process.kill(pids[name] as number, "SIGSTOP");
  }
  await follower.shows(({ status }) => status === "stale");
  await db.commit("personas.created", { name: "woken", description: "query frozen" });
  const { rows } = await follower.shows(({ status, rows }) => status === "live" && rows.length === 1);
  assert.deepEqual(named(rows), ["woken"]);
});

test("a killed writer: commits under way are carried out once each, and live queries show them all", async () => {
  const follower = followed(window, "writer killed");
  await follower.shows(({ status }) => status === "live");
  await commitsWhile("writer killed", async () => {
    await follower.shows(({ rows }) => rows.length >= 5);
    process.kill((await pidsOf(db))["writer"] as number, "SIGKILL");
    const { rows } = follower.live.current;
    await follower.shows((found) => found.rows.length > rows.length + 20);
  });
  const expected = await db.from("personas").where({ description: "writer killed" }).orderBy("name").get();
  await follower.shows(({ rows }) => rows.length === expected.rows.length);
  assert.deepEqual(named(follower.live.current.rows), named(expected.rows));
});

test("a killed supervisor: the database is started again, nothing is lost or doubled, windows notice nothing but a pause", async () => {
  const followers = [followed(db, "all killed"), followed(window, "all killed")];
  await Promise.all(followers.map(({ shows }) => shows(({ status }) => status === "live")));
  const before = db.pid;
  await commitsWhile("all killed", async () => {
    await Promise.all(followers.map(({ shows }) => shows(({ rows }) => rows.length >= 5)));
    process.kill(before as number, "SIGKILL");
    await Promise.all(followers.map(({ shows }) => shows(({ status }) => status === "stale")));
    const { rows } = (followers[0] as (typeof followers)[0]).live.current;
    await Promise.all(
      followers.map(({ shows }) => shows((found) => found.status === "live" && found.rows.length > rows.length + 20)),
    );
  });
  assert.notEqual(db.pid, before);
  assert.equal(db.status, "ready");
  assert.deepEqual(statuses, ["ready", "restarting", "ready"]);
  assert.deepEqual(exits, ["SIGKILL"]);
  const expected = await db.from("personas").where({ description: "all killed" }).orderBy("name").get();
  for (const { shows, live, history } of followers) {
    await shows(({ rows }) => rows.length === expected.rows.length);
    assert.deepEqual(
      live.current.rows,
      expected.rows.map(({ id, name, description }) => ({ id, name, description })),
    );
    assert.deepEqual(history, ["live", "stale", "live"]);
  }
});
