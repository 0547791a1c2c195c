// One timer for many deadlines. It is never set later nor cleared when something is done early, which would cost more than
// the request itself: it rings in vain now and then, and whoever hears it looks what is due.

/** The longest that setTimeout takes; past it, it rings at once. */
export const TIMER_MS_MAX = 2 ** 31 - 1;

export class Alarm {
  readonly #ring: () => void;
  #at = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** Ring at this time at the latest, in ms of `performance.now()`. */
  by(at: number): void {
    if (at >= this.#at) {
      return;
    }
    this.off();
    this.#at = at;
    const wait = Math.min(Math.max(0, at - performance.now()) + 1, TIMER_MS_MAX);
    this.#timer = setTimeout(() => {
      this.#at = Infinity;
      this.#ring();
    }, wait);
  }

  off(): void {
    clearTimeout(this.#timer);
    this.#at = Infinity;
  }
}
