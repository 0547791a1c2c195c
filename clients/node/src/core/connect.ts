// Connecting a window: over a port that it was given, or over the one that the preload script passes on to the page.

import { Database, type DatabaseOptions } from "./database.js";
import { KeepDBError } from "./errors.js";
import { DISCONNECTED, type Hello, PORT_VERSION, PortChannel, type PortLike, type ToWindow, listen } from "./port.js";
import type { AnySchema, UnknownSchema } from "./schema.js";

/** What the preload script says to the page, with the port, and the page to it, to ask for one. */
const PORT_MESSAGE = "keepdb-port";
const PORT_WANTED = "keepdb-port-wanted";
const CONNECT_MS = 10_000;

export interface ConnectOptions extends DatabaseOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long to wait for the main process, in ms; default 10 000. */
  readonly timeoutMs?: number | undefined;
}

/**
 * Connect to the database that the main process runs. port: left out, the one that `@keepdb/client/preload` passes on.
 * Rejects with KeepDBError `no_port` when none comes, or when nobody answers on it.
 */
export function connect<S extends AnySchema = UnknownSchema>(
  port?: PortLike | null,
  options: ConnectOptions = {},
): Promise<Database<S>> {
  const { signal, timeoutMs = CONNECT_MS } = options;
  return new Promise((resolve, reject) => {
    const over = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      taken = null;
    };
    const refuse = (error: unknown): void => {
      over();
      reject(error);
    };
    const aborted = (): void => refuse(signal?.reason);
    const timer = setTimeout(() => refuse(noPort(timeoutMs)), timeoutMs);
    signal?.addEventListener("abort", aborted);
    if (signal?.aborted === true) {
      aborted();
      return;
    }
    const greet = (given: PortLike): void => {
      greeted(
        given,
        (channel) => {
          over();
          resolve(new Database<S>(channel, options));
        },
        refuse,
      );
    };
    if (port) {
      greet(port);
    } else {
      passedOn(greet);
    }
  });
}

interface Page {
  postMessage(message: unknown, targetOrigin: string): void;
  addEventListener(type: "message", listener: (event: PageMessage) => void): void;
  removeEventListener(type: "message", listener: (event: PageMessage) => void): void;
}
interface PageMessage {
  readonly source: unknown;
  readonly data: unknown;
  readonly ports: readonly PortLike[];
}

// Whoever passes a port on may be quicker than `connect`, so we listen from the moment this module is loaded.
const page = (globalThis as { window?: Page }).window;
let early: PortLike | null = null;
let taken: ((port: PortLike) => void) | null = null;
page?.addEventListener("message", (event) => {
  const [port] = event.ports;
  if (event.source !== page || event.data !== PORT_MESSAGE || port === undefined) {
    return;
  }
  if (taken === null) {
    early = port;
  } else {
    taken(port);
  }
});

/** Wait for the port of the preload script. */
function passedOn(take: (port: PortLike) => void): void {
  if (early === null) {
    taken = take;
    page?.postMessage(PORT_WANTED, "/");
  } else {
    const port = early;
    early = null;
    take(port);
  }
}

/** Wait until the main process has said who we are. */
function greeted(port: PortLike, resolve: (channel: PortChannel) => void, reject: (error: KeepDBError) => void): void {
  let channel: PortChannel | null = null;
  listen(
    port,
    (data) => {
      if (channel !== null) {
        channel.take(data as readonly ToWindow[]);
        return;
      }
      const hello = data as Hello;
      if (hello.keepdb === PORT_VERSION) {
        channel = new PortChannel(port, hello);
        resolve(channel);
      } else {
        reject(versions(hello.keepdb));
      }
    },
    () => channel?.onEnd(DISCONNECTED),
  );
}

function versions(found: unknown): KeepDBError {
  return new KeepDBError({
    code: "protocol_error",
    message: `The main process speaks version ${String(found)} of the port's messages, this window ${PORT_VERSION}.`,
    fix: "Bundle both from the same version of @keepdb/client.",
  });
}

function noPort(timeoutMs: number): KeepDBError {
  return new KeepDBError({
    code: "no_port",
    message: `No connection to the database came from the main process within ${timeoutMs} ms.`,
    fix: "Call attachWindow() in the main process and load @keepdb/client/preload in the preload script, or pass a port.",
    retryable: true,
  });
}
