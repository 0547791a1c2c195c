// Killed processes and reloaded pages: windows say that their rows may be old, then are right again by themselves.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";

import { Host, type Window } from "./host.js";
import { processes, subscribers } from "./operator.js";
import * as screen from "./screen.js";
import { MEMORIES } from "./screen.js";

let host: Host;
let one: Window;
let two: Window;
/** What the windows must show: most important first. */
const expected: string[] = [];

before(async () => {
  // One query actor, so that each of its deaths concerns every panel.
  host = await Host.start({ "query.workers": 1 });
  [one, two] = [await host.openWindow(), await host.openWindow()];
  await screen.createPersona(one, "Ada");
  await screen.choosePersona(two, "Ada");
});

after(() => host.close());

for (const [turn, victim] of ["query-1", "writer", "supervisor"].entries()) {
  test(`after kill -9 of the ${victim} rows are right again, and none is lost or doubled`, async () => {
    const statuses = await screen.watchStatuses(two);
    const pid = (await processes(host.data)).get(victim) as number;
    const names = [1, 2, 3, 4, 5].map((number) => `${victim} ${number}`);
    for (const [index, name] of names.entries()) {
      if (index === 2) {
        process.kill(pid, "SIGKILL");
      }
      await screen.remember(one, name, 90 - turn * 10 - index);
    }
    expected.push(...names);

    await screen.shows(one, MEMORIES, expected);
    await screen.shows(two, MEMORIES, expected);
    await screen.isLive(one);
    await screen.isLive(two);
    const { rows } = await host.keepdb.from("memoryEntities").orderBy("-importance").select("name").get();
    assert.deepEqual(rows.map(({ name }) => name), expected);
    await screen.becomes(true, async () => (await processes(host.data)).has(victim));
    assert.notEqual((await processes(host.data)).get(victim), pid);
    // Reads do not need the writer: nothing is old because of its death.
    assert.equal((await statuses()).includes("stale"), victim !== "writer");
  });
}

test("a reloaded page is live again and leaves no subscription behind", async () => {
  const held = await subscribers(host.data);
  assert.ok(held > 0);
  for (let time = 0; time < 3; time++) {
    await one.page.reload();
    await screen.shows(one, MEMORIES, expected);
    await screen.isLive(one);
  }

  await screen.becomes(held, () => subscribers(host.data));
});

test("a closed window takes its subscriptions along", async () => {
  const held = await subscribers(host.data);
  const three = await host.openWindow();
  await screen.shows(three, MEMORIES, expected);
  assert.ok((await subscribers(host.data)) > held);

  await three.page.close();

  await screen.becomes(held, () => subscribers(host.data));
});

test("nothing went wrong unseen", () => {
  assert.deepEqual([...one.complaints, ...two.complaints], []);
});
