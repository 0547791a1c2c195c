// The two calls the unlock window needs. What the user types goes to the main process and is kept nowhere.

import { contextBridge, ipcRenderer } from "electron";

import type { Unlock } from "./bridge.js";

const unlock: Unlock = {
  reason: () => ipcRenderer.invoke("unlock-reason"),
  submit: (secret, isRecoveryCode) => ipcRenderer.invoke("unlock-submit", secret, isRecoveryCode),
};
contextBridge.exposeInMainWorld("unlock", unlock);
