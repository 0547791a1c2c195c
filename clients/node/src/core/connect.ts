// Connecting a window: over a port that it was given, or over the one that the preload script passes on to the page.

import { Database, type DatabaseOptions } from "./database.js";
import { type ErrorParts, KeepDBError } from "./errors.js";
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
 * Connect to the database that the main process runs. port: left out, the one that `@keepdb/client/preload` passes on; each
 * page gets one, so share what this returns. Rejects with KeepDBError `no_port` when none comes, or when nobody answers on
 * it, and with the reason when the database was closed or given up.
 */
export async function connect<S extends AnySchema = UnknownSchema>(
  port?: PortLike | null,
  options: ConnectOptions = {},
): Promise<Database<S>> {
  const { signal, timeoutMs = CONNECT_MS } = options;
  signal?.throwIfAborted();
  const over = new AbortController();
  const stopped = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(noPort(timeoutMs)), timeoutMs);
    over.signal.addEventListener("abort", () => clearTimeout(timer));
    signal?.addEventListener("abort", () => reject(signal.reason), { signal: over.signal });
  });
  stopped.catch(() => undefined);
  try {
    return new Database<S>(await (port ? givenBy(port, stopped) : ofThisPage(stopped)), options);
  } finally {
    over.abort();
  }
}

/** The connection over a port that nobody else uses. */
async function givenBy(port: PortLike, stopped: Promise<never>): Promise<PortChannel> {
  try {
    return await Promise.race([greeted(port), stopped]);
  } catch (error) {
    port.close?.();
    throw error;
  }
}

/** The connection of this page that nobody has taken yet: one that was not waited for serves whoever asks next. */
let offered: Promise<PortChannel> | null = null;

async function ofThisPage(stopped: Promise<never>): Promise<PortChannel> {
  for (;;) {
    const mine = (offered ??= offer());
    const channel = await Promise.race([mine, stopped]);
    if (offered === mine) {
      offered = null;
      return channel;
    }
  }
}

function offer(): Promise<PortChannel> {
  const made = passedOn().then(greeted);
  const withdraw = (): void => {
    offered = offered === made ? null : offered;
  };
  made.then((channel) => {
    channel.onEnd = withdraw;
  }, withdraw);
  return made;
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

/** Ask the preload script for the port, which it keeps until then. */
function passedOn(): Promise<PortLike> {
  const page = (globalThis as { window?: Page }).window;
  return new Promise((resolve) => {
    const take = ({ source, data, ports: [port] }: PageMessage): void => {
      if (source === page && data === PORT_MESSAGE && port !== undefined) {
        page?.removeEventListener("message", take);
        resolve(port);
      }
    };
    page?.addEventListener("message", take);
    page?.postMessage(PORT_WANTED, "/");
  });
}

/** Wait until the main process has said who we are, or why there is nothing to connect to. */
function greeted(port: PortLike): Promise<PortChannel> {
  return new Promise((resolve, reject) => {
    let channel: PortChannel | null = null;
    const onMessage = (data: unknown): void => {
      if (channel !== null) {
        channel.take(data as readonly ToWindow[]);
      } else if (Array.isArray(data)) {
        reject(new KeepDBError((data as [["end", ErrorParts]])[0][1]));
      } else {
        const hello = data as Hello;
        if (hello.keepdb === PORT_VERSION) {
          channel = new PortChannel(port, hello);
          resolve(channel);
        } else {
          reject(versions(hello.keepdb));
        }
      }
    };
    listen(port, onMessage, () => {
      reject(new KeepDBError(DISCONNECTED));
      channel?.onEnd(DISCONNECTED);
    });
  });
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
    fix:
      "Call attachWindow() in the main process and load @keepdb/client/preload in the preload script, or pass a port. " +
      "A page gets one port: connect once and share the result.",
    retryable: true,
  });
}
