// The two files that touch Electron, driven by what they use of it: events of a window's contents, ipcRenderer, and a page's
// messages. The ports, the database and everything behind them are real.

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { runInNewContext } from "node:vm";
import { MessageChannel, type MessagePort } from "node:worker_threads";

import { type ConnectOptions, type Database, attachWindow } from "@keepdb/client/main";
import type { TestDatabase } from "@keepdb/client/testing";

import { start } from "./place.js";

let place: TestDatabase<any>;
before(async () => {
  place = await start();
});
after(() => place.close());

/** A window: its contents in the main process, its preload script and its page. */
class Window extends EventEmitter {
  readonly ports: MessagePort[] = [];
  loading = true;
  url = "app://hub/index.html";
  #ipc = new EventEmitter();
  #page = new Page();

  isLoading(): boolean {
    return this.loading;
  }

  getURL(): string {
    return this.url;
  }

  postMessage(channel: string, message: unknown, transfer: MessagePort[] = []): void {
    this.ports.push(...transfer);
    setImmediate(() => this.#ipc.emit(channel, { ports: transfer }, message));
  }

  /** Load the page: the preload script runs first. Returns the page's own `connect`. */
  async load(): Promise<Connect> {
    this.#ipc = new EventEmitter();
    this.#page = new Page();
    const file = createRequire(import.meta.url).resolve("@keepdb/client/preload");
    const electron = { ipcRenderer: this.#ipc };
    runInNewContext(readFileSync(file, "utf8"), {
      exports: {},
      window: this.#page,
      require: (name: string) =>
        name === "electron" ? electron : assert.fail(`a sandboxed preload cannot load ${name}`),
    });
    const page = this.#page;
    // Each page has a copy of its own of the module.
    const { connect } = (await import(
      `../dist/esm/core/connect.js?page=${++pages}`
    )) as typeof import("@keepdb/client");
    return (options = {}) => {
      // It looks for `window` when it is called.
      const scope = globalThis as { window?: unknown };
      scope.window = page;
      try {
        return connect<any>(null, { timeoutMs: 5_000, ...options });
      } finally {
        delete scope.window;
      }
    };
  }

  finish(): void {
    this.loading = false;
    this.emit("did-finish-load");
  }
}
let pages = 0;
type Connect = (options?: ConnectOptions) => Promise<Database<any>>;

class Page extends EventTarget {
  postMessage(data: unknown, _origin: string, ports: unknown[] = []): void {
    setImmediate(() => this.dispatchEvent(Object.assign(new Event("message"), { data, ports, source: this })));
  }
}

test("a window connects through its preload script, whether its page asks before the port comes or after", async () => {
  for (const order of ["page first", "port first"]) {
    const window = new Window();
    const stop = attachWindow(place.database, window as never, { MessageChannelMain: MessageChannel as never });
    const connect = await window.load();
    let connecting: Promise<Database<any>>;
    if (order === "page first") {
      connecting = connect();
      window.finish();
    } else {
      window.finish();
      await new Promise((resolve) => setTimeout(resolve, 20));
      connecting = connect();
    }
    const db = await connecting;
    const { ids } = await db.commit("personas.created", { name: order });
    assert.equal((await db.get("personas", ids[0] as string))?.["name"], order);
    stop();
    await assert.rejects(db.from("personas").get(), { code: "disconnected" });
  }
});

test("a page that is loaded anew gets a new port, and the old one is closed", async () => {
  const window = new Window();
  const stop = attachWindow(place.database, window as never, { MessageChannelMain: MessageChannel as never });
  const first = await window.load();
  window.finish();
  await first();
  const second = await window.load();
  window.finish();
  const db = await second();
  assert.equal(window.ports.length, 2);
  assert.equal((await db.from("personas").count().get()).rows.length, 1);
  window.emit("destroyed");
  await assert.rejects(db.from("personas").get(), { code: "disconnected" });
  stop();
});

test("a page that is aborted while it connects, and connects again, gets the port", async () => {
  const window = new Window();
  const stop = attachWindow(place.database, window as never, { MessageChannelMain: MessageChannel as never });
  const connect = await window.load();
  const controller = new AbortController();
  const reason = new Error("mounted twice");
  const first = assert.rejects(connect({ signal: controller.signal }), reason);
  controller.abort(reason);
  const second = connect();
  window.finish();
  await first;
  assert.equal((await (await second).from("personas").count().get()).rows.length, 1);
  // A page has one port, so a third one waits in vain, and the second goes on.
  await assert.rejects(connect({ timeoutMs: 50 }), { code: "no_port" });
  assert.equal((await (await second).from("personas").count().get()).rows.length, 1);
  stop();
});

test("a window that leaves for a page of another origin takes no port along, unless the app says it may", async () => {
  const asked: string[] = [];
  for (const mayConnect of [undefined, (url: string) => asked.push(url) > 0]) {
    const window = new Window();
    const electron = { MessageChannelMain: MessageChannel as never, mayConnect };
    const stop = attachWindow(place.database, window as never, electron);
    const db = await opened(window, "app://hub/index.html");
    await opened(window, "app://hub/other.html");
    await assert.rejects(db.from("personas").get(), { code: "disconnected" });
    await window.load();
    window.url = "https://example.org/";
    window.finish();
    assert.equal(window.ports.length, mayConnect === undefined ? 2 : 3);
    stop();
  }
  assert.deepEqual(asked, ["app://hub/index.html", "app://hub/other.html", "https://example.org/"]);
});

async function opened(window: Window, url: string): Promise<Database<any>> {
  const connect = await window.load();
  window.url = url;
  window.finish();
  return connect();
}
