// What a commit returns: a receipt whose stages can be awaited.

import type { Receipt as WireReceipt } from "../generated/wire.js";
import type { CallOptions } from "./requests.js";

/** `logged`: in the log, as durable as asked. `materialized`: reads see it. */
export type Stage = "logged" | "materialized";

export interface Receipt {
  /** Positions of the commit's first and last event. */
  readonly seqFirst: number;
  readonly seqLast: number;
  /** The row of each event, in order. */
  readonly ids: readonly string[];
  /** When it was committed, in ms since the epoch. */
  readonly at: number;
  /** How far it was when it was answered. */
  readonly stage: Stage;
  /** It had been carried out before: this is its first receipt. */
  readonly duplicate: boolean;
  /** Wait until it has come this far. */
  reached(stage: Stage, options?: CallOptions): Promise<void>;
}

/** A receipt off the wire. awaitSeq: wait until reads see this position. */
export function receiptOf(
  message: WireReceipt,
  awaitSeq: (seq: number, options: CallOptions | undefined) => Promise<unknown>,
): Receipt {
  const { seqFirst, seqLast, ids, at, stage = "materialized", duplicate = false } = message;
  return {
    seqFirst,
    seqLast,
    ids,
    at,
    stage,
    duplicate,
    reached: async (wanted, options) => {
      if (wanted === "materialized" && stage === "logged") {
        await awaitSeq(seqLast, options);
      }
    },
  };
}
