// One run of the database process, from its start to its end. Its standard input is the lifeline: when it closes, because
// we stop or because we died, the process ends, so it never outlives us.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

import { type ErrorParts, KeepDBError } from "../core/errors.js";
import { PROTOCOL } from "../generated/wire.js";
import { type Launch, commandLine, secretFrame } from "./launch.js";

const START_MS = 30_000;
const STOP_MS = 15_000;
/** From SIGTERM to SIGKILL. */
const TERM_MS = 2_000;
/** How long its last words are waited for once it has ended: what it started may hold the pipes for ever. */
const LAST_WORDS_MS = 1_000;
const STDERR_CHARS_MAX = 64 * 1024;
const STDERR_LINES_SHOWN = 20;

/** The ready line; docs/protocol.md describes it. */
export interface Ready {
  readonly protocol: number;
  readonly version: string;
  readonly pid: number;
  readonly endpoints: Readonly<Record<string, string>>;
  readonly server_keys: Readonly<Record<string, string>>;
  readonly recovery_code?: string;
}

/** How the process ended. */
export interface SidecarExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it said about it, if it did. */
  readonly error: KeepDBError | null;
  /** The last lines of its standard error. */
  readonly stderr: string;
}

export class Sidecar {
  /** Resolves when the process has ended; never rejects. */
  readonly exited: Promise<SidecarExit>;
  /** Without pipes if it could not be started. */
  readonly #child: ChildProcess;
  readonly #stopMs: number;
  #stderr = "";
  #failure: ErrorParts | null = null;
  #onLine: (line: Record<string, unknown>) => void = () => undefined;

  private constructor(launch: Launch, publicKey: string) {
    const [program, ...args] = commandLine(launch);
    const frame = secretFrame(launch, publicKey);
    this.#stopMs = launch.stopTimeoutMs ?? STOP_MS;
    this.#child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...launch.environment },
      windowsHide: true,
    });
    this.exited = this.#watch();
    const { stdin } = this.#child;
    // It may end before it has read the frame; how it ended says why.
    stdin?.on("error", () => undefined);
    stdin?.write(frame, () => frame.fill(0));
  }

  /** Start and wait until it is ready. Rejects with KeepDBError: its own words, or `start_failed`. */
  static async start(
    launch: Launch,
    publicKey: string,
    signal?: AbortSignal,
  ): Promise<{ sidecar: Sidecar; ready: Ready }> {
    signal?.throwIfAborted();
    const sidecar = new Sidecar(launch, publicKey);
    try {
      return { sidecar, ready: await sidecar.#ready(launch.startTimeoutMs ?? START_MS, signal) };
    } catch (error) {
      await sidecar.#kill();
      throw error;
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Close the lifeline and wait for the orderly end; past the time limit it is killed. */
  async stop(): Promise<SidecarExit> {
    this.#child.stdin?.end();
    const timers = [
      setTimeout(() => this.#child.kill("SIGTERM"), this.#stopMs),
      setTimeout(() => this.#child.kill("SIGKILL"), this.#stopMs + TERM_MS),
    ];
    try {
      return await this.exited;
    } finally {
      timers.forEach(clearTimeout);
    }
  }

  async #kill(): Promise<void> {
    this.#child.stdin?.destroy();
    this.#child.kill("SIGKILL");
    await this.exited;
  }

  #watch(): Promise<SidecarExit> {
    const child = this.#child;
    const { stdout, stderr } = child;
    stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARS_MAX);
    });
    if (stdout) {
      createInterface({ input: stdout }).on("line", (line) => this.#take(line));
    }
    return new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        const error = this.#failure && new KeepDBError(this.#failure);
        resolve({ code, signal, error, stderr: lastLines(this.#stderr) });
      };
      child.on("error", (error) => {
        this.#failure ??= {
          code: "start_failed",
          message: `The database process could not be started: ${error.message}.`,
          fix: "Check `command`: the program must exist and be executable.",
        };
        if (child.pid === undefined) {
          end(null, null);
        }
      });
      // Not at once: its last words may still be in the pipes.
      let timer: ReturnType<typeof setTimeout> | undefined;
      child.on("exit", (code, signal) => {
        timer = setTimeout(() => {
          stdout?.destroy();
          stderr?.destroy();
          end(code, signal);
        }, LAST_WORDS_MS);
      });
      child.on("close", (code, signal) => {
        clearTimeout(timer);
        end(code, signal);
      });
    });
  }

  #take(text: string): void {
    let line: Record<string, unknown> | null;
    try {
      line = JSON.parse(text) as Record<string, unknown> | null;
    } catch {
      return;
    }
    if (typeof line !== "object" || line === null) {
      return;
    }
    if (line["event"] === "failed") {
      this.#failure = line as unknown as ErrorParts;
    }
    this.#onLine(line);
  }

  #ready(timeoutMs: number, signal: AbortSignal | undefined): Promise<Ready> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(this.#startFailed(`was silent for ${timeoutMs} ms without a ready line`)),
        timeoutMs,
      );
      const abort = (): void => reject(signal?.reason as Error);
      signal?.addEventListener("abort", abort, { once: true });
      this.#onLine = (line) => {
        if (line["event"] === "ready") {
          const ready = line as unknown as Ready;
          if (ready.protocol === PROTOCOL) {
            resolve(ready);
          } else {
            reject(otherProtocol(ready));
          }
        }
      };
      void this.exited.then(({ code, signal: killedBy }) => {
        reject(this.#startFailed(`ended with ${killedBy ?? `status ${String(code)}`} before it was ready`));
      });
      const settled = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#onLine = () => undefined;
      };
      const settling = { resolve, reject };
      resolve = (value) => {
        settled();
        settling.resolve(value);
      };
      reject = (reason) => {
        settled();
        settling.reject(reason);
      };
    });
  }

  /** Its own words if it said any, and the end of its standard error. */
  #startFailed(what: string): KeepDBError {
    const lines = lastLines(this.#stderr);
    const parts = this.#failure ?? {
      code: "start_failed",
      message: `The database process ${what}.`,
      fix: "Look at its standard error and at logs/supervisor.jsonl in the data directory.",
    };
    const tail = lines === "" ? "" : `\nIts last lines:\n${lines}`;
    return new KeepDBError({ ...parts, message: parts.message + tail });
  }
}

function lastLines(text: string): string {
  return text.trimEnd().split("\n").slice(-STDERR_LINES_SHOWN).join("\n");
}

function otherProtocol(ready: Ready): KeepDBError {
  return new KeepDBError({
    code: "protocol_error",
    message: `KeepDB ${ready.version} speaks protocol ${ready.protocol}; this client knows ${PROTOCOL}.`,
    fix: "Update both to versions that belong together.",
  });
}
