// The hub as its users see it, in real Chromium, two windows on one database.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";

import { Host, type Window } from "./host.js";
import * as screen from "./screen.js";
import { MEMORIES, MESSAGES, PERSONAS } from "./screen.js";

let host: Host;
let one: Window;
let two: Window;

before(async () => {
  host = await Host.start();
  [one, two] = [await host.openWindow(), await host.openWindow()];
});

after(() => host.close());

test("a persona made in one window appears in the other", async () => {
  await screen.createPersona(one, "Ada");
  await screen.createPersona(two, "Bert");

  await screen.shows(one, PERSONAS, ["Ada", "Bert"]);
  await screen.shows(two, PERSONAS, ["Ada", "Bert"]);
});

test("activating a persona lets the one before go, in the same moment everywhere", async () => {
  await one.page.getByRole("button", { name: "Activate Ada" }).click();
  await two.page.getByRole("button", { name: "Ada is active" }).waitFor();
  await two.page.evaluate(() => {
    const counts: number[] = [];
    new MutationObserver(() => counts.push(document.querySelectorAll('.activate[aria-pressed="true"]').length)).observe(
      document.body,
      { subtree: true, childList: true, attributes: true },
    );
    Object.assign(window, { counts });
  });

  await one.page.getByRole("button", { name: "Activate Bert" }).click();

  await two.page.getByRole("button", { name: "Bert is active" }).waitFor();
  const counts = await two.page.evaluate(() => (window as unknown as { counts: number[] }).counts);
  assert.deepEqual([...new Set(counts)], [1]);
});

test("a new memory enters at the place its importance gives it, in both windows", async () => {
  await screen.choosePersona(one, "Ada");
  await screen.choosePersona(two, "Ada");
  await screen.remember(one, "Likes tea", 40);
  await screen.remember(one, "Paint the fence", 70, "task");
  await screen.remember(two, "Was in Paris", 55, "event");

  await screen.shows(one, MEMORIES, ["Paint the fence", "Was in Paris", "Likes tea"]);
  await screen.shows(two, MEMORIES, ["Paint the fence", "Was in Paris", "Likes tea"]);
});

test("a memory that becomes more important moves up", async () => {
  for (let step = 0; step < 4; step++) {
    await one.page.getByRole("button", { name: "Was in Paris: more important" }).click();
  }

  await screen.shows(two, MEMORIES, ["Was in Paris", "Paint the fence", "Likes tea"]);
});

test("the filter narrows while somebody types, and what is written elsewhere appears only if it fits", async () => {
  const box = one.page.getByLabel("Filter by name");
  await box.pressSequentially("pa");
  await screen.shows(one, MEMORIES, ["Was in Paris", "Paint the fence"]);
  await box.pressSequentially("r");
  await screen.shows(one, MEMORIES, ["Was in Paris"]);

  await screen.remember(two, "A spare key at the neighbour's", 90);
  await screen.remember(two, "Learns Greek", 80);

  await screen.shows(one, MEMORIES, ["A spare key at the neighbour's", "Was in Paris"]);
  await box.fill("100 %_");
  await screen.shows(one, MEMORIES, []);
  await box.fill("");
  await one.page.getByLabel("Least importance").fill("60");
  await one.page.getByLabel("Most importance").fill("80");
  await screen.shows(one, MEMORIES, ["Learns Greek", "Was in Paris", "Paint the fence"]);
  await one.page.getByLabel("Least importance").fill("0");
  await one.page.getByLabel("Most importance").fill("100");
});

test("counts by type follow every change", async () => {
  const counts = () => two.page.locator(".counts button").allTextContents();
  await screen.shows(two, ".counts button", [
    "person 0",
    "concept 0",
    "event 1",
    "task 1",
    "conversation 0",
    "knowledge 3",
  ]);
  await one.page.getByRole("button", { name: "Forget Learns Greek" }).click();
  await two.page.getByRole("button", { name: "knowledge 2" }).waitFor();
  await screen.remember(one, "Eve", 10, "person");
  await two.page.getByRole("button", { name: "person 1" }).waitFor();
  assert.deepEqual(await counts(), [
    "person 1",
    "concept 0",
    "event 1",
    "task 1",
    "conversation 0",
    "knowledge 2",
  ]);
});

test("only as many rows as asked for are shown, and the next one moves up when one goes", async () => {
  await one.page.getByLabel("Rows at most").selectOption("5");
  await screen.remember(two, "Sixth", 1);
  await screen.shows(one, MEMORIES, [
    "A spare key at the neighbour's",
    "Was in Paris",
    "Paint the fence",
    "Likes tea",
    "Eve",
  ]);

  await two.page.getByRole("button", { name: "Forget Likes tea" }).click();

  await screen.shows(one, MEMORIES, [
    "A spare key at the neighbour's",
    "Was in Paris",
    "Paint the fence",
    "Eve",
    "Sixth",
  ]);
});

test("messages said in one window are read in the other, in order", async () => {
  await one.page.getByRole("button", { name: "New", exact: true }).click();
  await one.page.getByLabel("Message", { exact: true }).waitFor();
  await screen.say(one, "Good morning");
  await screen.shows(two, MESSAGES, ["Good morning"]);
  await screen.say(two, "Did you sleep well?", "Ada");
  await screen.shows(one, MESSAGES, ["Good morning", "Did you sleep well?"]);
});

test("what the database refuses is said, with what to do about it", async () => {
  await one.page.evaluate(() => document.querySelector(".memories .new input[type=number]")?.removeAttribute("max"));
  const form = one.page.locator(".memories .new");
  await form.getByLabel("Importance of the new memory").fill("101");
  await form.getByLabel("Something to remember").fill("Too important");
  await form.getByRole("button", { name: "Remember" }).click();

  await one.page.getByRole("alert").getByText("importance").waitFor();
  await one.page.getByRole("button", { name: "Dismiss" }).click();
  assert.equal(await one.page.locator(".notice").count(), 0);
});

test("a keyboard is enough", async () => {
  await screen.createPersona(two, "Zoe");
  const { page } = one;
  await page.locator(".choose", { hasText: "Zoe" }).waitFor();
  await page.locator(".choose", { hasText: "Ada" }).focus();
  // Ada's star, Bert, his star, Zoe.
  for (let tab = 0; tab < 4; tab++) {
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "What Zoe knows" }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("x");
  assert.equal(await page.getByLabel("Filter by name").inputValue(), "x");
});

test("nothing broke the policy, and nothing went wrong unseen", () => {
  assert.deepEqual([...one.complaints, ...two.complaints], []);
});
