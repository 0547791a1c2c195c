// Stands in for Electron's main process: starts the database with the code the app uses, serves the built pages with
// the app's own policy, and hands each window a port. What Electron would do between processes goes over loopback.

import { EventEmitter } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { attachWindow, createDatabase, type MainDatabase } from "@keepdb/client/main";
import { decode, encode } from "@msgpack/msgpack";
import { chromium, type Browser, type Page } from "playwright-core";
import { WebSocketServer, type WebSocket } from "ws";

import type { Schema } from "../src/generated/schema.js";
import { CONTENT_SECURITY_POLICY, serve } from "../src/main/pages.js";

const ROOT = process.env.KEEPDB_ROOT ?? join(import.meta.dirname, "../../..");
const PYTHON = process.env.KEEPDB_PYTHON ?? join(ROOT, ".venv/bin/python");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** The part of Electron's WebContents that attachWindow uses. It outlives the pages that are loaded into it. */
class WindowContents extends EventEmitter {
  #socket: WebSocket | null = null;
  readonly #ports = new Map<number, MessagePortMain>();
  #last = 0;

  /** A page was loaded, and its preload script has called. */
  connect(socket: WebSocket): void {
    this.#socket = socket;
    socket.on("message", (bytes: Buffer) => {
      const { port, data } = decode(bytes) as { port: number; data: unknown };
      this.#ports.get(port)?.postMessage(data);
    });
    // A page that goes takes its ports along.
    socket.on("close", () => {
      for (const port of this.#ports.values()) {
        port.close();
      }
      this.#ports.clear();
    });
    this.emit("did-finish-load");
  }

  postMessage(channel: string, message: unknown, transfer: MessagePortMain[] = []): void {
    const socket = this.#socket;
    const [port] = transfer;
    if (!port) {
      socket?.send(encode({ channel, message }, { ignoreUndefined: true }));
      return;
    }
    const number = ++this.#last;
    this.#ports.set(number, port);
    socket?.send(encode({ channel, message, port: number }, { ignoreUndefined: true }));
    port.on("message", ({ data }) => socket?.send(encode({ port: number, data }, { ignoreUndefined: true })));
  }

  isLoading(): boolean {
    return this.#socket === null;
  }

  getURL(): string {
    return "app://hub/index.html";
  }
}

/** A window of the app: the page in Chromium and what the main process sees of it. */
export interface Window {
  readonly page: Page;
  /** What the page wrote to its console, and errors nobody caught. */
  readonly complaints: string[];
}

export class Host {
  static async start(settings: Record<string, string | number | boolean> = {}): Promise<Host> {
    const preload = await readFile(join(import.meta.dirname, "preload.js"), "utf-8");
    const directory = await mkdtemp(join(tmpdir(), "keepdb-e2e-"));
    const browser = await chromium.launch(LAUNCH);
    try {
      const keepdb = await createDatabase<Schema>({
        directory: join(directory, "database"),
        passphrase: "four plain words suffice",
        command: [PYTHON, join(ROOT, "supervisor.py")],
        settings,
      });
      const host = new Host(directory, keepdb, preload, browser);
      await new Promise<void>((resolve) => host.#server.listen(0, "127.0.0.1", resolve));
      return host;
    } catch (error) {
      await browser.close();
      await rm(directory, { recursive: true });
      throw error;
    }
  }

  readonly #contents = new Map<string, WindowContents>();
  readonly #server: Server;

  private constructor(
    readonly directory: string,
    readonly keepdb: MainDatabase<Schema>,
    readonly preload: string,
    readonly browser: Browser,
  ) {
    this.#server = createServer((request, response) => {
      void serve(join(import.meta.dirname, "../dist"), `http://hub${request.url}`, this.#policy).then(async (page) => {
        response.writeHead(page.status, Object.fromEntries(page.headers));
        response.end(Buffer.from(await page.arrayBuffer()));
      });
    });
    new WebSocketServer({ server: this.#server }).on("connection", (socket, request) => {
      this.#contents.get(request.url ?? "")?.connect(socket);
    });
  }

  get data(): string {
    return join(this.directory, "database");
  }

  /** Opens a window as src/main/windows.ts does. */
  async openWindow(options: { colorScheme?: "light" | "dark"; width?: number; height?: number } = {}): Promise<Window> {
    const { colorScheme = "light", width = 1280, height = 800 } = options;
    const context = await this.browser.newContext({ colorScheme, viewport: { width, height } });
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    const path = `/window-${this.#contents.size + 1}`;
    const contents = new WindowContents();
    this.#contents.set(path, contents);
    await page.addInitScript(`{ const MAIN_PROCESS = "ws://${this.#address}${path}"; ${this.preload} }`);
    page.on("close", () => contents.emit("destroyed"));
    attachWindow(this.keepdb, contents, { MessageChannelMain });
    await page.goto(`http://${this.#address}/index.html`);
    return { page, complaints };
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.keepdb.close();
    this.#server.closeAllConnections();
    this.#server.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  get #address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The app's policy. The page may reach one thing more than in Electron: the pump that stands in for the port. */
  get #policy(): string {
    return `${CONTENT_SECURITY_POLICY}; connect-src ws://${this.#address}`;
  }
}

/** Electron's class, from Node's: both are made of two ports that are linked. */
class MessageChannelMain {
  readonly port1: MessagePortMain;
  readonly port2: MessagePortMain;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.port1 = new MessagePortMain(port1);
    this.port2 = new MessagePortMain(port2);
  }
}

/** Electron's ports emit events like Node's emitters, with an object around the data. */
class MessagePortMain {
  readonly #port: MessagePort;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  on(type: string, listener: (event: { data?: unknown }) => void): void {
    this.#port.on(type, (data: unknown) => listener({ data }));
  }

  postMessage(message: unknown): void {
    this.#port.postMessage(message);
  }

  start(): void {
    this.#port.start();
  }

  close(): void {
    this.#port.close();
  }
}

const LAUNCH = {
  executablePath: CHROMIUM,
  // Chromium's own sandbox does not work for root, as in containers.
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
};
