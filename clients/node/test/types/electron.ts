// The glue for Electron fits Electron's own types. This file is compiled, never run: there is no Electron here.

import { attachWindow, createDatabase } from "@keepdb/client/main";
import { BrowserWindow, MessageChannelMain, app, safeStorage } from "electron";

import type { Schema } from "../../../../examples/electron/src/generated/schema.js";

const keepdb = await createDatabase<Schema>({
  directory: app.getPath("userData"),
  keychain: safeStorage.encryptString("secret"),
  settings: { "query.workers": 2 },
  onExit: ({ code, signal, error, stderr }) => console.error(code, signal, error?.fix, stderr),
});
const window = new BrowserWindow({ webPreferences: { sandbox: true, contextIsolation: true } });
const detach: () => void = attachWindow(keepdb, window.webContents, { MessageChannelMain });
const { port1 } = new MessageChannelMain();
keepdb.attach(port1);
await using closing = keepdb;
detach();
