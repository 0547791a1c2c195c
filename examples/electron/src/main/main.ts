// The main process: opens the database, then windows; ends with the last of them, and the database with it.

import { app, BrowserWindow, clipboard, dialog, Menu, protocol, safeStorage, session } from "electron";
import { createDatabase, type MainDatabase } from "@keepdb/client/main";
import { KeepDBError } from "@keepdb/client";
import { join } from "node:path";

import type { Schema } from "../generated/schema.js";
import { command } from "./command.js";
import { keychainSecret } from "./keychain.js";
import { serve } from "./pages.js";
import { smoke } from "./smoke.js";
import { askForSecret, type Secret } from "./unlock.js";
import { openWindow } from "./windows.js";

const SMOKE = process.argv.includes("--smoke");

async function main(): Promise<void> {
  await app.whenReady();
  protocol.handle("app", (request) => serve(import.meta.dirname, request.url));
  session.defaultSession.setPermissionRequestHandler((_contents, _permission, answer) => answer(false));
  if (SMOKE) return app.exit(await smoke());
  const keepdb = await open();
  if (!keepdb) return app.quit();
  closeWithApp(keepdb);
  if (keepdb.recoveryCode) await showRecoveryCode(keepdb.recoveryCode);
  setMenu(keepdb);
  openWindow(keepdb);
  app.on("second-instance", () => openWindow(keepdb));
  app.on("activate", () => BrowserWindow.getAllWindows().length || openWindow(keepdb));
}

/** The opened database; null if the user would not unlock it. */
async function open(): Promise<MainDatabase<Schema> | null> {
  const home = app.getPath("userData");
  const keychain = await keychainSecret(safeStorage, join(home, "keychain.bin"));
  let secret: Secret | null = keychain
    ? { keychain }
    : await askForSecret("This system has no keychain that could keep a secret. Choose or enter a passphrase.");
  while (secret) {
    try {
      return await createDatabase<Schema>({ directory: join(home, "database"), command: command(), ...secret });
    } catch (error) {
      if (!(error instanceof KeepDBError) || error.code !== "wrong_key") throw error;
      secret = await askForSecret(`${error.message} ${error.fix}`);
    }
  }
  return null;
}

/** Quitting waits until the database has stopped in order. */
function closeWithApp(keepdb: MainDatabase<Schema>): void {
  let closed = false;
  app.on("will-quit", (event) => {
    if (closed) return;
    event.preventDefault();
    void keepdb.close().finally(() => {
      closed = true;
      app.quit();
    });
  });
}

async function showRecoveryCode(code: string): Promise<void> {
  const { response } = await dialog.showMessageBox({
    type: "info",
    message: "Keep this recovery code",
    detail: `${code}\n\nIt opens your data when the keychain or the passphrase is lost. It is shown only now.`,
    buttons: ["Copy", "I have written it down"],
    defaultId: 1,
  });
  if (response === 0) clipboard.writeText(code);
}

function setMenu(keepdb: MainDatabase<Schema>): void {
  Menu.setApplicationMenu(
    Menu.buildFromTemplate([
      ...(process.platform === "darwin" ? [{ role: "appMenu" as const }] : []),
      {
        label: "File",
        submenu: [
          { label: "New Window", accelerator: "CmdOrCtrl+N", click: () => openWindow(keepdb) },
          { role: "close" },
        ],
      },
      { role: "editMenu" },
      { role: "viewMenu" },
      { role: "windowMenu" },
    ]),
  );
}

// Pages stay where they are, and open nothing.
app.on("web-contents-created", (_event, contents) => {
  contents.setWindowOpenHandler(() => ({ action: "deny" }));
  contents.on("will-navigate", (event) => event.preventDefault());
});
// A window that asks for a passphrase may close before another opens; macOS keeps apps without windows anyway.
app.on("window-all-closed", () => {
  if (process.platform !== "darwin" && !SMOKE) app.quit();
});
protocol.registerSchemesAsPrivileged([{ scheme: "app", privileges: { standard: true, secure: true } }]);
if (SMOKE || app.requestSingleInstanceLock()) {
  main().catch((error: unknown) => {
    const text = error instanceof KeepDBError ? `${error.message}\n\n${error.fix}` : String(error);
    if (SMOKE) console.error(text);
    else dialog.showErrorBox("Persona Hub could not start", text);
    app.exit(1);
  });
} else {
  app.quit();
}
