// A window's end of a port without the client: what the main process does can be seen item by item.

import { decode, encode } from "@msgpack/msgpack";
import type { MainDatabase, PortLike } from "@keepdb/client/main";
import { linkedPorts } from "@keepdb/client/testing";

type Item = readonly unknown[];

export class RawWindow {
  readonly items: Item[] = [];
  readonly detach: () => void;
  prefix = "";
  readonly #port: PortLike;
  readonly #waiting: (() => void)[] = [];

  private constructor(database: MainDatabase<any>) {
    const [main, window] = linkedPorts();
    this.#port = window;
    window.addEventListener?.("message", ({ data }) => {
      if (Array.isArray(data)) {
        this.items.push(...(data as Item[]));
      } else {
        this.prefix = (data as { prefix: string }).prefix;
      }
      this.#waiting.splice(0).forEach((wake) => wake());
    });
    window.start?.();
    this.detach = database.attach(main);
  }

  static async open(database: MainDatabase<any>): Promise<RawWindow> {
    const window = new RawWindow(database);
    await window.until(() => window.prefix !== "");
    return window;
  }

  /** Send items as they are. */
  post(...items: Item[]): void {
    this.#port.postMessage(items);
  }

  /** A request under a name of one's choice. */
  request(service: string, name: string, message: unknown): void {
    this.post(["request", service, Buffer.from(name), encode(message)]);
  }

  /** The frame under this name, decoded. */
  async answer(name: string): Promise<Record<string, unknown>> {
    let found: Item | undefined;
    await this.until(() => {
      found = this.items.find(([kind, , first]) => kind === "frame" && text(first) === name);
      return found !== undefined;
    });
    return decode((found as Item)[3] as Uint8Array) as Record<string, unknown>;
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      await new Promise<void>((wake) => this.#waiting.push(wake));
    }
  }

  close(): void {
    this.#port.close?.();
  }
}

function text(bytes: unknown): string {
  return Buffer.from(bytes as Uint8Array).toString();
}
