// For the main process of Electron, or any Node process: the only entry that loads ZeroMQ.

import "./guard.js";

export { type AttachOptions, attachWindow, type MessageChannelMainLike, type WebContentsLike } from "./electron.js";
export type { DatabaseStatus } from "./keeper.js";
export type { Launch, Secrets } from "./launch.js";
export { type CreateOptions, MainDatabase, createDatabase } from "./main-database.js";
export type { SidecarExit } from "./sidecar.js";
export * from "../index.js";
