// Commits of all windows: numbered 1, 2, 3 … under one client id, sent in that order over one connection, and sent again
// until they are answered for good, also across a restart of the writer or of the whole database. The writer carries out each
// number once, so nothing is doubled and nothing is lost silently. Every commit is answered here, in time: where the last
// word was not heard, with `timeout`.

import { randomBytes } from "node:crypto";

import { Alarm } from "../core/alarm.js";
import type { CommitRequest } from "../core/channel.js";
import { decode, encode } from "../core/codec.js";
import { bytesOf, textOf } from "../core/names.js";
import { RESEND_MS, ResendClock } from "../core/resending.js";

/** First frames of commits: this letter and the commit's number. No window's name begins with a letter. */
export const COMMIT_NAME = "c";
const EVENTS_NAME = encode("events");
/** Bytes that are sent again without a sign of life: they pile up in the queue of a writer that does not read. */
const RESENT_BYTES_MAX = 16 * 1024 * 1024;
/** What a commit takes beside its events, about. */
export const HEAD_BYTES = 200;

interface Waiting {
  readonly name: Uint8Array;
  readonly request: CommitRequest;
  readonly deadline: number;
  readonly answer: (body: Uint8Array) => void;
  sentAt: number;
  /** Copies on their way: sent, and not refused for now. Any of them may still be carried out. */
  copies: number;
  /** The last refusal for now. */
  refusal: Uint8Array | null;
}

export class Committer {
  readonly #client = randomBytes(16);
  readonly #send: (name: Uint8Array, body: Uint8Array) => void;
  /** By number, ascending: the first key is the lowest number that still waits. */
  readonly #waiting = new Map<number, Waiting>();
  readonly #clock = new ResendClock();
  readonly #alarm = new Alarm(() => this.#sweep());
  #last = 0;
  #resentBytes = 0;

  constructor(send: (name: Uint8Array, body: Uint8Array) => void) {
    this.#send = send;
  }

  /** Send a commit. answer: gets the raw answer. Returns its number. */
  submit(request: CommitRequest, answer: (body: Uint8Array) => void): number {
    const number = ++this.#last;
    const now = performance.now();
    const name = bytesOf(COMMIT_NAME + number);
    const deadline = now + request.timeoutMs;
    const waiting = { name, request, deadline, answer, sentAt: now, copies: 0, refusal: null };
    if (this.#waiting.size === 0) {
      this.#clock.progressed(now);
      this.#clock.sent(now);
    }
    this.#waiting.set(number, waiting);
    this.#transmit(number, waiting, now);
    this.#alarm.by(Math.min(this.#clock.due, deadline));
    return number;
  }

  /** Nobody waits for it any more: it is not sent again. */
  giveUp(number: number): void {
    this.#waiting.delete(number);
  }

  /** Take in an answer. */
  take(name: Uint8Array, body: Uint8Array): void {
    this.alive();
    const number = Number(textOf(name.subarray(COMMIT_NAME.length)));
    const waiting = this.#waiting.get(number);
    if (waiting === undefined) {
      return;
    }
    const message = decode(body);
    if (message.type === "refused" && message.retryable === true) {
      // Of all refusals for now, only this one leaves open whether it was carried out.
      waiting.copies += message.code === "outcome_unknown" ? Infinity : -1;
      waiting.refusal = body;
      waiting.sentAt = -Infinity;
      this.#clock.refusedForNow();
      this.#alarm.by(this.#clock.due);
      return;
    }
    if (number === this.#waiting.keys().next().value) {
      // Later ones say nothing about this one: its answer may be lost.
      this.#clock.progressed(performance.now());
    }
    this.#waiting.delete(number);
    waiting.answer(body);
  }

  /** The writer reads what it is sent, or a new one does. */
  alive(): void {
    this.#resentBytes = 0;
  }

  close(): void {
    this.#alarm.off();
    this.#waiting.clear();
  }

  #transmit(number: number, waiting: Waiting, now: number): void {
    const { name, request, deadline } = waiting;
    const [firstUnanswered = number] = this.#waiting.keys();
    const head = encode({
      type: "commit",
      client: this.#client,
      number,
      firstUnanswered,
      durability: request.durability,
      idempotencyKey: request.idempotencyKey,
      budgetMs: Math.max(1, Math.min(600_000, Math.floor(deadline - now))),
    });
    // The window has encoded its events already: they become one more member of the map, whose size is in its first byte.
    const body = new Uint8Array(head.length + EVENTS_NAME.length + request.events.length);
    body.set(head);
    body[0] = (head[0] as number) + 1;
    body.set(EVENTS_NAME, head.length);
    body.set(request.events, head.length + EVENTS_NAME.length);
    waiting.sentAt = now;
    waiting.copies++;
    this.#send(name, body);
  }

  #sweep(): void {
    const now = performance.now();
    const isDue = now >= this.#clock.due;
    let next = Infinity;
    for (const [number, waiting] of this.#waiting) {
      if (now >= waiting.deadline) {
        this.#waiting.delete(number);
        waiting.answer(outcomeOf(waiting));
        continue;
      }
      next = Math.min(next, waiting.deadline);
      if (isDue && now - waiting.sentAt >= RESEND_MS && this.#resentBytes < RESENT_BYTES_MAX) {
        this.#resentBytes += waiting.request.events.length + HEAD_BYTES;
        this.#transmit(number, waiting, now);
      }
    }
    if (this.#waiting.size > 0) {
      if (isDue) {
        this.#clock.sent(now);
      }
      this.#alarm.by(Math.min(next, this.#clock.due));
    }
  }
}

/** What a commit is answered whose time is over. */
function outcomeOf({ request, copies, refusal }: Waiting): Uint8Array {
  if (copies === 0 && refusal !== null) {
    // Each copy was refused and left nothing behind: it was not carried out, and will not be.
    return refusal;
  }
  const isNamed = request.idempotencyKey !== null;
  return encode({
    type: "refused",
    code: "timeout",
    message: `The writer gave no last word within ${request.timeoutMs} ms. The commit may have been carried out.`,
    fix: isNamed
      ? "Repeat it with the same idempotencyKey: it is carried out once."
      : "Look whether it was before you repeat it, or give commits an idempotencyKey, which makes repeating safe.",
    retryable: isNamed,
  });
}
