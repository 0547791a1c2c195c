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
}

/** Of Electron's MessageChannelMain. */
export interface MessageChannelMainLike {
  new (): { readonly port1: PortLike; readonly port2: PortLike };
}

/**
 * Give a window a port, now and after every reload. Its page gets it through `@keepdb/client/preload` and calls `connect()`.
 * Returns how to stop.
 */
export function attachWindow(
  database: { attach(port: PortLike): () => void },
  webContents: WebContentsLike,
  electron: { readonly MessageChannelMain: MessageChannelMainLike },
): () => void {
  let detach: () => void = () => undefined;
  let isOver = false;
  const give = (): void => {
    // A page that was loaded anew has lost its port.
    detach();
    if (!isOver) {
      const { port1, port2 } = new electron.MessageChannelMain();
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
