// What crosses a MessagePort between a window and the main process. Items that belong together travel in one message: a hop
// costs more than what it carries.

import type { Channel, CommitRequest } from "./channel.js";
import type { ErrorParts } from "./errors.js";

/** A MessagePort of the web, of Electron's main process, or of Node's worker threads. */
export interface PortLike {
  postMessage(message: unknown): void;
  start?(): void;
  close?(): void;
  addEventListener?(type: string, listener: (event: { data?: unknown }) => void): void;
  on?(type: string, listener: (event: { data?: unknown }) => void): unknown;
}

/** Grows when the items change; both ends come from one installation, so a difference is a mistake in bundling. */
export const PORT_VERSION = 2;

export interface Hello {
  readonly keepdb: number;
  readonly prefix: string;
  readonly services: readonly string[];
}

/** From a window. */
export type ToMain =
  | readonly ["request", service: string, id: Uint8Array, body: Uint8Array]
  | readonly ["tell", service: string, body: Uint8Array]
  | readonly ["commit", request: CommitRequest]
  | readonly ["cancel", id: Uint8Array]
  | readonly ["hold", service: string, sub: string, epoch: string]
  | readonly ["release", service: string, sub: string]
  | readonly ["bye"];

/** To a window. */
export type ToWindow =
  | readonly ["frame", service: string, first: Uint8Array, body: Uint8Array]
  | readonly ["service", service: string, epoch: string | null, lost: boolean]
  | readonly ["services", names: readonly string[]]
  | readonly ["end", error: ErrorParts];

/** What a window is told when the main process lets go of its port. */
export const DISCONNECTED: ErrorParts = {
  code: "disconnected",
  message: "The main process closed the connection of this window.",
  fix: "Connect again, with a new port.",
  retryable: true,
};

/** Hear what a port brings, in whichever way it tells. */
export function listen(port: PortLike, onMessage: (data: unknown) => void, onClose: () => void): void {
  const add = port.addEventListener?.bind(port) ?? port.on?.bind(port);
  if (add === undefined) {
    throw new TypeError("This is no MessagePort: it has neither addEventListener nor on.");
  }
  add("message", (event) => onMessage(event.data));
  add("close", onClose);
  port.start?.();
}

/** A window's end of the port. */
export class PortChannel implements Channel {
  readonly services: readonly string[];
  readonly prefix: string;
  onServices: Channel["onServices"] = () => undefined;
  onFrame: Channel["onFrame"] = () => undefined;
  onService: Channel["onService"] = () => undefined;
  onEnd: Channel["onEnd"] = () => undefined;
  readonly #port: PortLike;
  #outgoing: ToMain[] = [];
  #isClosed = false;

  constructor(port: PortLike, hello: Hello) {
    this.#port = port;
    this.prefix = hello.prefix;
    this.services = hello.services;
  }

  request(service: string, id: Uint8Array, body: Uint8Array): void {
    this.#send(["request", service, id, body]);
  }

  tell(service: string, body: Uint8Array): void {
    this.#send(["tell", service, body]);
  }

  commit(request: CommitRequest): void {
    this.#send(["commit", request]);
  }

  cancel(id: Uint8Array): void {
    this.#send(["cancel", id]);
  }

  hold(service: string, sub: string, epoch: string): void {
    this.#send(["hold", service, sub, epoch]);
  }

  release(service: string, sub: string): void {
    this.#send(["release", service, sub]);
  }

  close(): void {
    if (!this.#isClosed) {
      this.#send(["bye"]);
      this.#flush();
      this.#isClosed = true;
      this.#port.close?.();
    }
  }

  /** Take in one message of the port. */
  take(items: readonly ToWindow[]): void {
    for (const item of items) {
      if (item[0] === "frame") {
        this.onFrame(item[1], item[2], item[3]);
      } else if (item[0] === "service") {
        this.onService(item[1], item[2], item[3]);
      } else if (item[0] === "services") {
        this.onServices(item[1]);
      } else {
        this.onEnd(item[1]);
      }
    }
  }

  #send(item: ToMain): void {
    if (this.#isClosed) {
      return;
    }
    if (this.#outgoing.push(item) === 1) {
      queueMicrotask(() => this.#flush());
    }
  }

  #flush(): void {
    const items = this.#outgoing;
    this.#outgoing = [];
    if (items.length > 0 && !this.#isClosed) {
      this.#port.postMessage(items);
    }
  }
}
