// The main process's end of a port without the client: a window can be greeted, answered and left as the test wishes.

import { once } from "node:events";
import { MessageChannel, type MessagePort } from "node:worker_threads";

import { type ConnectOptions, type Database, connect } from "@keepdb/client";
import { encode } from "@msgpack/msgpack";

type Item = readonly unknown[];

export class RawMain {
  /** What the window has said. */
  readonly items: Item[] = [];
  readonly window: MessagePort;
  readonly #port: MessagePort;
  #wake: () => void = () => undefined;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.window = port2;
    port1.on("message", (items: Item[]) => {
      this.items.push(...items);
      this.#wake();
    });
  }

  /** A window that was greeted. */
  static async connected(options?: ConnectOptions): Promise<{ main: RawMain; db: Database<any> }> {
    const main = new RawMain();
    main.greet();
    return { main, db: await connect<any>(main.window as never, options) };
  }

  greet(): void {
    this.#port.postMessage({ keepdb: 2, prefix: "1.secret.", services: ["writer", "query-1"] });
  }

  post(...items: Item[]): void {
    this.#port.postMessage(items);
  }

  /** Answer the nth request or commit of the window, counting from 1. */
  answer(number: number, message: object): void {
    this.post(["frame", "query-1", Buffer.from(`1.secret.${number}`), encode(message)]);
  }

  async heard(holds: (items: readonly Item[]) => boolean): Promise<void> {
    while (!holds(this.items)) {
      await new Promise<void>((wake) => (this.#wake = wake));
    }
  }

  close(): void {
    this.#port.close();
  }

  /** Resolves when the window has let go of its end. */
  async closed(): Promise<void> {
    await once(this.#port, "close");
  }
}
