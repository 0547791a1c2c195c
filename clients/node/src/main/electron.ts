// Handing a window its port, in Electron. Nothing of Electron is imported: its parts come as arguments, so that the package
// loads without it, and types are compared by shape.

import type { PortLike } from "../core/port.js";

/** What the preload script listens for. */
export const PORT_CHANNEL = "keepdb-port";

/** Of Electron's WebContents. */
export interface WebContentsLike {
  // Method syntax on purpose: Electron's ports are classes of its own, and only methods compare loosely.
  postMessage(channel: string, message: unknown, transfer?: never[]): void;
  on(event: "did-finish-load", listener: () => void): unknown;
  once(event: "destroyed", listener: () => void): unknown;
  isLoading(): boolean;
  getURL(): string;
}

/** What `attachWindow` needs, and may be told. */
export interface AttachOptions {
  /** Electron's class. */
  readonly MessageChannelMain: MessageChannelMainLike;
  /** Whether the page at this address gets a port; default: pages of the same origin as the window's first. */
  readonly mayConnect?: ((url: string) => boolean) | undefined;
}

/** Of Electron's MessageChannelMain. */
export interface MessageChannelMainLike {
  new (): { readonly port1: PortLike; readonly port2: PortLike };
}

/**
 * Give a window a port, now and after every reload. Its page gets it through `@keepdb/client/preload` and calls `connect()`.
 * A page of another origin gets none, unless `mayConnect` says so. Returns how to stop.
 */
export function attachWindow(
  database: { attach(port: PortLike): () => void },
  webContents: WebContentsLike,
  { MessageChannelMain, mayConnect }: AttachOptions,
): () => void {
  let detach: () => void = () => undefined;
  let isOver = false;
  let home: string | undefined;
  const isWelcome = (url: string): boolean => {
    home ??= originOf(url);
    return mayConnect?.(url) ?? originOf(url) === home;
  };
  const give = (): void => {
    // A page that was loaded anew has lost its port.
    detach();
    detach = () => undefined;
    if (!isOver && isWelcome(webContents.getURL())) {
      const { port1, port2 } = new MessageChannelMain();
      detach = database.attach(port1);
      webContents.postMessage(PORT_CHANNEL, null, [port2 as never]);
    }
  };
  const stop = (): void => {
    isOver = true;
    detach();
  };
  webContents.on("did-finish-load", give);
  webContents.once("destroyed", stop);
  if (!webContents.isLoading()) {
    give();
  }
  return stop;
}

/** Scheme and host: `URL.origin` is "null" for every scheme that an app registers. */
function originOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}
