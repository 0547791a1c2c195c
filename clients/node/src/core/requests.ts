// Requests on their way: ids, deadlines, abort signals, and sending again.
//
// Everything that goes through here is safe to send twice, so whatever stays unanswered is sent again with growing pauses
// until its deadline: a restarted service loses nothing. One timer serves all requests, because thousands may be waiting.

import type { Answer } from "../generated/wire.js";
import type { Channel } from "./channel.js";
import { decode, encode } from "./codec.js";
import { KeepDBError, protocolError } from "./errors.js";
import { bytesOf, numberOf } from "./names.js";
import { PASSING, RESEND_MS, ResendClock } from "./resending.js";

/** How long a call waits if it does not say otherwise: longer than any service needs to be restarted. */
export const TIMEOUT_MS = 10_000;
/** Requests of one database object under way at once; past that they are refused with `busy`. */
export const IN_FLIGHT_MAX = 16_384;

export interface CallOptions {
  /** Stop waiting. A commit that was sent may have been carried out all the same. */
  readonly signal?: AbortSignal | undefined;
  /** Stop waiting after this long; default 10 000. */
  readonly timeoutMs?: number | undefined;
}

/** Where a request goes; a function chooses anew for every sending. */
export type Target = string | (() => string);

type Settle<T> = (value: T) => void;

interface Pending {
  readonly name: Uint8Array;
  readonly target: Target;
  /** Where it was sent last. */
  service: string;
  /** null: somebody else sends it again. */
  readonly body: Uint8Array | null;
  readonly clock: ResendClock;
  readonly deadline: number;
  readonly resolve: Settle<Answer>;
  readonly reject: Settle<unknown>;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
}

export class Requests {
  readonly #channel: Channel;
  readonly #pending = new Map<number, Pending>();
  /** When each service answered last. */
  readonly #answered = new Map<string, number>();
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wakesAt = Infinity;
  #ended: KeepDBError | null = null;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Send a message and wait for an answer of this type. Rejects with KeepDBError, or with the signal's reason. */
  ask<T extends Answer["type"]>(
    target: Target,
    message: object,
    answer: T,
    options: CallOptions = {},
  ): Promise<Extract<Answer, { type: T }>> {
    return new Promise((resolve, reject) => {
      this.start(target, message, options, expecting(target, answer, resolve, reject), reject);
    });
  }

  /** As `ask`, with callbacks that run before the frame behind the answer is looked at. Returns how to give up. */
  start(
    target: Target,
    message: object,
    options: CallOptions,
    resolve: Settle<Answer>,
    reject: Settle<unknown>,
  ): () => void {
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    let body: Uint8Array;
    try {
      body = encode({ ...message, budgetMs: budgetOf(timeoutMs) });
    } catch (error) {
      reject(error);
      return () => undefined;
    }
    const number = this.#enter(target, body, timeoutMs, options.signal, resolve, reject);
    const pending = this.#pending.get(number);
    if (pending !== undefined) {
      this.#channel.request(pending.service, pending.name, body);
    }
    return () => this.#give(number);
  }

  /** Hand a request to somebody else who sends it, again too; `send` is given its id. */
  entrust<T extends Answer["type"]>(
    service: string,
    answer: T,
    options: CallOptions,
    send: (id: Uint8Array, timeoutMs: number) => void,
  ): Promise<Extract<Answer, { type: T }>> {
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    return new Promise((resolve, reject) => {
      const settle = expecting(service, answer, resolve, reject);
      const number = this.#enter(service, null, timeoutMs, options.signal, settle, reject);
      const pending = this.#pending.get(number);
      if (pending !== undefined) {
        send(pending.name, timeoutMs);
      }
    });
  }

