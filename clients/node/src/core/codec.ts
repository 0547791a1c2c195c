// Bytes to messages and back.
//
// Two libraries on purpose: @msgpack/msgpack writes every integer as an integer, also above 2^32, where msgpackr writes a
// float that the server refuses; msgpackr reads several times faster, and keeps 64-bit integers exact as bigint.

import { Encoder } from "@msgpack/msgpack";
import { Unpackr } from "msgpackr";

import { FRAME_BYTES_MAX, type Received } from "../generated/wire.js";
import { KeepDBError } from "./errors.js";

const encoder = new Encoder({ ignoreUndefined: true });
const bigEncoder = new Encoder({ ignoreUndefined: true, useBigInt64: true });
// "auto" is missing from the library's types: number where exact, else bigint.
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "auto" as "number" });

/** A value as msgpack. Throws KeepDBError `malformed_message` or `message_too_large`. */
export function encode(value: unknown): Uint8Array {
  const bytes = packed(value);
  if (bytes.length > FRAME_BYTES_MAX) {
    throw new KeepDBError({
      code: "message_too_large",
      message: `The message has ${bytes.length} bytes; allowed are ${FRAME_BYTES_MAX}.`,
      fix: "Split it into several smaller ones.",
    });
  }
  return bytes;
}

function packed(value: unknown): Uint8Array {
  try {
    return encoder.encode(value);
  } catch (plain) {
    try {
      // With bigint switched on, the library writes large numbers as floats, so they become bigint as well.
      return bigEncoder.encode(withBigIntegers(value));
    } catch {
      throw new KeepDBError(
        {
          code: "malformed_message",
          message: `The message holds a value that cannot be sent: ${String(plain)}.`,
          fix: "Use text, booleans, null, numbers, bigint up to 64 bits, and lists and plain objects of these.",
        },
        { cause: plain },
      );
    }
  }
}

function withBigIntegers(value: unknown): unknown {
  if (typeof value === "number") {
    return Number.isSafeInteger(value) && Math.abs(value) > 0x7fffffff ? BigInt(value) : value;
  }
  if (Array.isArray(value)) {
    return value.map(withBigIntegers);
  }
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, withBigIntegers(part)]));
  }
  return value;
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
