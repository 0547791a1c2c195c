// Diffs and the identity of rows, without a process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { type RowObject, applyDiff, reconciled } from "../dist/esm/core/rows.js";

const columns = ["id", "name", "importance"];
const rows = (values: unknown[][]): RowObject[] => values.map(([id, name, importance]) => ({ id, name, importance }));

test("the example of the protocol's page comes out as it says", () => {
  const before = rows([
    ["a", "Ann", 90],
    ["b", "Bob", 70],
    ["c", "Cy", 50],
    ["d", "Di", 30],
  ]);
  const after = applyDiff(before, columns, "id", {
    type: "diff",
    sub: "s",
    seq: 1,
    exit: ["a"],
    update: [
      ["b", "Bo", 70],
      ["d", "Di", 80],
    ],
    enter: [[2, ["e", "Eve", 60]]],
    move: [[0, "d"]],
  });
  assert.deepEqual(
    after,
    rows([
      ["d", "Di", 80],
      ["b", "Bo", 70],
      ["e", "Eve", 60],
      ["c", "Cy", 50],
    ]),
  );
  assert.equal(after[3], before[2]);
  assert.equal(before.length, 4);
});

test("random results: the diff between two leads from one to the other, and untouched rows are the same objects", () => {
  const random = mulberry(20_240_607);
  const pick = (count: number): number => Math.floor(random() * count);
  for (let turn = 0; turn < 3_000; turn++) {
    const before = shuffled(pick(8), random).map((id) => ({ id, name: `n${id}`, importance: pick(3) }));
    const kept = before.filter(() => random() < 0.7);
    const fresh = Array.from({ length: pick(3) }, (_, at) => ({ id: 100 + at, name: "new", importance: 0 }));
    const target = shuffledRows(
      [...kept.map((row) => (random() < 0.3 ? { ...row, importance: row.importance + 1 } : row)), ...fresh],
      random,
    );
    const after = applyDiff(before, columns, "id", diffOf(before, target));
    assert.deepEqual(after, target);
    after.forEach((row, at) => before.includes(target[at] as never) && assert.equal(row, target[at]));
  }
});

test("a diff for other rows is refused instead of applied by half", () => {
  const before = rows([["a", "Ann", 90]]);
  const push = { type: "diff", sub: "s", seq: 1 } as const;
  assert.throws(() => applyDiff(before, columns, "id", { ...push, exit: ["x"] }), RangeError);
  assert.throws(() => applyDiff(before, columns, "id", { ...push, update: [["x", "X", 1]] }), RangeError);
  assert.throws(() => applyDiff(before, columns, "id", { ...push, move: [[0, "x"]] }), RangeError);
  assert.throws(() => applyDiff(before, columns, "id", { ...push, enter: [[5, ["x", "X", 1]]] }), RangeError);
});

test("a new snapshot keeps the objects of equal rows, and the whole list where nothing differs", () => {
  const json = (text: string) => JSON.parse(text) as RowObject;
  const before = [json('{"id":"a","tags":["x",{"y":1}]}'), json('{"id":"b","tags":null}')];
  const same = [json('{"id":"a","tags":["x",{"y":1}]}'), json('{"id":"b","tags":null}')];
  assert.equal(reconciled(before, same, "id"), before);

  const moved = reconciled(before, [json('{"id":"b","tags":null}'), json('{"id":"a","tags":["x",{"y":2}]}')], "id");
  assert.equal(moved[0], before[1]);
  assert.notEqual(moved[1], before[0]);

  const keyless = reconciled([{ n: 1 }, { n: 2 }], [{ n: 1 }, { n: 3 }], undefined);
  assert.deepEqual(keyless, [{ n: 1 }, { n: 3 }]);
});

/** As the server makes them, but with more moves than needed: every kept row that does not continue the run of kept ones. */
function diffOf(before: readonly RowObject[], after: readonly RowObject[]) {
  const places = new Map(before.map((row, at) => [row["id"], at]));
  const values = ({ id, name, importance }: RowObject) => [id, name, importance];
  const enter: [number, unknown[]][] = [];
  const move: [number, unknown][] = [];
  const update: unknown[][] = [];
  let last = -1;
  after.forEach((row, at) => {
    const place = places.get(row["id"]);
    if (place === undefined) {
      enter.push([at, values(row)]);
      return;
    }
    if (before[place] !== row) {
      update.push(values(row));
    }
    if (place < last) {
      move.push([at, row["id"]]);
    } else {
      last = place;
    }
  });
  const present = new Set(after.map((row) => row["id"]));
  const exit = before.map((row) => row["id"]).filter((id) => !present.has(id));
  return { type: "diff", sub: "s", seq: 1, exit, update, enter, move } as const;
}

function shuffled(count: number, random: () => number): number[] {
  return shuffledRows(
    Array.from({ length: count }, (_, at) => at),
    random,
  );
}

function shuffledRows<T>(items: T[], random: () => number): T[] {
  return items
    .map((item) => [random(), item] as const)
    .sort(([one], [other]) => one - other)
    .map(([, item]) => item);
}

/** Mulberry32: a small generator with a seed, so that a failure can be repeated. */
function mulberry(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
