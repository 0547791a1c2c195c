// When an unanswered request is sent again: the same pauses as in the Python client.
//
// Most requests stand alone and each has a clock of its own. Commits are carried out in order, so a later one that is sent
// again before an earlier one can only be refused: they share one clock and are sent again together, in order.

/** First pause before an unanswered request is sent again; each further pause is half as long again. */
export const RESEND_MS = 100;
const RESEND_FACTOR = 1.5;
const RESEND_MS_MAX = 1_000;
/** First pause after a passing refusal; it grows likewise, because a restart takes 100 ms or a minute. */
const PASSING_MS = 10;

/** due: when whatever follows this clock is sent again, in ms of `performance.now()`. */
export class ResendClock {
  due = 0;
  #sentAt = 0;
  #pause = RESEND_MS;
  #passing = PASSING_MS;
  #isRefused = false;

  /** It was sent (again): the next pauses are longer. */
  sent(now: number): void {
    this.#sentAt = now;
    this.#isRefused = false;
    this.due = now + this.#pause;
    this.#pause = Math.min(this.#pause * RESEND_FACTOR, RESEND_MS_MAX);
    this.#passing = Math.min(this.#passing * RESEND_FACTOR, RESEND_MS_MAX);
  }

  /** Whether it is still in its service's queue, probably: that has just answered another request. */
  waitsItsTurn(now: number, answeredAt: number): boolean {
    return !this.#isRefused && now - answeredAt < RESEND_MS && now - this.#sentAt < RESEND_MS_MAX;
  }

  /** The server said to come again; however often it says so about one sending, that is one pause. */
  refusedForNow(): void {
    this.#isRefused = true;
    this.due = Math.min(this.due, this.#sentAt + this.#passing);
  }

  /** Something was answered, so the server is there: begin with short pauses. */
  progressed(now: number): void {
    this.#pause = RESEND_MS;
    this.#passing = PASSING_MS;
    this.due = now + this.#pause;
  }
}
