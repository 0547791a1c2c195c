// A port that notes what a window says through it.

import type { PortLike } from "@keepdb/client";

type Items = readonly (readonly [kind: string, ...rest: unknown[]])[];

/** Passes everything on, and counts the subscriptions that were held and released. */
export class WatchedPort implements PortLike {
  readonly #port: PortLike;
  readonly #kinds: string[] = [];

  constructor(port: PortLike) {
    this.#port = port;
  }

  counts(): { held: number; released: number } {
    const times = (kind: string): number => this.#kinds.filter((one) => one === kind).length;
    return { held: times("hold"), released: times("release") };
  }

  postMessage(message: unknown): void {
    for (const [kind] of message as Items) {
      this.#kinds.push(kind);
    }
    this.#port.postMessage(message);
  }

  addEventListener(type: string, listener: (event: { data?: unknown }) => void): void {
    this.#port.addEventListener?.(type, listener);
  }

  start(): void {
    this.#port.start?.();
  }

  close(): void {
    this.#port.close?.();
  }
}
