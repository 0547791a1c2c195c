// Queries as immutable values: every method returns a new query, nothing is sent before `get` or `live`.

import type { Complete, Explanation, Query as WireQuery } from "../generated/wire.js";
import { KeepDBError } from "./errors.js";
import type { Plan } from "./feed.js";
import type { LiveQuery } from "./live.js";
import type { CallOptions } from "./requests.js";
import type {
  Aggregate,
  AnySchema,
  CollectionName,
  Groupable,
  Grouped,
  Having,
  Includes,
  OrderBy,
  Selectable,
  Selected,
  Where,
  WithFigures,
  WithIncluded,
} from "./schema.js";

/** Rows as of a position. */
export interface Result<Row> {
  readonly rows: readonly Row[];
  /** The position they were read at. */
  readonly seq: number;
  /** Give it to `after` for the next page; null on the last. */
  readonly cursor: string | null;
}

export interface ReadOptions extends CallOptions {
  /** Wait until the state has reached this position; what this client has committed is waited for anyway. */
  readonly atLeast?: number | undefined;
}

/** What a query needs from its database. */
export interface QueryHost {
  read(plan: Plan, options: ReadOptions | undefined): Promise<Result<object>>;
  live(key: string, plan: Plan): LiveQuery<object>;
  explain(plan: Plan, options: CallOptions | undefined): Promise<Complete<Explanation>>;
}

/** Something that can be read once or kept up to date. */
export class Query<Row> {
  protected readonly host: QueryHost;
  /** As it is sent. */
  readonly plan: Plan;
  #key: string | undefined;

  constructor(host: QueryHost, plan: Plan) {
    this.host = host;
    this.plan = plan;
  }

  /** Equal for equal queries. */
  get key(): string {
    return (this.#key ??= stable(this.plan));
  }

  /** Read once. Sees everything this client has committed. Rejects with KeepDBError, or with the signal's reason. */
  get(options?: ReadOptions): Promise<Result<Row>> {
    return this.host.read(this.plan, options) as Promise<Result<Row>>;
  }

  /** The result that keeps itself up to date: the same object for equal queries of one database. */
  live(): LiveQuery<Row> {
    return this.host.live(this.key, this.plan) as LiveQuery<unknown> as LiveQuery<Row>;
  }

  /** How it is answered, and how a live query of it is kept up to date. */
  explain(options?: CallOptions): Promise<Complete<Explanation>> {
    return this.host.explain(this.plan, options);
  }
}

/** A structured query; `structured` is the wire's form of it. */
abstract class Structured<Row> extends Query<Row> {
  protected readonly structured: WireQuery;

  constructor(host: QueryHost, structured: WireQuery) {
    super(host, { query: structured });
    this.structured = structured;
  }

  protected abstract with(change: Partial<WireQuery>): this;

  /** At most this many rows. */
  limit(rows: number): this {
    return this.with({ limit: rows });
  }

  /** Begin behind the row that this cursor of an earlier result names. */
  after(cursor: string | null): this {
    return this.with({ after: cursor });
  }

  /** End with the row that this cursor names: with `after`, a page keeps its bounds whatever comes and goes inside. */
  until(cursor: string | null): this {
    return this.with({ until: cursor });
  }
}

/** Rows of one collection. */
export class CollectionQuery<S extends AnySchema, C extends CollectionName<S>, Row> extends Structured<Row> {
  protected override with(change: Partial<WireQuery>): this {
    return new CollectionQuery<S, C, Row>(this.host, { ...this.structured, ...change }) as this;
  }

  /** Only rows that meet the filter; a second call narrows further. */
  where(filter: Where<S, C>): this {
    return this.with({ where: both(this.structured.where, filter as Filter) });
  }

  /** By these fields, "-field" for descending; the id completes every order. */
  orderBy(...fields: readonly OrderBy<S, C>[]): this {
    return this.with({ orderBy: fields });
  }

