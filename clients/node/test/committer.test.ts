// What the main process does with commits whose answers are late, lost, or no last word.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { decode, encode } from "@msgpack/msgpack";

import { Committer } from "../dist/esm/main/committer.js";

/** A committer, and what it has sent. */
class Writer {
  readonly sent: string[] = [];
  bytes = 0;
  readonly committer = new Committer((name, body) => {
    this.sent.push(Buffer.from(name).toString());
    this.bytes += body.length;
  });

  submit(timeoutMs: number, idempotencyKey: string | null = null, size = 1): Promise<Record<string, unknown>> {
    const events = encode("x".repeat(size));
    return new Promise((resolve) => {
      const request = { id: new Uint8Array(1), events, durability: "disk" as const, idempotencyKey, timeoutMs };
      this.committer.submit(request, (body) => resolve(decode(body) as Record<string, unknown>));
    });
  }

  answer(name: string, message: object): void {
    this.committer.take(Buffer.from(name), encode(message));
  }

  refuse(name: string, code: string, retryable: boolean): void {
    this.answer(name, { type: "refused", code, message: "m", fix: "f", retryable });
  }

  times(name: string): number {
    return this.sent.filter((one) => one === name).length;
  }
}

const RECEIPT = { type: "receipt", seqFirst: 1, seqLast: 1, ids: ["a"], at: 1 };

test("a commit that is refused for now while a copy is on its way is not given back before its last word", async () => {
  const writer = new Writer();
  const outcome = writer.submit(3_000);
  await pause(150);
  assert.ok(writer.times("c1") >= 2);
  writer.refuse("c1", "storage_failed", true);
  assert.equal(await Promise.race([outcome, pause(50, "open")]), "open");
  writer.answer("c1", RECEIPT);
  assert.deepEqual(await outcome, RECEIPT);
  writer.committer.close();
});

test("whatever is refused for now is sent again until it is carried out", async () => {
  for (const code of ["busy", "storage_failed", "out_of_order", "outcome_unknown", "too_late", "peer_silent"]) {
    const writer = new Writer();
    const outcome = writer.submit(3_000);
    writer.refuse("c1", code, true);
    await pause(60);
    assert.ok(writer.times("c1") >= 2, code);
    writer.answer("c1", RECEIPT);
    assert.deepEqual(await outcome, RECEIPT);
    writer.committer.close();
  }
});

test("at its deadline, a commit that may have been carried out says so, and is only repeatable under its own name", async () => {
  const writer = new Writer();
  const [plain, named] = [writer.submit(120), writer.submit(120, "mine")];
  writer.refuse("c1", "outcome_unknown", true);
  for (const [outcome, retryable] of [
    [await plain, false],
    [await named, true],
  ] as const) {
    assert.deepEqual([outcome["code"], outcome["retryable"] ?? false], ["timeout", retryable]);
    assert.match(outcome["message"] as string, /may have been carried out/);
  }
  writer.committer.close();
});

test("at its deadline, a commit whose every copy was refused for now gets that refusal, which may be repeated", async () => {
  const writer = new Writer();
  const outcome = writer.submit(80);
  const answering = setInterval(() => {
    for (; answered < writer.sent.length; answered++) {
      writer.refuse("c1", "storage_failed", true);
    }
  }, 1);
  let answered = 0;
  const found = await outcome;
  clearInterval(answering);
  assert.deepEqual([found["code"], found["retryable"]], ["storage_failed", true]);
  assert.ok(writer.times("c1") > 2);
  writer.committer.close();
});

test("a commit whose answer was lost is asked for again although later ones are answered", async () => {
  const writer = new Writer();
  const lost = writer.submit(5_000);
  for (let number = 2; number < 20; number++) {
    void writer.submit(5_000);
    await pause(20);
    writer.answer(`c${number}`, RECEIPT);
  }
  assert.ok(writer.times("c1") >= 2);
  assert.equal(writer.times("c2"), 1);
  writer.answer("c1", RECEIPT);
  await lost;
  writer.committer.close();
});

test("a writer that gives no sign of life is not sent the same megabytes again and again", async () => {
  const writer = new Writer();
  const commits = Array.from({ length: 8 }, () => writer.submit(1_500, null, 4_000_000));
  const first = writer.bytes;
  await pause(1_200);
  assert.ok(writer.bytes - first < 24_000_000, `${writer.bytes - first} bytes sent again`);
  const before = writer.sent.length;
  writer.committer.alive();
  const outcomes = await Promise.all(commits);
  assert.ok(writer.sent.length > before);
  assert.ok(outcomes.every(({ code }) => code === "timeout"));
  writer.committer.close();
});
