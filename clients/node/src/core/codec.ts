// Bytes to messages and back. msgpackr reads: it is fast, and keeps 64-bit integers exact as bigint. Its build without `eval`
// is plain JavaScript everywhere; the others load a native module in Node, and ask a page's policy for `unsafe-eval`.

import { Unpackr } from "msgpackr/unpack-no-eval";

import { FRAME_BYTES_MAX, type Received } from "../generated/wire.js";
import { KeepDBError } from "./errors.js";
import { pack } from "./msgpack.js";

// "auto": number where exact, else bigint.
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "auto" });

/** A value as msgpack. Throws KeepDBError `malformed_message` or `message_too_large`. */
export function encode(value: unknown): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = pack(value);
  } catch (error) {
    throw new KeepDBError(
      {
        code: "malformed_message",
        message: `The message holds a value that cannot be sent: ${error instanceof Error ? error.message : String(error)}.`,
        fix: "Use text, booleans, null, numbers, bigint up to 64 bits, and lists and plain objects of these; times as ms.",
      },
      { cause: error },
    );
  }
  if (bytes.length > FRAME_BYTES_MAX) {
    throw new KeepDBError({
      code: "message_too_large",
      message: `The message has ${bytes.length} bytes; allowed are ${FRAME_BYTES_MAX}.`,
      fix: "Split it into several smaller ones.",
    });
  }
  return bytes;
}

/** A message that was received. Anything else reads as a refusal to whom it concerns, and concerns nobody else. */
export function decode(bytes: Uint8Array): Received {
  try {
    const message: unknown = unpackr.unpack(bytes);
    if (typeof message === "object" && message !== null && typeof (message as Received).type === "string") {
      return message as Received;
    }
  } catch {
    // Falls through to the refusal below.
  }
  return {
    type: "refused",
    code: "protocol_error",
    message: "The answer is no message that this client knows.",
    fix: "Client and server are of different versions; update both.",
  };
}
