// Serves one window over a MessagePort: frames go through as the bytes they are. A window is not trusted to keep to the form:
// one that does not is disconnected, and cannot bring the main process down.

import { TIMER_MS_MAX } from "../core/alarm.js";
import type { ErrorParts } from "../core/errors.js";
import {
  DISCONNECTED,
  type Hello,
  PORT_VERSION,
  type PortLike,
  type ToMain,
  type ToWindow,
  listen,
} from "../core/port.js";
import type { Seat } from "./seat.js";

/** Connect a port to a seat. Returns how to stop. */
export function bridge(port: PortLike, seat: Seat): () => void {
  if (seat.ended !== null) {
    // Not even a greeting: nothing would ever be answered.
    const items: ToWindow[] = [["end", seat.ended]];
    port.postMessage(items);
    seat.close();
    port.close?.();
    return () => undefined;
  }
  let outgoing: ToWindow[] = [];
  let isOpen = true;

  const flush = (): void => {
    const items = outgoing;
    outgoing = [];
    if (isOpen && items.length > 0) {
      port.postMessage(items);
    }
  };
  const send = (item: ToWindow): void => {
    // What arrives in one turn of the event loop goes in one message.
    if (outgoing.push(item) === 1) {
      setImmediate(flush);
    }
  };
  const stop = (): void => {
    if (isOpen) {
      isOpen = false;
      seat.close();
      port.close?.();
    }
  };
  const end = (error: ErrorParts): void => {
    send(["end", error]);
    flush();
    stop();
  };

  seat.onFrame = (service, first, body) => send(["frame", service, plain(first), plain(body)]);
  seat.onService = (service, epoch, lost) => send(["service", service, epoch, lost]);
  seat.onServices = (names) => send(["services", names]);
  seat.onEnd = end;
  listen(
    port,
    (data) => {
      for (const item of Array.isArray(data) ? data : [data]) {
        if (isOpen && isBye(item)) {
          stop();
        } else if (isOpen && !take(seat, item)) {
          end(malformed);
        }
      }
    },
    stop,
  );
  const hello: Hello = { keepdb: PORT_VERSION, prefix: seat.prefix, services: seat.services };
  port.postMessage(hello);
  return () => end(DISCONNECTED);
}

const malformed: ErrorParts = {
  code: "malformed_message",
  message: "This window sent something that is no message of the client.",
  fix: "Bundle both ends from the same version of @keepdb/client, and give the port to nobody else.",
};

function isBye(item: unknown): boolean {
  return Array.isArray(item) && item[0] === "bye";
}

/** Carry out one item; false if it is none. */
function take(seat: Seat, item: unknown): boolean {
  if (!isItem(item)) {
    return false;
  }
  switch (item[0]) {
    case "request":
      seat.request(item[1], item[2], item[3]);
      break;
    case "tell":
      seat.tell(item[1], item[2]);
      break;
    case "commit":
      seat.commit(item[1]);
      break;
    case "cancel":
      seat.cancel(item[1]);
      break;
    case "hold":
      seat.hold(item[1], item[2], item[3]);
      break;
    case "release":
      seat.release(item[1], item[2]);
      break;
  }
  return true;
}

/** What the members of each item are. */
const FORMS: Readonly<Record<string, readonly ((value: unknown) => boolean)[]>> = {
  request: [isText, isBytes, isBytes],
  tell: [isText, isBytes],
  commit: [isCommit],
  cancel: [isBytes],
  hold: [isText, isText, isText],
  release: [isText, isText],
};

function isItem(item: unknown): item is ToMain {
  if (!Array.isArray(item)) {
    return false;
  }
  const [kind, ...members] = item as [unknown, ...unknown[]];
  const form = typeof kind === "string" && Object.hasOwn(FORMS, kind) ? FORMS[kind] : undefined;
  return form !== undefined && form.length === members.length && form.every((fits, at) => fits(members[at]));
}

function isCommit(value: unknown): boolean {
  if (typeof value !== "object" || value === null) {
    return false;
  }
  const { id, events, durability, idempotencyKey, timeoutMs } = value as Record<string, unknown>;
  return (
    isBytes(id) &&
    isBytes(events) &&
    (durability === "disk" || durability === "os") &&
    (idempotencyKey === null || isText(idempotencyKey)) &&
    typeof timeoutMs === "number" &&
    timeoutMs > 0 &&
    timeoutMs <= TIMER_MS_MAX
  );
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

/** A frame as a plain Uint8Array with a buffer of its own: cloning a view would clone all that it looks into. */
function plain(frame: Uint8Array): Uint8Array {
  return frame.byteLength === frame.buffer.byteLength ? new Uint8Array(frame.buffer) : new Uint8Array(frame);
}
