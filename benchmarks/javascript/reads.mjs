// Reads by id from Node: one after the other, and many in flight.

import { figure, median, open, timed } from "./measuring.mjs";

const ONE_BY_ONE = 3_000;
const PIPELINED = 20_000;
const IN_FLIGHT = 64;
const COLUMNS = ["name", "type", "importance", "summary", "tags", "createdAt"];

const { db, personas } = await open();
const ids = [];
for (const personaId of personas) {
  ids.push(...(await db.from("memoryEntities").where({ personaId }).select("id").get()).rows.map(({ id }) => id));
}
const chosen = () => ids[Math.floor(Math.random() * ids.length)];
const byId = () => db.from("memoryEntities").where({ id: chosen() }).limit(1).select(...COLUMNS).get();
const whole = () => db.get("memoryEntities", chosen());

await timed(500, byId);
figure("node_point_read_p50_us", median(await timed(ONE_BY_ONE, byId)) * 1000, "by id, six columns, ipc with CURVE");
figure("node_point_read_sealed_p50_us", median(await timed(ONE_BY_ONE, whole)) * 1000, "whole row, encrypted content opened");
const rates = [];
for (let round = 0; round < 5; round++) {
  rates.push(await rate(PIPELINED / 5));
}
figure("node_point_read_per_s", median(rates), `by id, ${IN_FLIGHT} in flight, 2 query workers`);
await db.close();

/** Reads per second with so many on their way. */
async function rate(reads) {
  let left = reads;
  const lane = async () => {
    while (left-- > 0) {
      const { rows } = await byId();
      if (rows.length !== 1) {
        throw new Error("a row that was there has gone");
      }
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return (reads * 1000) / (performance.now() - started);
}
