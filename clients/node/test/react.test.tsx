// React hooks in a DOM, on a real database: what is drawn, how often, and what is left behind.

import { strict as assert } from "node:assert";
import { after, afterEach, before, beforeEach, test } from "node:test";

import "./dom.js";

import { type ReactNode, StrictMode, memo, useState } from "react";
import { type Root, createRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";

import { type Database, KeepDBError, type UnknownSchema, connect } from "@keepdb/client";
import { KeepDBProvider, type QueryState, useCommit, useDatabase, useQuery } from "@keepdb/client/react";
import { type TestDatabase, linkedPorts } from "@keepdb/client/testing";

import { start } from "./place.js";
import { WatchedPort } from "./watched-port.js";

const GRACE_MS = 100;
const DEADLINE_MS = 10_000;

let keepdb: TestDatabase<UnknownSchema>;
let port: WatchedPort;
let db: Database;
let root: Root;
let element: HTMLElement;
/** A persona of its own for each test, so that none sees another's memories. */
let personaId: string;

before(async () => {
  keepdb = await start();
});

after(() => keepdb.close());

beforeEach(async () => {
  const [main, window] = linkedPorts();
  keepdb.database.attach(main);
  port = new WatchedPort(window);
  db = await connect(port, { liveGraceMs: GRACE_MS });
  element = document.createElement("div");
  root = createRoot(element);
  personaId = (await db.commit("personas.created", { name: "Ada" })).ids[0] as string;
});

afterEach(async () => {
  root.unmount();
  await db.close();
});

test("rows are drawn, and drawn again when they change", async () => {
  await remember("tea", 40);
  draw(<Names />);
  await shows("live: tea");

  await remember("paint", 70);

  await shows("live: paint tea");
});

test("a query that is built anew in every render keeps its one subscription", async () => {
  const counter = { renders: 0 };
  let again: () => void = () => undefined;
  function Restless(): ReactNode {
    const [turn, setTurn] = useState(0);
    again = () => setTurn(turn + 1);
    counter.renders++;
    return <Names label={turn} />;
  }
  draw(<Restless />);
  await shows("0 live:");
  for (let turn = 1; turn <= 10; turn++) {
    again();
    await shows(`${turn} live:`);
  }

  assert.equal(counter.renders, 11);
  assert.deepEqual(port.counts(), { held: 1, released: 0 });
});

test("components with equal queries share one subscription, however the queries are written", async () => {
  function Other(): ReactNode {
    const own = useDatabase();
    const { data } = useQuery(
      own.from("memoryEntities").select("name", "importance").orderBy("-importance").where({ personaId }),
    );
    return <i>{data.length}</i>;
  }
  await remember("tea", 40);
  draw(
    <>
      <Names />
      <Other />
      <Names />
    </>,
  );
  await shows("live: tea1live: tea");
  assert.deepEqual(port.counts(), { held: 1, released: 0 });
});

test("strict mode, which mounts everything twice, subscribes once and stays live", async () => {
  draw(
    <StrictMode>
      <Names />
    </StrictMode>,
  );
  await shows("live:");
  await remember("tea", 40);
  await shows("live: tea");
  assert.deepEqual(port.counts(), { held: 1, released: 0 });
});

test("an unmounted component lets its subscription go, but not at once", async () => {
  draw(<Names />);
  await shows("live:");
  draw(null);
  await shows("");
  assert.deepEqual(port.counts(), { held: 1, released: 0 });

  await until(() => port.counts().released === 1);
  assert.deepEqual(port.counts(), { held: 1, released: 1 });
});

test("a component that comes back soon has its rows in the first render", async () => {
  await remember("tea", 40);
  draw(<Names />);
  await shows("live: tea");
  draw(null);
  await shows("");
  const states: QueryState<object>[] = [];
  draw(<Names onState={(state) => states.push(state)} />);
  await shows("live: tea");

  assert.deepEqual(states.map(({ status }) => status), ["live"]);
  assert.deepEqual(port.counts(), { held: 1, released: 0 });
});

test("only the rows that have changed are drawn again", async () => {
  const drawn: string[] = [];
  const Row = memo(function Row({ row }: { row: Memory }): ReactNode {
    drawn.push(row.name);
    return <b>{row.name} </b>;
  });
  function List(): ReactNode {
    return useMemories().data.map((row) => <Row key={row.id} row={row} />);
  }
  await remember("tea", 40);
  const paint = await remember("paint", 70);
  await remember("paris", 55);
  draw(<List />);
  await shows("paint paris tea ");
  drawn.length = 0;

  await db.commit("memoryEntities.updated", { importance: 10 }, { id: paint });
  await shows("paris tea paint ");
  await remember("moon", 90);
  await shows("moon paris tea paint ");

  assert.deepEqual(drawn, ["paint", "moon"]);
});

test("without a query it is idle; with one it goes live", async () => {
  await remember("tea", 40);
  draw(<Names wanted={false} />);
  await shows("idle:");
  assert.deepEqual(port.counts(), { held: 0, released: 0 });
  draw(<Names />);
  await shows("live: tea");
  draw(<Names wanted={false} />);
  await shows("idle:");
});

test("a query that the database refuses ends in its error", async () => {
  const states: QueryState<object>[] = [];
  function Wrong(): ReactNode {
    const state = useQuery(useDatabase().from("nobody"));
    states.push(state);
    return state.status;
  }
  draw(<Wrong />);
  await shows("error");
  const { error } = states.at(-1) as QueryState<object>;
  assert.ok(error instanceof KeepDBError);
  assert.equal(error.code, "query_unknown_collection");
});

test("while another query loads there are no rows, or those of the one before if that is wanted", async () => {
  await remember("tea", 40);
  await remember("paint", 70);
  for (const [keepPrevious, between] of [
    [false, 0],
    [true, 2],
  ] as const) {
    const states: QueryState<object>[] = [];
    draw(<Names key={String(keepPrevious)} keepPrevious={keepPrevious} />);
    await shows("live: paint tea");
    const note = (state: QueryState<object>): unknown => states.push(state);
    draw(<Names key={String(keepPrevious)} keepPrevious={keepPrevious} least={50} onState={note} />);
    await shows("live: paint");
    const loading = states.find(({ status }) => status === "loading") as QueryState<object>;
    assert.equal(loading.data.length, between);
    draw(null);
    await until(() => port.counts().held === port.counts().released);
  }
});

test("another database in the provider means other rows", async () => {
  await remember("tea", 40);
  draw(<Names />);
  await shows("live: tea");
  const other = await keepdb.openWindow();
  try {
    await other.commit("memoryEntities.created", { personaId, name: "moon", type: "task", importance: 90 });
    root.render(
      <KeepDBProvider db={other}>
        <Names />
      </KeepDBProvider>,
    );
    await shows("live: moon tea");
    await until(() => port.counts().released === 1);
  } finally {
    root.render(null);
    await other.close();
  }
});

test("useCommit gives the same function in every render, and it commits", async () => {
  const found: unknown[] = [];
  function Button({ turn }: { turn: number }): ReactNode {
    const commit = useCommit();
    found.push(commit);
    const add = () => void commit("memoryEntities.created", { personaId, name: "tea", type: "task" });
    return <button onClick={add}>{turn}</button>;
  }
  draw(<Button turn={1} />);
  await shows("1");
  draw(<Button turn={2} />);
  await shows("2");
  element.querySelector("button")?.click();
  draw(<Names />);
  await shows("live: tea");
  assert.equal(new Set(found).size, 1);
});

test("without a provider the error says what to do", () => {
  assert.throws(() => renderToString(<Names />), /Put <KeepDBProvider db=\{db\}> around/);
});

test("on a server everything is loading, and nothing is subscribed", () => {
  const html = renderToString(
    <KeepDBProvider db={db}>
      <Names />
    </KeepDBProvider>,
  );
  assert.match(html, /loading/);
  assert.deepEqual(port.counts(), { held: 0, released: 0 });
});

type Memory = { readonly id: string; readonly name: string };

function useMemories(least?: number, keepPrevious = false, wanted = true): QueryState<Memory> {
  const query = useDatabase()
    .from("memoryEntities")
    .where({ personaId, ...(least === undefined ? {} : { importance: { ">=": least } }) })
    .orderBy("-importance")
    .select("name", "importance");
  return useQuery(wanted ? query : null, { keepPrevious }) as unknown as QueryState<Memory>;
}

interface NamesProps {
  label?: number;
  least?: number;
  keepPrevious?: boolean;
  wanted?: boolean;
  onState?: (state: QueryState<object>) => unknown;
}

function Names({ label, least, keepPrevious, wanted, onState }: NamesProps): ReactNode {
  const state = useMemories(least, keepPrevious, wanted);
  onState?.(state);
  const names = state.data.map(({ name }) => name);
  return [label, `${state.status}:`, ...names].filter((part) => part !== undefined).join(" ");
}

function draw(children: ReactNode): void {
  root.render(children === null ? null : <KeepDBProvider db={db}>{children}</KeepDBProvider>);
}

async function remember(name: string, importance: number): Promise<string> {
  const { ids } = await db.commit("memoryEntities.created", { personaId, name, type: "task", importance });
  return ids[0] as string;
}

function shows(text: string): Promise<void> {
  return until(() => element.textContent === text, () => `${element.textContent} instead of ${text}`);
}

/** Looks again after every turn of the event loop: nothing else would say that React has drawn. */
async function until(holds: () => boolean, found: () => string = () => "it did not come to that"): Promise<void> {
  const end = performance.now() + DEADLINE_MS;
  while (!holds()) {
    assert.ok(performance.now() < end, found());
    await new Promise((turn) => setTimeout(turn, 1));
  }
}
