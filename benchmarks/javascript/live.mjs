// From a commit to the callback of a subscriber, both in this process; alone, and beside many other live queries.

import { closeSync, fdatasyncSync, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";

import { directory, figure, median, memory, memoryOf, open, until } from "./measuring.mjs";

const COMMITS = 600;
const PAIRS = 5;
const OTHERS = 1_000;
const MANY = 10_000;
const READS = 1_000_000;

const { db, personas } = await open();
const memories = db.from("memoryEntities");
const list = memories.where({ personaId: personas[0] }).orderBy("-importance").limit(50);
let made = 0;

await oneQuery();
await besideOthers("live_1000_p50_ratio", "1 000 others with another personaId", (n) =>
  memories.where({ personaId: `nobody ${n}` }).orderBy("-importance").limit(50));
await besideOthers("live_1000_ranges_p50_ratio", "1 000 others that only a range keeps from matching", (n) =>
  memories.where({ personaId: { between: [`~${n}`, `~${n}~`] } }).orderBy("-importance").limit(50));
await manyQueries();
await db.close();

async function oneQuery() {
  const narrow = list.select("name", "type", "importance");
  await callbacks(narrow, 200, "os");
  const os = await callbacks(narrow, COMMITS, "os");
  figure("live_os_p50_ms", median(os), "commit to callback, durability os, a page of 50");
  const sealed = await callbacks(list, COMMITS, "os");
  figure("live_os_sealed_p50_ms", median(sealed), "the same with the encrypted content selected");
  const disk = [];
  const syncs = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    syncs.push(...syncMs(50));
    disk.push(...(await callbacks(narrow, COMMITS / PAIRS, "disk")));
  }
  figure("live_disk_p50_ms", median(disk), "commit to callback, synced to this disk");
  figure("live_disk_less_sync_p50_ms", median(disk) - median(syncs), "without one sync of this disk");
  const live = narrow.live();
  const stop = live.subscribe(() => undefined);
  await until(live, ({ status }) => status === "live");
  let rows = 0;
  const started = performance.now();
  for (let n = 0; n < READS; n++) {
    rows += live.current.rows.length;
  }
  figure("live_current_read_us", ((performance.now() - started) * 1000) / READS, `of ${rows / READS} rows, synchronous`);
  stop();
}

/** Alone and beside the others in turn, so that the machine's moods meet both. */
async function besideOthers(name, note, other) {
  const watched = list.select("name", "type");
  const alone = [];
  const beside = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    alone.push(...(await callbacks(watched, COMMITS / PAIRS, "os")));
    const stops = await subscribed(Array.from({ length: OTHERS }, (_, n) => other(n)));
    beside.push(...(await callbacks(watched, COMMITS / PAIRS, "os")));
    await unsubscribed(stops);
  }
  figure(name, median(beside) / median(alone), `${note}; ${median(alone).toFixed(2)} ms alone`);
}

async function manyQueries() {
  const many = (name) =>
    Array.from({ length: MANY }, (_, n) => memories.where({ personaId: `${name} ${n}` }).orderBy("-importance").limit(50));
  const before = memoryOf(db);
  const started = performance.now();
  const stops = await subscribed(many("somebody"));
  figure("live_10k_register_s", (performance.now() - started) / 1000, "10 000 live queries, first result included");
  figure("live_10k_memory_mb", memoryOf(db) - before, "what all processes of the database grew by");
  await unsubscribed(stops);
  const after = memoryOf(db);
  for (let round = 0; round < 2; round++) {
    await unsubscribed(await subscribed(many(`round ${round}`)));
  }
  figure("live_10k_left_mb", memoryOf(db) - after, "what another 20 000 that came and went have left");
}

/** Milliseconds from calling commit to the callback that shows the new row, one commit after the other. */
async function callbacks(query, times, durability) {
  const live = query.live();
  let wanted = "";
  let arrived = () => undefined;
  const stop = live.subscribe(({ rows }) => {
    if (rows.some(({ name }) => name === wanted)) {
      arrived(performance.now());
    }
  });
  await until(live, ({ status }) => status === "live");
  const found = [];
  for (let n = 0; n < times; n++) {
    // The most important, and the newest of those: it comes first.
    const data = memory(personas[0], 100);
    wanted = data.name = `new ${++made}`;
    const callback = new Promise((resolve) => {
      arrived = resolve;
    });
    const started = performance.now();
    const receipt = db.commit("memoryEntities.created", data, { durability });
    found.push((await callback) - started);
    await receipt;
  }
  stop();
  return found;
}

/** Subscribes to all at once; resolves when each shows its first result. */
async function subscribed(queries) {
  const stops = [];
  await Promise.all(
    queries.map(
      (query) =>
        new Promise((resolve) => {
          stops.push(query.live().subscribe(({ status }) => status === "live" && resolve(undefined)));
        }),
    ),
  );
  return stops;
}

/** Resolves when the query actors have taken note, too. */
async function unsubscribed(stops) {
  stops.forEach((stop) => stop());
  await new Promise((resolve) => setTimeout(resolve, 500));
  await db.from("personas").limit(1).get();
}

/** Milliseconds of each sync of a few bytes, where the database lies. */
function syncMs(times) {
  const path = join(directory, "..", "synced");
  const file = openSync(path, "w");
  const found = [];
  for (let n = 0; n < times; n++) {
    writeSync(file, "x".repeat(4096));
    const started = performance.now();
    fdatasyncSync(file);
    found.push(performance.now() - started);
  }
  closeSync(file);
  unlinkSync(path);
  return found;
}
