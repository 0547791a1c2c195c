// Imported first, so that nothing that loads ZeroMQ is evaluated where it must not be: its sockets abort the whole process
// when a worker thread ends, and a renderer may not load native code at all.

import { isMainThread } from "node:worker_threads";

import { KeepDBError } from "../core/errors.js";

const kind = (process as { type?: string }).type;

if (!isMainThread || kind === "renderer" || kind === "worker") {
  throw new KeepDBError({
    code: "wrong_process",
    message: `@keepdb/client/main was loaded in a ${isMainThread ? "renderer" : "worker thread"}.`,
    fix: "Load it in the main process only. Windows and workers connect() over a MessagePort that the main process attach()es.",
  });
}
