// Windows of the app: sandboxed, without Node, unable to leave the app's own pages. Each gets a port to the database.

import { join } from "node:path";
import { attachWindow, type MainDatabase } from "@keepdb/client/main";
import { BrowserWindow, MessageChannelMain, type BrowserWindowConstructorOptions, type WebPreferences } from "electron";

import type { Schema } from "../generated/schema.js";

export const secured = (preload: string): WebPreferences => ({
  preload,
  contextIsolation: true,
  sandbox: true,
  nodeIntegration: false,
});

export function openWindow(
  keepdb: MainDatabase<Schema>,
  options: BrowserWindowConstructorOptions = {},
): BrowserWindow {
  const window = new BrowserWindow({
    width: 1280,
    height: 800,
    title: "Persona Hub",
    ...options,
    webPreferences: secured(join(import.meta.dirname, "preload.cjs")),
  });
  attachWindow(keepdb, window.webContents, { MessageChannelMain });
  void window.loadURL("app://hub/index.html");
  return window;
}
