// Asks the user for a passphrase, where the system has no keychain that could keep a secret for the app.

import { join } from "node:path";
import { BrowserWindow, ipcMain } from "electron";

import { secured } from "./windows.js";

export type Secret = { keychain: Uint8Array } | { passphrase: string } | { recovery: string };

/** What the user typed; null when the window was closed instead. */
export async function askForSecret(reason: string): Promise<Secret | null> {
  const window = new BrowserWindow({
    width: 420,
    height: 300,
    resizable: false,
    title: "Unlock Persona Hub",
    webPreferences: secured(join(import.meta.dirname, "unlock-preload.cjs")),
  });
  try {
    return await new Promise<Secret | null>((resolve, reject) => {
      ipcMain.handle("unlock-reason", () => reason);
      ipcMain.handle("unlock-submit", (_, text: string, isRecoveryCode: boolean) =>
        resolve(isRecoveryCode ? { recovery: text } : { passphrase: text }),
      );
      window.once("closed", () => resolve(null));
      window.loadURL("app://hub/unlock.html").catch(reject);
    });
  } finally {
    ipcMain.removeHandler("unlock-reason");
    ipcMain.removeHandler("unlock-submit");
    if (!window.isDestroyed()) window.destroy();
  }
}
