// Commits of all windows: numbered 1, 2, 3 … under one client id, sent in that order over one connection, and sent again
// until they are answered, also across a restart of the writer or of the whole database. The writer carries out each number
// once, so nothing is doubled and nothing is lost silently.

import { randomBytes } from "node:crypto";

import type { CommitRequest } from "../core/channel.js";
import { decode, encode } from "../core/codec.js";
import { bytesOf, textOf } from "../core/names.js";
import { PASSING, ResendClock } from "../core/resending.js";

/** First frames of commits: this letter and the commit's number. No window's name begins with a letter. */
export const COMMIT_NAME = "c";
const EVENTS_NAME = encode("events");

interface Waiting {
  readonly name: Uint8Array;
  readonly request: CommitRequest;
  readonly deadline: number;
  readonly answer: (body: Uint8Array) => void;
}

export class Committer {
  readonly #client = randomBytes(16);
  readonly #send: (name: Uint8Array, body: Uint8Array) => void;
  /** By number, ascending: the first key is the lowest number that still waits. */
  readonly #waiting = new Map<number, Waiting>();
  readonly #clock = new ResendClock();
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(send: (name: Uint8Array, body: Uint8Array) => void) {
    this.#send = send;
  }

  /** Send a commit. answer: gets the raw answer. Returns its number. */
  submit(request: CommitRequest, answer: (body: Uint8Array) => void): number {
    const number = ++this.#last;
    const now = performance.now();
    const waiting = { name: bytesOf(COMMIT_NAME + number), request, deadline: now + request.timeoutMs, answer };
    if (this.#waiting.size === 0) {
      this.#clock.progressed(now);
      this.#clock.sent(now);
    }
    this.#waiting.set(number, waiting);
    this.#transmit(number, waiting);
    this.#arm(now);
    return number;
  }

  /** Nobody waits for it any more: it is not sent again. */
  giveUp(number: number): void {
    this.#waiting.delete(number);
  }

  /** Take in an answer. */
  take(name: Uint8Array, body: Uint8Array): void {
    const number = Number(textOf(name.subarray(COMMIT_NAME.length)));
    const waiting = this.#waiting.get(number);
    if (waiting === undefined) {
      return;
    }
    const now = performance.now();
    const message = decode(body);
    if (message.type === "refused" && PASSING.has(message.code)) {
      this.#clock.refusedForNow();
      this.#arm(now);
      return;
    }
    this.#waiting.delete(number);
    this.#clock.progressed(now);
    waiting.answer(body);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }

  #transmit(number: number, { name, request, deadline }: Waiting): void {
    const [firstUnanswered = number] = this.#waiting.keys();
    const head = encode({
      type: "commit",
      client: this.#client,
      number,
      firstUnanswered,
      durability: request.durability,
      idempotencyKey: request.idempotencyKey,
      budgetMs: Math.max(1, Math.min(600_000, Math.floor(deadline - performance.now()))),
    });
    // The window has encoded its events already: they become one more member of the map, whose size is in its first byte.
    const body = new Uint8Array(head.length + EVENTS_NAME.length + request.events.length);
    body.set(head);
    body[0] = (head[0] as number) + 1;
    body.set(EVENTS_NAME, head.length);
    body.set(request.events, head.length + EVENTS_NAME.length);
    this.#send(name, body);
  }

  /** See that the clock is looked at when it is due, at the latest. */
  #arm(now: number): void {
    clearTimeout(this.#timer);
    if (this.#waiting.size > 0) {
      this.#timer = setTimeout(() => this.#sweep(), Math.max(1, this.#clock.due - now));
    }
  }

  #sweep(): void {
    const now = performance.now();
    for (const [number, { deadline }] of this.#waiting) {
      if (now >= deadline) {
        this.#waiting.delete(number);
      }
    }
    if (now >= this.#clock.due) {
      for (const [number, waiting] of this.#waiting) {
        this.#transmit(number, waiting);
      }
      this.#clock.sent(now);
    }
    this.#arm(now);
  }
}
