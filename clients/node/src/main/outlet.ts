// One connection to one service: a DEALER with every limit set, a reader loop, and a send queue of our own, which can be
// measured in bytes. As long as ZeroMQ takes what it is given, nothing waits and nothing is awaited.

import { type Context, Dealer } from "zeromq";

import { FRAME_BYTES_MAX } from "../generated/wire.js";

/** Messages in ZeroMQ's own queue for us to read; the same as the server's. */
const RECEIVED_MESSAGES_MAX = 4_096;
/** Messages in ZeroMQ's own queue to be sent: few, because it does not count their bytes. */
const SENT_MESSAGES_MAX = 64;
/** Bytes that wait for room in there; past that requests are dropped, which are sent again anyway. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
/** What a message takes beside its body, about. */
const FRAMES_BYTES = 200;
/** How soon a lost connection is tried again, in ms; a restarted service is back after some 100 ms. */
const RECONNECT_MS = 10;
const RECONNECT_MS_MAX = 200;
/** A peer that has not finished the CURVE handshake by then is dropped. */
const HANDSHAKE_MS = 5_000;

const NOTHING = new Uint8Array(0);

type Frames = [first: Uint8Array, body: Uint8Array];

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
  readonly #waiting: Frames[] = [];
  readonly #events: OutletEvents;
  #waitingBytes = 0;
  #isBlocked = false;

  constructor(context: Context, endpoint: string, serverKey: string, own: KeyPair, events: OutletEvents) {
    this.#events = events;
    this.#socket = new Dealer({
      context,
      linger: 0,
      maxMessageSize: FRAME_BYTES_MAX,
      // It says at once if it cannot take a message.
      sendTimeout: 0,
      sendHighWaterMark: SENT_MESSAGES_MAX,
      receiveHighWaterMark: RECEIVED_MESSAGES_MAX,
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

  /** Send a request; dropped when too much waits already. */
  request(id: Uint8Array, body: Uint8Array): void {
    if (this.#waitingBytes < WAITING_BYTES_MAX) {
      this.#send([id, body]);
    }
  }

  /** Send what is not answered and not sent again: requests leave room for it. */
  tell(body: Uint8Array): void {
    if (this.#waitingBytes < 2 * WAITING_BYTES_MAX) {
      this.#send([NOTHING, body]);
    }
  }

  close(): void {
    this.#waiting.length = 0;
    this.#socket.close();
  }

  #send(frames: Frames): void {
    if (this.#isBlocked) {
      this.#wait(frames);
      return;
    }
    this.#socket.send(frames).then(undefined, (error: unknown) => {
      if (this.#socket.closed) {
        return;
      }
      if ((error as { code?: string }).code !== "EAGAIN") {
        throw error;
      }
      this.#wait(frames);
      if (!this.#isBlocked) {
        void this.#drain();
      }
    });
  }

  #wait(frames: Frames): void {
    this.#waiting.push(frames);
    this.#waitingBytes += frames[1].length + FRAMES_BYTES;
  }

  /** Send what waits, one after the other, whenever there is room. */
  async #drain(): Promise<void> {
    this.#isBlocked = true;
    this.#socket.sendTimeout = -1;
    try {
      for (let frames = this.#waiting.shift(); frames !== undefined; frames = this.#waiting.shift()) {
        await this.#socket.send(frames);
        this.#waitingBytes -= frames[1].length + FRAMES_BYTES;
      }
      this.#socket.sendTimeout = 0;
      this.#isBlocked = false;
    } catch (error) {
      if (!this.#socket.closed) {
        throw error;
      }
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
