// Keeps the database process running: starts it, starts it again when it ends unasked, and gives up when that happens again
// and again. The same secrets and the same key pair are used for every start.

import { closedError, KeepDBError, tell } from "../core/errors.js";
import type { Hub } from "./hub.js";
import type { Launch } from "./launch.js";
import { type Ready, Sidecar, type SidecarExit } from "./sidecar.js";

/** `restarting`: it ended unasked and is being started again. `failed`: given up. */
export type DatabaseStatus = "starting" | "ready" | "restarting" | "stopped" | "failed";

/** Pauses before the first, second … start after an end, in ms; after as many ends in a row, the next is the last. */
const PAUSES_MS = [0, 500, 1_000, 2_000, 4_000];
/** Having run for so long, it begins anew with the first pause. */
const STABLE_MS = 60_000;

export interface KeeperEvents {
  readonly onExit?: ((exit: SidecarExit) => void) | undefined;
  readonly onStatus?: ((status: DatabaseStatus) => void) | undefined;
}

export class Keeper {
  readonly #launch: Launch;
  readonly #publicKey: string;
  readonly #hub: Hub;
  readonly #events: KeeperEvents;
  readonly #closing = new AbortController();
  #status: DatabaseStatus = "starting";
  #ends = 0;
  #readyAt = 0;
  #sidecar: Sidecar | null = null;
  #restarting: Promise<void> = Promise.resolve();

  constructor(launch: Launch, publicKey: string, hub: Hub, events: KeeperEvents) {
    this.#launch = launch;
    this.#publicKey = publicKey;
    this.#hub = hub;
    this.#events = events;
  }

  get status(): DatabaseStatus {
    return this.#status;
  }

  get pid(): number | undefined {
    return this.#sidecar?.pid;
  }

  /** The first start. */
  async start(signal: AbortSignal | undefined): Promise<Ready> {
    try {
      return await this.#start(signal);
    } catch (error) {
      this.#become("failed");
      throw error;
    }
  }

  /** Stop in order; resolves when the process has ended. */
  async close(): Promise<void> {
    if (this.#status !== "failed") {
      this.#become("stopped");
    }
    this.#closing.abort(closedError());
    this.#hub.end(closedError().parts());
    await this.#restarting;
    await this.#sidecar?.stop();
  }

  async #start(signal: AbortSignal | undefined): Promise<Ready> {
    const { sidecar, ready } = await Sidecar.start(this.#launch, this.#publicKey, signal);
    this.#sidecar = sidecar;
    this.#readyAt = performance.now();
    void sidecar.exited.then((exit) => this.#ended(exit));
    this.#hub.begin(ready);
    this.#become("ready");
    return ready;
  }

  #ended(exit: SidecarExit): void {
    if (this.#closing.signal.aborted) {
      return;
    }
    this.#become("restarting");
    this.#hub.pause();
    this.#restarting = this.#restart(exit);
    tell(this.#events.onExit, exit);
  }

  async #restart(exit: SidecarExit): Promise<void> {
    const { signal } = this.#closing;
    let reason = exit.error ?? unexpected(exit);
    if (performance.now() - this.#readyAt >= STABLE_MS) {
      this.#ends = 0;
    }
    while (!signal.aborted) {
      const pauseMs = PAUSES_MS[this.#ends++];
      if (pauseMs === undefined) {
        this.#become("failed");
        this.#hub.end(reason.parts());
        return;
      }
      await elapsed(pauseMs, signal);
      try {
        await this.#start(signal);
        return;
      } catch (error) {
        if (error instanceof KeepDBError) {
          reason = error;
        }
      }
    }
  }

  #become(status: DatabaseStatus): void {
    // Stopped is stopped, whatever was under way.
    if (this.#status !== status && this.#status !== "stopped") {
      this.#status = status;
      tell(this.#events.onStatus, status);
    }
  }
}

function elapsed(pauseMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, pauseMs);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

function unexpected({ code, signal, stderr }: SidecarExit): KeepDBError {
  const tail = stderr === "" ? "" : `\nIts last lines:\n${stderr}`;
  return new KeepDBError({
    code: "sidecar_ended",
    message: `The database process ended again and again, last with ${signal ?? `status ${String(code)}`}.${tail}`,
    fix: "Look at logs/supervisor.jsonl in the data directory, then run `keepdb doctor`.",
  });
}
