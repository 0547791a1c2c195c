// `npm run smoke`: for machines that have Electron. Makes a database in a temporary directory, opens a window in the
// background, and passes when that shows a persona which the main process has committed and one the window commits.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDatabase } from "@keepdb/client/main";
import { safeStorage } from "electron";

import type { Schema } from "../generated/schema.js";
import { command } from "./command.js";
import { openWindow } from "./windows.js";

const DEADLINE_MS = 30_000;

/** Exit status: 0 passed, 1 failed. Each step is a line on standard output. */
export async function smoke(): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "keepdb-smoke-"));
  const say = (line: string) => console.log(`smoke: ${line}`);
  try {
    say(`Electron ${process.versions.electron}, Node ${process.versions.node}`);
    say(`keychain ${(await safeStorage.isAsyncEncryptionAvailable()) ? "available" : "not available"}`);
    await using keepdb = await createDatabase<Schema>({
      directory: join(directory, "database"),
      passphrase: "only for this smoke test",
      command: command(),
      startTimeoutMs: DEADLINE_MS,
    });
    say("database ready");
    await keepdb.commit("personas.created", { name: "Made in main" });
    const window = openWindow(keepdb, { show: false });
    await window.webContents.executeJavaScript(`(${inPage})(${DEADLINE_MS})`);
    say("the window shows what main committed, and its own commit");
    const { rows } = await keepdb.from("personas").orderBy("name").get();
    if (rows.map((row) => row.name).join() !== "Made in main,Made in page") throw new Error("main sees other rows");
    say("main sees the window's commit");
    window.destroy();
    say("passed");
    return 0;
  } catch (error) {
    console.error("smoke: failed:", error);
    return 1;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs in the page: types a name into the form as a user would, and waits for both personas. */
async function inPage(deadlineMs: number): Promise<void> {
  const end = Date.now() + deadlineMs;
  const until = async <Found>(what: string, find: () => Found | null | undefined | false): Promise<Found> => {
    for (;;) {
      const found = find();
      if (found) return found;
      if (Date.now() > end) throw new Error(`the window does not show ${what}`);
      await new Promise((again) => setTimeout(again, 20));
    }
  };
  const shown = (name: string) =>
    [...document.querySelectorAll(".persona .name")].some((element) => element.textContent === name);
  await until("the persona made in main", () => shown("Made in main"));
  const field = await until("the form", () => document.querySelector<HTMLInputElement>(".personas .new input"));
  // Past React's own property on the element, which would not notice the change.
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value")?.set?.call(field, "Made in page");
  field.dispatchEvent(new Event("input", { bubbles: true }));
  await until("that the form can be sent", () => field.form?.querySelector("button:not(:disabled)"));
  field.form?.requestSubmit();
  await until("the persona made in the page", () => shown("Made in page"));
}
