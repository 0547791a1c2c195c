// Pictures of the main views, for people to look at: dist-e2e/pictures. What a machine can judge is judged here.

import { strict as assert } from "node:assert";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Host } from "./host.js";
import * as screen from "./screen.js";

const PICTURES = join(import.meta.dirname, "pictures");

let host: Host;

before(async () => {
  await mkdir(PICTURES, { recursive: true });
  host = await Host.start();
  await furnish(host);
});

after(() => host.close());

for (const colorScheme of ["light", "dark"] as const) {
  test(`the hub in ${colorScheme} colours fits its window and can be read`, async () => {
    const window = await host.openWindow({ colorScheme });
    await screen.isLive(window);
    await screen.shows(window, ".messages p", TALK.map(([, text]) => text));
    await window.page.screenshot({ path: join(PICTURES, `hub-${colorScheme}.png`) });
    await window.page.getByLabel("Filter by name").fill("pa");
    await screen.shows(window, ".memory .name", [
      "Paint the fence before the rain comes",
      "Was in Paris with Jo",
      "Keeps a spare key at the neighbour's",
    ]);
    await window.page.screenshot({ path: join(PICTURES, `filter-${colorScheme}.png`) });

    assert.deepEqual(await faintTexts(window), []);
    assert.equal(await window.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
  });
}

test("the picture for the documentation shows a hub with something in it", async () => {
  const window = await host.openWindow({ width: 1280, height: 520 });
  await screen.isLive(window);
  await screen.shows(window, ".messages p", TALK.map(([, text]) => text));
  await window.page.screenshot({ path: join(PICTURES, "persona-hub.png") });
});

test("an empty hub and a narrow window look as if they were meant", async () => {
  const narrow = await host.openWindow({ width: 420, height: 900 });
  await screen.isLive(narrow);
  await narrow.page.screenshot({ path: join(PICTURES, "narrow.png"), fullPage: true });
  assert.equal(await narrow.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
  const empty = await Host.start();
  try {
    const window = await empty.openWindow({ width: 1000, height: 600 });
    await window.page.getByText("Nobody is here yet").waitFor();
    await window.page.screenshot({ path: join(PICTURES, "empty.png") });
  } finally {
    await empty.close();
  }
});

const TALK = [
  ["user", "What is left to do in the garden?"],
  ["assistant", "The fence wants paint before the rain comes on Thursday. Everything else can wait."],
  ["user", "Remind me tomorrow morning."],
  ["assistant", "I will. You meant to ask Jo for the long ladder too."],
] as const;

const KNOWN = [
  ["Paint the fence before the rain comes", "task", 90],
  ["Jo lends the long ladder", "person", 78],
  ["Was in Paris with Jo", "event", 64],
  ["Tea in the morning, no coffee", "knowledge", 60],
  ["Why hedgehogs are welcome", "concept", 47],
  ["Keeps a spare key at the neighbour's", "knowledge", 42],
  ["First talk about the garden", "conversation", 30],
] as const;

/** A persona with something to show. */
async function furnish({ keepdb }: Host): Promise<void> {
  const [ada] = (await keepdb.commit("personas.created", { name: "Ada", description: "Garden and house" })).ids;
  await keepdb.commit("personas.created", { name: "Bert", description: "Travels" });
  await keepdb.commit("personas.created", { name: "Zoe" });
  const personaId = ada as string;
  await keepdb.call("personas.activate", personaId);
  for (const [name, type, importance] of KNOWN) {
    await keepdb.commit("memoryEntities.created", { personaId, name, type, importance });
  }
  const [talk] = (await keepdb.commit("conversations.created", { personaId, title: "The garden" })).ids;
  for (const [role, content] of TALK) {
    await keepdb.call("conversations.addMessage", talk as string, { role, content });
  }
}

/** Texts with less contrast than WCAG 2.2 AA asks for (4.5 to 1), each with its ratio. */
function faintTexts({ page }: { page: import("playwright-core").Page }): Promise<string[]> {
  return page.evaluate(() => {
    const channels = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = (color: string) => {
      const [r = 0, g = 0, b = 0] = channels(color).map((value) => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element: Element | null): string => {
      for (let at = element; at; at = at.parentElement) {
        const color = getComputedStyle(at).backgroundColor;
        if (channels(color)[3] !== 0) {
          return color;
        }
      }
      return "rgb(255, 255, 255)";
    };
    return [...document.querySelectorAll<HTMLElement>("body *")]
      .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim()))
      .filter((element) => element.offsetParent && !element.closest(":disabled, .hidden"))
      .map((element) => {
        const [one, two] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        return { text: element.textContent, ratio };
      })
      .filter(({ ratio }) => ratio < 4.5)
      .map(({ text, ratio }) => `${text}: ${ratio.toFixed(1)}`);
  });
}
