// The page of the unlock window.

import type { Unlock } from "./bridge.js";

declare const unlock: Unlock;

const find = <Found extends HTMLElement>(selector: string): Found => document.querySelector<Found>(selector) as Found;

find("#reason").textContent = await unlock.reason();
find<HTMLFormElement>("form").addEventListener("submit", (event) => {
  event.preventDefault();
  void unlock.submit(find<HTMLInputElement>("#secret").value, find<HTMLInputElement>("#recovery").checked);
});
