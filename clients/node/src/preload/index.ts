// For preload scripts: passes the port that the main process sends on to the page, and exposes nothing. It needs nothing but
// Electron, so that it works with `sandbox: true` and `contextIsolation: true`, bundled or as the file it is.

import { ipcRenderer } from "electron";

const PORT_MESSAGE = "keepdb-port";
const PORT_WANTED = "keepdb-port-wanted";

let port: MessagePort | undefined;
let isWanted = false;

/** The page may not listen yet when the port comes, or ask before it has come: pass it on when both are so far. */
function passOn(): void {
  if (port !== undefined && isWanted) {
    // Our own window is the only one that can receive it, whatever its origin is called (pages from files have none).
    window.postMessage(PORT_MESSAGE, "*", [port]);
    port = undefined;
    isWanted = false;
  }
}

ipcRenderer.on(PORT_MESSAGE, (event) => {
  port = event.ports[0];
  passOn();
});

window.addEventListener("message", (event) => {
  if (event.source === window && event.data === PORT_WANTED) {
    isWanted = true;
    passOn();
  }
});
