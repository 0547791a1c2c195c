// What a user does with a window and sees in it.

import { strict as assert } from "node:assert";

import type { Window } from "./host.js";

const DEADLINE_MS = 20_000;

export const PERSONAS = ".persona .name";
export const MEMORIES = ".memory .name";
export const MESSAGES = ".messages p";

/** Waits until the texts of these elements are exactly those, in that order. */
export async function shows({ page, complaints }: Window, selector: string, texts: string[]): Promise<void> {
  try {
    await page.waitForFunction(
      ([selector, texts]) => {
        const found = [...document.querySelectorAll(selector as string)].map((element) => element.textContent);
        return JSON.stringify(found) === JSON.stringify(texts);
      },
      [selector, texts] as const,
      { timeout: DEADLINE_MS },
    );
  } catch (error) {
    // Says what there was instead; if it has come right meanwhile, it came too late.
    assert.deepEqual(await page.locator(selector).allTextContents(), texts, complaints.join("\n") || undefined);
    throw error;
  }
}

/** Waits until every panel says that it is up to date. */
export async function isLive({ page, complaints }: Window): Promise<void> {
  try {
    await page.waitForFunction(
      () => {
        const panels = [...document.querySelectorAll<HTMLElement>(".freshness")];
        return panels.length > 0 && panels.every((panel) => panel.dataset.status === "live");
      },
      undefined,
      { timeout: DEADLINE_MS },
    );
  } catch {
    assert.fail(`not live: ${await page.locator("body").innerText()} ${complaints.join("\n")}`);
  }
}

export async function createPersona({ page }: Window, name: string): Promise<void> {
  await page.getByLabel("Name of a new persona").fill(name);
  await page.getByRole("button", { name: "Create" }).click();
  await page.locator(PERSONAS, { hasText: name }).waitFor();
}

export async function choosePersona({ page }: Window, name: string): Promise<void> {
  await page.locator(".choose", { hasText: name }).click();
  await page.getByRole("heading", { name: `What ${name} knows` }).waitFor();
}

export async function remember({ page }: Window, name: string, importance: number, type = "knowledge"): Promise<void> {
  const form = page.locator(".memories .new");
  await form.getByLabel("Type").selectOption(type);
  await form.getByLabel("Importance of the new memory").fill(String(importance));
  await form.getByLabel("Something to remember").fill(name);
  await form.getByRole("button", { name: "Remember" }).click();
  // The field is emptied once the commit is safe.
  await page.waitForFunction(
    () => document.querySelector<HTMLInputElement>(".memories .new input")?.value === "",
    undefined,
    { timeout: DEADLINE_MS },
  );
}

export async function say({ page }: Window, text: string, who = "You"): Promise<void> {
  await page.getByLabel("Who speaks").selectOption({ label: who });
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

/** Notes every status any panel shows from now on. */
export async function watchStatuses({ page }: Window): Promise<() => Promise<string[]>> {
  await page.evaluate(() => {
    const seen: string[] = [];
    new MutationObserver((records) => {
      for (const { target } of records) {
        seen.push((target as HTMLElement).dataset.status ?? "");
      }
    }).observe(document.body, { subtree: true, attributeFilter: ["data-status"] });
    Object.assign(window, { seen });
  });
  return () => page.evaluate(() => (window as unknown as { seen: string[] }).seen);
}

/** Waits until a figure read elsewhere is what it should be. */
export async function becomes<Value>(expected: Value, read: () => Promise<Value>): Promise<void> {
  const end = Date.now() + DEADLINE_MS;
  for (let found = await read(); found !== expected; found = await read()) {
    assert.ok(Date.now() < end, `${String(found)} instead of ${String(expected)} after ${DEADLINE_MS} ms`);
  }
}

