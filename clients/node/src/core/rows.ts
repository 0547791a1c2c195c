// Rows as objects, and how a result changes without giving unchanged rows a new identity: what React's memo and every
// `===` rely on. Pure functions.

import type { Diff } from "../generated/wire.js";

export type RowObject = Record<string, unknown>;

/** Array rows under a header of column names, as objects. */
export function toRows(columns: readonly string[], rows: readonly unknown[]): RowObject[] {
  return rows.map((row) => toRow(columns, row));
}

/** One row as an object. */
export function toRow(columns: readonly string[], row: unknown): RowObject {
  const values = row as readonly unknown[];
  const made: RowObject = {};
  for (let at = 0; at < columns.length; at++) {
    const name = columns[at] as string;
    if (name === "__proto__") {
      // Assigning would set the row's prototype instead.
      Object.defineProperty(made, name, { value: values[at], enumerable: true, configurable: true, writable: true });
    } else {
      made[name] = values[at];
    }
  }
  return made;
}

/**
 * The rows of a new snapshot, with the objects of the one before where they are equal; the very same array if nothing
 * differs. key: the primary key's column, undefined: rows are compared place by place.
 */
export function reconciled(
  old: readonly RowObject[],
  fresh: RowObject[],
  key: string | undefined,
): readonly RowObject[] {
  const known = key === undefined ? null : new Map(old.map((row) => [row[key], row]));
  let same = old.length === fresh.length;
  for (let at = 0; at < fresh.length; at++) {
    const row = fresh[at] as RowObject;
    const before = known === null ? old[at] : known.get(row[key as string]);
    if (before !== undefined && equal(before, row)) {
      fresh[at] = before;
    }
    same &&= fresh[at] === old[at];
  }
  return same ? old : fresh;
}

/** The rows after a diff; the rules stand in docs/protocol.md. Throws RangeError if the diff is for other rows. */
export function applyDiff(
  old: readonly RowObject[],
  columns: readonly string[],
  key: string,
  diff: Diff,
): readonly RowObject[] {
  const updates = new Map((diff.update ?? []).map((row) => keyed(toRow(columns, row), key)));
  const moves = diff.move ?? [];
  const gone = new Set<unknown>(diff.exit ?? []);
  const moved = new Map<unknown, RowObject | undefined>(moves.map(([, name]) => [name, undefined]));

  const kept: RowObject[] = [];
  for (const before of old) {
    const name = before[key];
    const fresh = updates.get(name);
    const row = fresh ?? before;
    if (fresh !== undefined) {
      updates.delete(name);
    }
    if (moved.has(name)) {
      moved.set(name, row);
    } else if (!gone.delete(name)) {
      kept.push(row);
    }
  }
  if (updates.size > 0 || gone.size > 0) {
    throw new RangeError("the diff names rows that are not there");
  }
  const placed: [number, RowObject | undefined][] = (diff.enter ?? []).map(([at, row]) => [at, toRow(columns, row)]);
  for (const [at, name] of moves) {
    placed.push([at, moved.get(name)]);
  }
  return placed.length === 0 ? kept : merged(kept, placed);
}

/** Both lists as one: placed rows stand at their index in the result. */
function merged(kept: readonly RowObject[], placed: [number, RowObject | undefined][]): RowObject[] {
  placed.sort(([one], [other]) => one - other);
  const result: RowObject[] = [];
  let next = 0;
  for (const [at, row] of placed) {
    while (result.length < at && next < kept.length) {
      result.push(kept[next++] as RowObject);
    }
    if (result.length !== at || row === undefined) {
      throw new RangeError(`the diff puts a row at ${at}, where none can be`);
    }
    result.push(row);
  }
  while (next < kept.length) {
    result.push(kept[next++] as RowObject);
  }
  return result;
}

function keyed(row: RowObject, key: string): [unknown, RowObject] {
  return [row[key], row];
}

/** Whether two values off the wire are the same. */
function equal(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) {
    return true;
  }
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) {
    return false;
  }
  if (Array.isArray(one) || Array.isArray(other)) {
    return (
      Array.isArray(one) &&
      Array.isArray(other) &&
      one.length === other.length &&
      one.every((value, at) => equal(value, other[at]))
    );
  }
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && equal((one as RowObject)[name], (other as RowObject)[name]))
  );
}
