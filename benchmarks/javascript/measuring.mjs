// What the scripts of this folder share. Each prints one JSON line per figure: {"name", "value", "note"}.
//
// Arguments: the data directory, then the command that starts the database. It lies there filled, see benchmarks/world.py.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

import { createDatabase } from "../../clients/node/dist/esm/main/index.js";

export const [directory, ...command] = process.argv.slice(2);

/** A database on the directory, and the ids of its personas. */
export async function open() {
  const db = await createDatabase({ directory, command, passphrase: "a passphrase for measuring", liveGraceMs: 0 });
  const personas = (await db.from("personas").select("id").get()).rows.map(({ id }) => id);
  return { db, personas };
}

/** One memory of about 500 characters, its content encrypted. */
export function memory(personaId, importance) {
  const words = "memory harbour lantern quiet signal winter orchard river copper meadow ";
  return {
    personaId, importance, type: "event", name: "something new", content: words.repeat(6), summary: words, tags: ["winter"],
  };
}

export function figure(name, value, note) {
  process.stdout.write(`${JSON.stringify({ name, value, note })}\n`);
}

export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Milliseconds of each of so many calls, one after the other. */
export async function timed(times, run) {
  const found = [];
  for (let n = 0; n < times; n++) {
    const started = performance.now();
    await run(n);
    found.push(performance.now() - started);
  }
  return found;
}

/** Resolves with the first snapshot for which the condition holds. */
export function until(live, holds) {
  return new Promise((resolve) => {
    const stop = live.subscribe((snapshot) => {
      if (holds(snapshot)) {
        queueMicrotask(() => stop());
        resolve(snapshot);
      }
    });
  });
}

/** Proportional memory of all processes of the database in MiB; NaN where the system does not tell. */
export function memoryOf(db) {
  const processes = execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" }).trim().split("\n");
  const parents = processes.map((line) => line.trim().split(/\s+/).map(Number));
  const tree = new Set([db.pid]);
  for (const [pid, parent] of parents) {
    // Children have higher numbers, or nearly always.
    if (tree.has(parent)) {
      tree.add(pid);
    }
  }
  try {
    const kib = [...tree].map((pid) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))[1]));
    return kib.reduce((sum, one) => sum + one, 0) / 1024;
  } catch {
    return NaN;
  }
}
