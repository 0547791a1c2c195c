// What the database process is told at its start: arguments without secrets, and the secret frame on its standard input.

import { KeepDBError } from "../core/errors.js";

export interface Secrets {
  /** 1 to 4096 bytes of UTF-8. */
  readonly passphrase?: string | undefined;
  /** 32 to 1024 random bytes that the system's keychain keeps (Electron: safeStorage). */
  readonly keychain?: Uint8Array | undefined;
  /** Which store keeps it; `basic_text` needs a passphrase too. */
  readonly keychainNote?: string | undefined;
  /** The recovery code, to open an existing database. */
  readonly recovery?: string | undefined;
}

export interface Launch extends Secrets {
  /** The data directory. */
  readonly directory: string;
  /** The program and its first arguments; default ["keepdb"]. */
  readonly command?: readonly string[] | undefined;
  /** Settings by "section.key", see docs/configuration.md. */
  readonly settings?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** Added to the environment of the database process. Never put secrets there. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Start to ready, in ms; default 30 000. Rebuilding a large state takes longer. */
  readonly startTimeoutMs?: number | undefined;
  /** How long the orderly end may take before the process is killed, in ms; default 15 000. */
  readonly stopTimeoutMs?: number | undefined;
}

/** Program and arguments. Throws KeepDBError `usage`. */
export function commandLine(launch: Launch): readonly [program: string, ...rest: string[]] {
  const [program, ...rest] = launch.command ?? ["keepdb"];
  if (program === undefined || launch.directory === "") {
    throw new KeepDBError({
      code: "usage",
      message: "createDatabase() needs a directory and, if given, a command with at least the program.",
      fix: "For example {directory: path.join(app.getPath('userData'), 'data'), command: ['/opt/app/keepdb']}.",
    });
  }
  const settings = Object.entries(launch.settings ?? {}).map(([name, value]) => `--set=${name}=${String(value)}`);
  return [program, ...rest, "host", `--data=${launch.directory}`, ...settings];
}

/** The secret frame: length and JSON. publicKey: ours, the only one that may speak to the database. */
export function secretFrame(secrets: Secrets, publicKey: string): Buffer {
  const { passphrase, keychain, keychainNote, recovery } = secrets;
  const content = Buffer.from(
    JSON.stringify({
      v: 1,
      passphrase,
      keychain: keychain && Buffer.from(keychain).toString("base64"),
      keychainNote,
      recovery,
      clients: { [publicKey]: "app" },
    }),
  );
  const frame = Buffer.alloc(4 + content.length);
  frame.writeUInt32BE(content.length);
  content.copy(frame, 4);
  content.fill(0);
  return frame;
}
