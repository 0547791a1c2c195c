// Stands in for `electron` in the preload script, in a Chromium that is not Electron's. The script itself is the real
// one. Messages of the main process come over a loopback WebSocket, and with the first one a real MessagePort, whose
// other end is pumped over that WebSocket.

import { decode, encode } from "@msgpack/msgpack";

/** Set in front of the bundle: where the stand-in of the main process listens for this window. */
declare const MAIN_PROCESS: string;

type Listener = (event: { ports: MessagePort[] }, message: unknown) => void;
type FromMain = { channel: string; message: unknown; port?: number } | { port: number; data: unknown };

const listeners = new Map<string, Listener[]>();
const ports = new Map<number, MessagePort>();
let socket: WebSocket;

// Electron says "did-finish-load" after this event, and sends the port then.
addEventListener("load", () => {
  socket = new WebSocket(MAIN_PROCESS);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", (event: MessageEvent<ArrayBuffer>) => receive(decode(event.data) as FromMain));
});

function receive(received: FromMain): void {
  if ("data" in received) {
    ports.get(received.port)?.postMessage(received.data);
    return;
  }
  const handedOver = received.port === undefined ? [] : [portTo(received.port)];
  for (const listener of listeners.get(received.channel) ?? []) {
    listener({ ports: handedOver }, received.message);
  }
}

function portTo(number: number): MessagePort {
  const { port1, port2 } = new MessageChannel();
  port1.addEventListener("message", ({ data }) => {
    socket.send(encode({ port: number, data }, { ignoreUndefined: true }));
  });
  port1.start();
  ports.set(number, port1);
  return port2;
}

export const ipcRenderer = {
  on(channel: string, listener: Listener): void {
    listeners.set(channel, [...(listeners.get(channel) ?? []), listener]);
  },
};
