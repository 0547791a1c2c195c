// The vectors and conversations that every client must pass: tests/conformance at the root of the repository.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { createDatabase } from "@keepdb/client/main";
import { decode as msgpackDecode } from "@msgpack/msgpack";

import { decode, encode } from "../dist/esm/core/codec.js";
import { type RowObject, applyDiff, toRows } from "../dist/esm/core/rows.js";
import { complete } from "../dist/esm/generated/wire.js";
import { command } from "./place.js";
import { Scripted, matches, plain } from "./scripted.js";

const [python, program] = command as [string, string];
const root = dirname(program);
const folder = join(root, "tests", "conformance");
const VERDICT_MS = 15_000;

interface MessageCase {
  readonly name: string;
  readonly bytes: string;
  readonly sent?: object;
  readonly received?: Record<string, unknown>;
}

interface DiffCase {
  readonly name: string;
  readonly key: number;
  readonly before: unknown[][];
  readonly diff: object;
  readonly after: unknown[][];
}

function read(path: string): any {
  return JSON.parse(readFileSync(path, "utf8"));
}

const messages = (read(join(folder, "messages.json")) as unknown[]).map(plain) as MessageCase[];
const diffs = (read(join(folder, "diffs.json")) as unknown[]).map(plain) as DiffCase[];

test("messages that are sent have the bytes of the vectors, or longer forms of the same integers", () => {
  const cases = messages.filter(({ sent }) => sent !== undefined);
  let exact = 0;
  for (const { name, sent, bytes } of cases) {
    const found = encode(sent);
    exact += Buffer.from(found).toString("hex") === bytes ? 1 : 0;
    assert.deepStrictEqual(unpacked(found), unpacked(Uint8Array.from(Buffer.from(bytes, "hex"))), name);
  }
  assert.ok(cases.length > 20 && exact > cases.length / 2);
});

/** As `@msgpack/msgpack` reads it: integers in forms of 64 bits become bigint, floats never do. */
function unpacked(bytes: Uint8Array): unknown {
  return shortened(msgpackDecode(bytes, { useBigInt64: true }));
}

function shortened(value: unknown): unknown {
  if (typeof value === "bigint") {
    return value >= -(2n ** 31n) && value < 2n ** 32n ? Number(value) : value;
  }
  if (Array.isArray(value)) {
    return value.map(shortened);
  }
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, shortened(part)]));
  }
  return value;
}

test("bytes that are received are the messages of the vectors, with their defaults", () => {
  const cases = messages.filter(({ received }) => received !== undefined);
  for (const { name, received, bytes } of cases) {
    const found = complete(decode(Uint8Array.from(Buffer.from(bytes, "hex"))));
    assert.doesNotThrow(() => matches(found, received as object), name);
  }
  assert.ok(cases.length > 20);
});

test("each diff gives exactly the rows after it, and leaves the rows before as they were", () => {
  for (const { name, key, before, diff, after } of diffs) {
    const columns = Array.from({ length: (before[0] ?? after[0] ?? [null, null, null]).length }, (_, at) => `c${at}`);
    const rows: readonly RowObject[] = toRows(columns, before);
    const found = applyDiff(rows, columns, `c${key}`, { type: "diff", sub: "s", seq: 1, ...diff });
    assert.deepStrictEqual(found.map((row) => Object.values(row)), after, name);
    assert.deepStrictEqual(rows.map((row) => Object.values(row)), before, name);
  }
  assert.ok(diffs.length > 100);
});

describe("conversations", { concurrency: 4 }, () => {
  // This client has no change streams.
  const scripts = readdirSync(join(folder, "conversations"))
    .map((file) => ({ file, script: read(join(folder, "conversations", file)) }))
    .filter(({ script }) => script.needs === undefined);
  assert.ok(scripts.length > 15);
  for (const { file, script } of scripts) {
    test(`${file.replace(".json", "")}: ${script.about}`, () => playWithPeer(file, script.steps));
  }
});

/** The peer takes the place of the database process, and says at the end whether it heard what the script says. */
async function playWithPeer(file: string, steps: readonly object[]): Promise<void> {
  const place = mkdtempSync(join(tmpdir(), "keepdb-conformance-"));
  const verdict = join(place, "verdict.json");
  const script = join(folder, "conversations", file);
  try {
    const db = await createDatabase<any>({
      directory: place,
      passphrase: "the peer does not ask",
      command: [python, "-m", "tests.conformance.peer", script, "--verdict", verdict],
      environment: { PYTHONPATH: root },
      liveGraceMs: 0,
    });
    try {
      await new Scripted(db).play(steps);
      const deadline = performance.now() + VERDICT_MS;
      while (!existsSync(verdict) && performance.now() < deadline) {
        await pause(20);
      }
    } finally {
      await db.close();
      // What the peer waited for says more than what the client missed.
      assert.deepEqual(read(verdict), { event: "verdict", passed: true });
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
