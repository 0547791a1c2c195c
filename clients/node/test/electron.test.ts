// The two files that touch Electron, driven by what they use of it: events of a window's contents, ipcRenderer, and a page's
// messages. The ports, the database and everything behind them are real.

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { runInNewContext } from "node:vm";
import { MessageChannel, type MessagePort } from "node:worker_threads";

import { type Database, attachWindow } from "@keepdb/client/main";
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
  #ipc = new EventEmitter();
  #page = new Page();

  isLoading(): boolean {
    return this.loading;
  }

  postMessage(channel: string, message: unknown, transfer: MessagePort[] = []): void {
    this.ports.push(...transfer);
    setImmediate(() => this.#ipc.emit(channel, { ports: transfer }, message));
  }

  /** Load the page: the preload script runs first. Returns the page's own `connect`. */
  async load(): Promise<() => Promise<Database<any>>> {
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
    // The page's module looks for `window` once, when it is loaded: each page has a copy of its own.
    const scope = globalThis as { window?: unknown };
    scope.window = this.#page;
    const { connect } = (await import(
      `../dist/esm/core/connect.js?page=${++pages}`
    )) as typeof import("@keepdb/client");
    delete scope.window;
    return () => connect<any>(null, { timeoutMs: 5_000 });
  }

  finish(): void {
    this.loading = false;
    this.emit("did-finish-load");
  }
}
let pages = 0;

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
