// Requests on their way: ids, deadlines, abort signals, and sending again.
//
// Everything that is sent from here is safe to send twice, so whatever stays unanswered is sent again with growing pauses
// until its deadline: a restarted service loses nothing. Commits are entrusted to the main process, which does that for all
// windows and answers in the end, whatever happened. One timer serves all requests, because thousands may be waiting.

import type { Answer } from "../generated/wire.js";
import { Alarm, TIMER_MS_MAX } from "./alarm.js";
import type { Channel } from "./channel.js";
import { decode, encode } from "./codec.js";
import { KeepDBError, protocolError, usage } from "./errors.js";
import { bytesOf, numberOf } from "./names.js";
import { RESEND_MS, ResendClock } from "./resending.js";

/** How long a call waits if it does not say otherwise: longer than any service needs to be restarted. */
const TIMEOUT_MS = 10_000;
/** Requests of one database object under way at once; past that they are refused with `busy`. */
const IN_FLIGHT_MAX = 16_384;
/** Refusals that only mean "not at this moment": the request is repeated as it is. */
const PASSING: ReadonlySet<string> = new Set(["outcome_unknown", "peer_silent", "peer_unknown"]);

export interface CallOptions {
  /** Stop waiting. A commit that was sent may have been carried out all the same. */
  readonly signal?: AbortSignal | undefined;
  /** Stop waiting after this long; default 10 000. */
  readonly timeoutMs?: number | undefined;
}

/** Where a request goes; a function chooses anew for every sending. */
export type Target = string | (() => string);

type AnswerOf<T extends Answer["type"]> = Extract<Answer, { type: T }>;

/** What is sent again until its deadline. */
interface Sending {
  readonly target: Target;
  /** Where it was sent last. */
  service: string;
  readonly body: Uint8Array;
  readonly clock: ResendClock;
  readonly deadline: number;
}

interface Pending {
  readonly name: Uint8Array;
  /** null: entrusted to somebody else. */
  readonly sending: Sending | null;
  /** Types of answers that it can have. */
  readonly answers: readonly string[];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
}

export class Requests {
  readonly #channel: Channel;
  readonly #pending = new Map<number, Pending>();
  /** When each service answered last. */
  readonly #answered = new Map<string, number>();
  readonly #alarm = new Alarm(() => this.#sweep());
  #last = 0;
  #ended: KeepDBError | null = null;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Send a message and wait for an answer of these types. Rejects with KeepDBError, or with the signal's reason. */
  ask<T extends Answer["type"]>(
    target: Target,
    message: object,
    answers: readonly T[],
    options: CallOptions = {},
  ): Promise<AnswerOf<T>> {
    return new Promise((resolve, reject) => {
      this.start(target, message, answers, options, resolve, reject);
    });
  }

  /** As `ask`, with callbacks that run before the frame behind the answer is looked at. Returns how to give up. */
  start<T extends Answer["type"]>(
    target: Target,
    message: object,
    answers: readonly T[],
    options: CallOptions,
    resolve: (answer: AnswerOf<T>) => void,
    reject: (reason: unknown) => void,
  ): () => void {
    let number: number | null = null;
    try {
      const timeoutMs = checkedTimeout(options);
      const body = encode({ ...message, budgetMs: Math.min(600_000, Math.ceil(timeoutMs)) });
      const now = performance.now();
      const service = chosen(target);
      const sending = { target, service, body, clock: new ResendClock(), deadline: now + timeoutMs };
      sending.clock.sent(now);
      const pending = this.#enter(sending, answers, options.signal, resolve as Pending["resolve"], reject);
      number = this.#last;
      this.#alarm.by(Math.min(sending.deadline, sending.clock.due));
      this.#channel.request(service, pending.name, body);
    } catch (error) {
      reject(error);
    }
    return () => number !== null && this.#give(number);
  }

  /** Hand a request to somebody else, who answers in time whatever happens; `send` is given its id. */
  entrust<T extends Answer["type"]>(
    answer: T,
    options: CallOptions,
    send: (id: Uint8Array, timeoutMs: number) => void,
  ): Promise<AnswerOf<T>> {
    return new Promise((resolve, reject) => {
      const timeoutMs = checkedTimeout(options);
      const pending = this.#enter(null, [answer], options.signal, resolve as Pending["resolve"], reject);
      send(pending.name, timeoutMs);
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
    const { sending } = pending;
    if (message.type === "refused" && sending !== null && PASSING.has(message.code)) {
      sending.clock.refusedForNow();
      this.#alarm.by(sending.clock.due);
      return;
    }
    this.#leave(number, pending);
    if (pending.answers.includes(message.type)) {
      pending.resolve(message);
    } else {
      pending.reject(message.type === "refused" ? new KeepDBError(message) : protocolError(service, message.type));
    }
  }

  /** Refuse whatever comes and what waits; entrusted: the error for what may have been carried out. */
  end(error: KeepDBError, entrusted: KeepDBError): void {
    this.#ended ??= error;
    this.#alarm.off();
    for (const [number, pending] of [...this.#pending]) {
      this.#leave(number, pending);
      pending.reject(pending.sending === null ? entrusted : error);
    }
  }

  /** Throws KeepDBError, or the signal's reason, if it may not. */
  #enter(
    sending: Sending | null,
    answers: readonly string[],
    signal: AbortSignal | undefined,
    resolve: Pending["resolve"],
    reject: Pending["reject"],
  ): Pending {
    if (this.#ended !== null) {
      throw this.#ended;
    }
    if (this.#pending.size >= IN_FLIGHT_MAX) {
      throw tooMany();
    }
    signal?.throwIfAborted();
    const number = ++this.#last;
    const onAbort = signal && (() => this.#give(number, signal.reason));
    signal?.addEventListener("abort", onAbort as () => void, { once: true });
    const name = bytesOf(this.#channel.prefix + number);
    const pending = { name, sending, answers, resolve, reject, signal, onAbort };
    this.#pending.set(number, pending);
    return pending;
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

  #leave(number: number, { signal, onAbort }: Pending): void {
    this.#pending.delete(number);
    if (onAbort !== undefined) {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Send again what is due, give up what is late. */
  #sweep(): void {
    const now = performance.now();
    let next = Infinity;
    for (const [number, { name, sending }] of this.#pending) {
      if (sending === null) {
        continue;
      }
      const { target, body, clock, deadline } = sending;
      if (now >= deadline) {
        this.#give(number, timedOut(sending.service));
        continue;
      }
      if (now < clock.due) {
        // Not yet.
      } else if (clock.waitsItsTurn(now, this.#answered.get(sending.service) ?? -Infinity)) {
        // Sending it again would only make the queue longer.
        clock.due = now + RESEND_MS;
      } else {
        sending.service = chosen(target);
        this.#channel.request(sending.service, name, body);
        clock.sent(now);
      }
      next = Math.min(next, deadline, clock.due);
    }
    this.#alarm.by(next);
  }
}

function chosen(target: Target): string {
  return typeof target === "string" ? target : target();
}

/** In ms, no more than a timer takes. Throws KeepDBError `usage`. */
function checkedTimeout({ timeoutMs = TIMEOUT_MS }: CallOptions): number {
  if (typeof timeoutMs !== "number" || !(timeoutMs > 0)) {
    throw usage(`timeoutMs is ${String(timeoutMs)}.`, "Give a positive number of ms, or leave it out.");
  }
  return Math.min(timeoutMs, TIMER_MS_MAX);
}

function timedOut(service: string): KeepDBError {
  return new KeepDBError({
    code: "timeout",
    message: `The ${service} service did not answer in time.`,
    fix: "Try again with a longer timeoutMs.",
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
