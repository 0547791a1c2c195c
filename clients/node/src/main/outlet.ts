// One connection to one service: a DEALER with every limit set, a reader loop, and a send queue of our own, because the
// library refuses to begin a second send while the first is blocked.

import { type Context, Dealer } from "zeromq";

import { FRAME_BYTES_MAX } from "../generated/wire.js";

/** Messages in ZeroMQ's own queue, each way; the same as the server's. */
const QUEUE_MESSAGES_MAX = 4_096;
/** Messages that wait for room in there; past that requests are dropped, which are sent again anyway. */
const WAITING_MAX = 16_384;
/** Acknowledgements that wait: as many as there can be, 16 pushes for each of the 12 000 subscriptions of a connection. */
const TELLS_WAITING_MAX = WAITING_MAX + 12_000 * 16;
/** How soon a lost connection is tried again, in ms; a restarted service is back after some 100 ms. */
const RECONNECT_MS = 10;
const RECONNECT_MS_MAX = 200;
/** A peer that has not finished the CURVE handshake by then is dropped. */
const HANDSHAKE_MS = 5_000;

const NOTHING = new Uint8Array(0);

/** Our CURVE key pair in Z85. */
export interface KeyPair {
  readonly publicKey: string;
  readonly secretKey: string;
}

/** What an outlet reports. */
export interface OutletEvents {
  onFrame(first: Uint8Array, body: Uint8Array): void;
  onConnection(isUp: boolean): void;
}

export class Outlet {
  readonly #socket: Dealer;
  readonly #waiting: [first: Uint8Array, body: Uint8Array][] = [];
  readonly #events: OutletEvents;
  #isSending = false;

  constructor(context: Context, endpoint: string, serverKey: string, own: KeyPair, events: OutletEvents) {
    this.#events = events;
    this.#socket = new Dealer({
      context,
      linger: 0,
      maxMessageSize: FRAME_BYTES_MAX,
      sendHighWaterMark: QUEUE_MESSAGES_MAX,
      receiveHighWaterMark: QUEUE_MESSAGES_MAX,
      handshakeInterval: HANDSHAKE_MS,
      reconnectInterval: RECONNECT_MS,
      reconnectMaxInterval: RECONNECT_MS_MAX,
      curveServerKey: serverKey,
      curvePublicKey: own.publicKey,
      curveSecretKey: own.secretKey,
    });
    this.#socket.events.on("handshake", () => events.onConnection(true));
    this.#socket.events.on("disconnect", () => events.onConnection(false));
    this.#socket.connect(endpoint);
    void this.#read();
  }

  /** Send a request; dropped when thousands wait already. */
  request(id: Uint8Array, body: Uint8Array): void {
    if (this.#waiting.length < WAITING_MAX) {
      this.#send(id, body);
    }
  }

  /** Send what is not answered. */
  tell(body: Uint8Array): void {
    if (this.#waiting.length < TELLS_WAITING_MAX) {
      this.#send(NOTHING, body);
    }
  }

  close(): void {
    this.#waiting.length = 0;
    this.#socket.close();
  }

  #send(first: Uint8Array, body: Uint8Array): void {
    this.#waiting.push([first, body]);
    if (!this.#isSending) {
      void this.#drain();
    }
  }

  async #drain(): Promise<void> {
    this.#isSending = true;
    try {
      for (let frames = this.#waiting.shift(); frames !== undefined; frames = this.#waiting.shift()) {
        await this.#socket.send(frames);
      }
    } catch (error) {
      if (!this.#socket.closed) {
        throw error;
      }
    } finally {
      this.#isSending = false;
    }
  }

  async #read(): Promise<void> {
    // Not `for await`: the library's iterator costs one more promise per message.
    while (!this.#socket.closed) {
      let frames: Buffer[];
      try {
        frames = await this.#socket.receive();
      } catch (error) {
        if (this.#socket.closed) {
          return;
        }
        throw error;
      }
      const [first, body] = frames;
      if (first !== undefined && body !== undefined) {
        this.#events.onFrame(first, body);
      }
    }
  }
}