  /** Take in the answer to a request, which may have been given up meanwhile. */
  take(service: string, first: Uint8Array, body: Uint8Array): void {
    const number = numberOf(first, this.#channel.prefix.length);
    const pending = this.#pending.get(number);
    this.#answered.set(service, performance.now());
    if (pending === undefined) {
      return;
    }
    const message = decode(body) as Answer;
    if (message.type === "refused") {
      if (pending.body !== null && PASSING.has(message.code)) {
        pending.clock.refusedForNow();
        this.#wake(pending.clock.due);
        return;
      }
      this.#leave(number, pending);
      pending.reject(new KeepDBError(message));
      return;
    }
    this.#leave(number, pending);
    pending.resolve(message);
  }

  /** Refuse what waits and whatever comes. */
  end(error: KeepDBError): void {
    this.#ended ??= error;
    for (const [number, pending] of [...this.#pending]) {
      this.#leave(number, pending);
      pending.reject(error);
    }
  }

  #enter(
    target: Target,
    body: Uint8Array | null,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    resolve: Settle<Answer>,
    reject: Settle<unknown>,
  ): number {
    const refusal = this.#ended ?? (this.#pending.size >= IN_FLIGHT_MAX ? tooMany() : null);
    if (refusal !== null || signal?.aborted === true) {
      reject(refusal ?? signal?.reason);
      return -1;
    }
    const number = ++this.#last;
    const now = performance.now();
    const clock = new ResendClock();
    clock.sent(now);
    const onAbort = signal && (() => this.#give(number, signal.reason));
    signal?.addEventListener("abort", onAbort as () => void, { once: true });
    const name = bytesOf(this.#channel.prefix + number);
    const deadline = now + timeoutMs;
    const service = chosen(target);
    this.#pending.set(number, { name, target, service, body, clock, deadline, resolve, reject, signal, onAbort });
    this.#wake(Math.min(deadline, body === null ? deadline : clock.due));
    return number;
  }

  /** Stop waiting for a request; with a reason, whoever waits is told. */
  #give(number: number, reason?: unknown): void {
    const pending = this.#pending.get(number);
    if (pending === undefined) {
      return;
    }
    this.#leave(number, pending);
    this.#channel.cancel(pending.name);
    if (reason !== undefined) {
      pending.reject(reason);
    }
  }

  #leave(number: number, pending: Pending): void {
    this.#pending.delete(number);
    if (pending.onAbort !== undefined) {
      pending.signal?.removeEventListener("abort", pending.onAbort);
    }
    if (this.#pending.size === 0) {
      // An idle client keeps no timer, so that it does not keep the process alive either.
      clearTimeout(this.#timer);
      this.#wakesAt = Infinity;
    }
  }

  #wake(at: number): void {
    if (at >= this.#wakesAt) {
      return;
    }
    clearTimeout(this.#timer);
    this.#wakesAt = at;
    this.#timer = setTimeout(() => this.#sweep(), Math.max(0, at - performance.now()) + 1);
  }

  /** Send again what is due, give up what is late. */
  #sweep(): void {
    this.#wakesAt = Infinity;
    const now = performance.now();
    let next = Infinity;
    for (const [number, pending] of this.#pending) {
      if (now >= pending.deadline) {
        this.#give(number, timedOut(pending.target));
        continue;
      }
      next = Math.min(next, pending.deadline);
      if (pending.body === null) {
        continue;
      }
      if (now < pending.clock.due) {
        // Not yet.
      } else if (pending.clock.waitsItsTurn(now, this.#answered.get(pending.service) ?? -Infinity)) {
        // Sending it again would only make the queue longer.
        pending.clock.due = now + RESEND_MS;
      } else {
        pending.service = chosen(pending.target);
        this.#channel.request(pending.service, pending.name, pending.body);
        pending.clock.sent(now);
      }
      next = Math.min(next, pending.clock.due);
    }
    if (next < Infinity) {
      this.#wake(next);
    }
  }
}

function expecting<T extends Answer["type"]>(
  target: Target,
  answer: T,
  resolve: Settle<Extract<Answer, { type: T }>>,
  reject: Settle<unknown>,
): Settle<Answer> {
  return (found) => {
    if (found.type === answer) {
      resolve(found as Extract<Answer, { type: T }>);
    } else {
      reject(protocolError(typeof target === "string" ? target : "query", found.type));
    }
  };
}

function chosen(target: Target): string {
  return typeof target === "string" ? target : target();
}

function budgetOf(timeoutMs: number): number {
  return Math.max(1, Math.min(600_000, Math.floor(timeoutMs)));
}

function timedOut(target: Target): KeepDBError {
  return new KeepDBError({
    code: "timeout",
    message: `The ${typeof target === "string" ? target : "query"} service did not answer in time.`,
    fix: "Try again with a longer timeoutMs. A commit may have been carried out: give it an idempotencyKey and repeat it.",
    retryable: true,
  });
}

function tooMany(): KeepDBError {
  return new KeepDBError({
    code: "busy",
    message: `${IN_FLIGHT_MAX} requests are under way already.`,
    fix: "Wait for some of them before sending more.",
    retryable: true,
  });
}
