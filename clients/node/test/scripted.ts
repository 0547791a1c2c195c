// Plays the client's part of the conversations in tests/conformance; its README describes the steps.

import assert from "node:assert/strict";

import { KeepDBError, type LiveQuery, type MainDatabase, type Query, type Receipt, type Snapshot } from "@keepdb/client/main";

type Members = Readonly<Record<string, any>>;
type Row = Record<string, unknown>;

const SOON_MS = 15_000;

/** Tagged JSON as values. */
export function plain(value: any): any {
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (typeof value !== "object" || value === null) {
    return value;
  }
  if ("$bin" in value) {
    return Uint8Array.from(Buffer.from(value.$bin, "hex"));
  }
  if ("$int" in value) {
    return BigInt(value.$int);
  }
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}

/** A live query with everything it ever showed; at: what of that the script has come to. */
class Watched {
  readonly shown: Snapshot<Row>[] = [];
  readonly live: LiveQuery<Row>;
  readonly stop: () => void;
  at = 0;
  #wake: () => void = () => undefined;

  constructor(query: Query<Row>) {
    this.live = query.live();
    this.stop = this.live.subscribe((snapshot) => {
      this.shown.push(snapshot);
      this.#wake();
    });
  }

  /** Wait until it shows what fits, from what was found before on. */
  async until(fits: (snapshot: Snapshot<Row>) => boolean, what: Members): Promise<Snapshot<Row>> {
    const deadline = performance.now() + SOON_MS;
    for (;;) {
      for (let at = this.at; at < this.shown.length; at++) {
        const snapshot = this.shown[at] as Snapshot<Row>;
        if (fits(snapshot)) {
          this.at = at;
          return snapshot;
        }
      }
      const left = deadline - performance.now();
      if (left <= 0) {
        assert.fail(`it never showed ${text(what)}, but ${text(this.shown.slice(this.at))}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** One client that is told what to do. */
export class Scripted {
  readonly #db: MainDatabase<any>;
  readonly #commits = new Map<string, Promise<Receipt>>();
  readonly #watched = new Map<string, Watched>();

  constructor(db: MainDatabase<any>) {
    this.#db = db;
  }

  async play(steps: readonly Members[]): Promise<void> {
    for (const step of steps) {
      if ("client" in step) {
        await this.#step(plain(step));
      }
    }
  }

  async #step(step: Members): Promise<void> {
    switch (step["client"]) {
      case "commit":
        return this.#begin(step, this.#db.commitAll(step["events"], optionsOf(step)));
      case "call":
        return this.#begin(step, this.#db.call(step["method"], step["id"], step["data"]));
      case "receipt":
        return matches(await (this.#commits.get(step["of"]) as Promise<Receipt>), step["is"]);
      case "refusal":
        return isRefused(this.#commits.get(step["of"]) as Promise<Receipt>, step["is"]);
      case "read":
        return this.#read(step);
      case "watch":
        return this.#watch(step);
      case "shows":
        await this.#watchedBy(step).until((snapshot) => fits(snapshot, step), step);
        return;
      case "still":
        assert.ok(fits(this.#watchedBy(step).live.current, step), text([this.#watchedBy(step).live.current]));
        return;
      case "ended":
        return this.#ended(this.#watchedBy(step), step["is"]);
      case "unwatch":
        this.#watchedBy(step).stop();
        return;
    }
    throw new Error(`no such step: ${text(step)}`);
  }

  #begin(step: Members, commit: Promise<Receipt>): void {
    // Whoever waits for it hears of a failure; until then it is no accident.
    commit.catch(() => undefined);
    this.#commits.set(step["as"], commit);
  }

  async #read(step: Members): Promise<void> {
    const reading = this.#queryOf(step).get();
    if ("refused" in step) {
      return isRefused(reading, step["refused"]);
    }
    const { columns, rows, ...rest } = step["is"];
    const result = await reading;
    assert.deepStrictEqual(cells(result.rows), rows);
    if (columns !== undefined && result.rows.length > 0) {
      assert.deepStrictEqual(Object.keys(result.rows[0] as Row), columns);
    }
    matches(result, rest);
  }

  async #watch(step: Members): Promise<void> {
    const watched = new Watched(this.#queryOf(step));
    if ("refused" in step) {
      await this.#ended(watched, step["refused"]);
    } else {
      this.#watched.set(step["as"], watched);
    }
  }

  async #ended(watched: Watched, expected: Members): Promise<void> {
    const { error } = await watched.until(({ status }) => status === "error", expected);
    matches(error, expected);
    watched.stop();
  }

  #watchedBy(step: Members): Watched {
    return this.#watched.get(step["of"]) as Watched;
  }

  #queryOf(step: Members): Query<Row> {
    if ("sql" in step) {
      return this.#db.sql(step["sql"], step["params"]);
    }
    const { from, where, orderBy, limit, groupBy, aggregates } = step["query"];
    let query: any = this.#db.from(from);
    query = where === undefined ? query : query.where(where);
    query = orderBy === undefined ? query : query.orderBy(...orderBy);
    query = limit === undefined ? query : query.limit(limit);
    query = groupBy === undefined ? query : query.groupBy(...groupBy);
    return aggregates === undefined ? query : query.aggregate(aggregates);
  }
}

function optionsOf(step: Members): Members {
  const { durability, idempotencyKey } = step;
  return { durability, idempotencyKey };
}

function fits(snapshot: Snapshot<Row>, step: Members): boolean {
  try {
    assert.notEqual(snapshot.status, "loading");
    assert.deepStrictEqual(cells(snapshot.rows), step["rows"]);
    if (step["columns"] !== undefined && snapshot.rows.length > 0) {
      assert.deepStrictEqual(Object.keys(snapshot.rows[0] as Row), step["columns"]);
    }
    for (const name of ["seq", "cursor", "status"] as const) {
      assert.ok(step[name] === undefined || step[name] === snapshot[name]);
    }
    return true;
  } catch {
    return false;
  }
}

function cells(rows: readonly Row[]): unknown[][] {
  return rows.map((row) => Object.values(row));
}

/** Each member that is expected is there and equal. */
export function matches(found: object | null, expected: Members): void {
  for (const [name, value] of Object.entries(expected)) {
    assert.deepStrictEqual((found as Members)[name], value, name);
  }
}

async function isRefused(promise: Promise<unknown>, expected: Members): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof KeepDBError, String(error));
    matches(error, expected);
    return true;
  });
}

function text(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part));
}