  /** Only these columns, "*" for all, and lists of child rows by name. The id is always there. */
  select<const F extends Selectable<S, C>>(...fields: readonly F[]): CollectionQuery<S, C, Selected<S, C, F>> {
    return new CollectionQuery(this.host, { ...this.structured, select: fields });
  }

  /** Related rows as one more column each: `{via}` a ref of these rows, `{from, via}` rows that refer to these. */
  include<const I extends Includes<S, C>>(relations: I): CollectionQuery<S, C, WithIncluded<S, C, Row, I>> {
    const include = { ...this.structured.include, ...relations } as NonNullable<WireQuery["include"]>;
    return new CollectionQuery(this.host, { ...this.structured, include });
  }

  /** Deleted rows too. */
  withDeleted(): this {
    return this.with({ withDeleted: true });
  }

  /** Each combination of these fields once. */
  distinct<F extends Groupable<S, C>>(...fields: readonly F[]): GroupQuery<S, C, Grouped<S, C, F>> {
    return new GroupQuery(this.host, { ...this.structured, select: fields, distinct: true });
  }

  /** One row with the number of rows, as `count`. */
  count(): GroupQuery<S, C, { readonly count: number }> {
    return new GroupQuery(this.host, { ...this.structured, aggregates: { count: { count: "*" } } });
  }

  /** One row with these figures. */
  aggregate<const A extends Record<string, Aggregate<S, C>>>(
    figures: A,
  ): GroupQuery<S, C, WithFigures<S, C, unknown, A>> {
    return new GroupQuery(this.host, { ...this.structured, aggregates: figures as Aggregates });
  }

  /** A row for each value of these fields; `aggregate` adds figures. */
  groupBy<F extends Groupable<S, C>>(...fields: readonly F[]): GroupQuery<S, C, Grouped<S, C, F>> {
    return new GroupQuery(this.host, { ...this.structured, groupBy: fields });
  }
}

/** Figures about rows instead of rows. */
export class GroupQuery<S extends AnySchema, C extends CollectionName<S>, Row> extends Structured<Row> {
  protected override with(change: Partial<WireQuery>): this {
    return new GroupQuery<S, C, Row>(this.host, { ...this.structured, ...change }) as this;
  }

  /** Add figures by name. */
  aggregate<const A extends Record<string, Aggregate<S, C>>>(figures: A): GroupQuery<S, C, WithFigures<S, C, Row, A>> {
    return new GroupQuery(this.host, {
      ...this.structured,
      aggregates: { ...this.structured.aggregates, ...(figures as Aggregates) },
    });
  }

  /** Only groups that meet this filter over the result's columns. */
  having(filter: Having<Row>): this {
    return this.with({ having: both(this.structured.having, filter as Filter) });
  }

  /** Order of the groups, by columns of the result. */
  orderBy(...columns: readonly ((keyof Row & string) | `-${keyof Row & string}`)[]): this {
    return this.with({ orderBy: columns });
  }
}

type Filter = Readonly<Record<string, unknown>>;
type Aggregates = NonNullable<WireQuery["aggregates"]>;

function both(one: Filter | undefined, other: Filter): Filter {
  refuseUndefined(other);
  return one === undefined ? other : { and: [one, other] };
}

/** An undefined left out, as in data, would make a filter match more than was meant. Throws KeepDBError `query_bad_value`. */
export function refuseUndefined(value: unknown, path = ""): void {
  if (value === undefined) {
    throw new KeepDBError({
      code: "query_bad_value",
      message: `The value of ${path} is undefined.`,
      fix: "Give a value, null to compare with, or leave the member out.",
    });
  }
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    for (const [name, part] of Object.entries(value)) {
      refuseUndefined(part, path === "" ? name : `${path}.${name}`);
    }
  }
}

/** JSON with sorted names, so that equal queries read the same however they were written. */
function stable(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === "bigint" || (typeof part === "number" && !Number.isFinite(part))) {
      return { [typeof part]: String(part) };
    }
    if (typeof part !== "object" || part === null || Array.isArray(part)) {
      return part;
    }
    return Object.fromEntries(Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1)));
  });
}
