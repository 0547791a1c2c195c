// How the types that `keepdb typegen` writes become the types of queries and commits. Nothing here exists at run time.

/** What a `Schema` looks like. */
export interface AnySchema {
  collections: Record<
    string,
    { row: object; create: any; update: any; kinds: object; refs: object; lists: object; item?: any }
  >;
  events: Record<string, { id: string; data: object }>;
  methods: Record<string, string>;
}

/** The schema of whoever gives none: every name is accepted and every value is `any`. */
export interface UnknownSchema {
  collections: Record<
    string,
    {
      row: Record<string, any>;
      create: any;
      update: any;
      item: any;
      kinds: Record<string, "any">;
      refs: Record<string, string>;
      lists: Record<string, string>;
    }
  >;
  events: Record<string, { id: "optional"; data: Record<string, any> }>;
  methods: Record<string, string>;
}

type Simple<T> = { [K in keyof T]: T[K] } & {};
type Name<T> = keyof T & string;

export type CollectionName<S extends AnySchema> = Name<S["collections"]>;
type At<S extends AnySchema, C extends CollectionName<S>> = S["collections"][C];

/** A row of a collection as `select("*")` returns it. */
export type RowOf<S extends AnySchema, C extends CollectionName<S>> = At<S, C>["row"];
type Kinds<S extends AnySchema, C extends CollectionName<S>> = At<S, C>["kinds"];
type Refs<S extends AnySchema, C extends CollectionName<S>> = At<S, C>["refs"];
type Lists<S extends AnySchema, C extends CollectionName<S>> = At<S, C>["lists"];

/** Columns of one of these kinds. */
type OfKind<S extends AnySchema, C extends CollectionName<S>, K extends string> = {
  [F in Name<Kinds<S, C>>]: Kinds<S, C>[F] extends K | "any" ? F : never;
}[Name<Kinds<S, C>>];

type Scalar = "id" | "text" | "integer" | "real" | "boolean" | "timestamp" | "enum" | "ref";
type Ordered = Exclude<Scalar, "boolean">;

// -- filters -----------------------------------------------------------------------------------------------------------

type Presence = { readonly isNull?: boolean };
type Equality<V> = {
  readonly "="?: V | null;
  readonly "!="?: V | null;
  readonly in?: readonly (V | null)[];
  readonly notIn?: readonly (V | null)[];
};
type Range<V> = {
  readonly "<"?: V;
  readonly "<="?: V;
  readonly ">"?: V;
  readonly ">="?: V;
  readonly between?: readonly [V, V];
};
type Search = { readonly like?: string; readonly contains?: string };

/** What a field of this kind with values V can be compared with: a value, or operators that must all hold. */
export type Condition<V, K> = K extends "any"
  ? any
  : K extends "encrypted"
    ? never
    : K extends "json" | "vector"
      ? Presence
      : K extends "list"
        ? Presence & { readonly contains?: string | number | boolean }
        : K extends "boolean"
          ? V | null | (Equality<V> & Presence)
          : K extends "text" | "ref"
            ? V | null | (Equality<V> & Range<V> & Search & Presence)
            : V | null | (Equality<V> & Range<V> & Presence);

type Logic<W> = { readonly and?: readonly W[]; readonly or?: readonly W[]; readonly not?: W };
type ValueIn<T, F> = F extends keyof T ? NonNullable<T[F]> : never;

/** A filter: all entries must hold. */
export type Where<S extends AnySchema, C extends CollectionName<S>> = {
  readonly [F in Name<Kinds<S, C>>]?: Condition<ValueIn<RowOf<S, C>, F>, Kinds<S, C>[F]>;
} & Logic<
  {
    readonly [F in Name<Kinds<S, C>>]?: Condition<ValueIn<RowOf<S, C>, F>, Kinds<S, C>[F]>;
  } & WhereLogic<S, C>
>;
interface WhereLogic<S extends AnySchema, C extends CollectionName<S>> extends Logic<Where<S, C>> {}

// -- order and selection -----------------------------------------------------------------------------------------------

type Either<F extends string> = F | `-${F}`;

/** A field to order by, "-field" for descending. */
export type OrderBy<S extends AnySchema, C extends CollectionName<S>> = Either<OfKind<S, C, Scalar>>;

/** What can be selected: columns, "*" for all of them, and lists of child rows by name. */
export type Selectable<S extends AnySchema, C extends CollectionName<S>> = "*" | Name<RowOf<S, C>> | Name<Lists<S, C>>;

type ItemOf<S extends AnySchema, D> = D extends CollectionName<S> ? At<S, D>["item"] : never;

/** A row with the selected columns; the id is always there. */
export type Selected<S extends AnySchema, C extends CollectionName<S>, F extends string> = Simple<
  ("*" extends F ? RowOf<S, C> : Pick<RowOf<S, C>, Extract<F | "id", keyof RowOf<S, C>>>) & {
    readonly [L in Extract<F, Name<Lists<S, C>>>]: readonly ItemOf<S, Lists<S, C>[L]>[];
  }
>;

// -- relations ---------------------------------------------------------------------------------------------------------

/** Collections with a ref to C, and the refs that point there. */
type Pointing<S extends AnySchema, C extends CollectionName<S>> = {
  [D in CollectionName<S>]: C extends Refs<S, D>[keyof Refs<S, D>] ? D : never;
}[CollectionName<S>];
type RefsTo<S extends AnySchema, D extends CollectionName<S>, C extends CollectionName<S>> = {
  [F in Name<Refs<S, D>>]: C extends Refs<S, D>[F] ? F : never;
}[Name<Refs<S, D>>];
type Target<S extends AnySchema, C extends CollectionName<S>, F> = F extends keyof Refs<S, C>
  ? Extract<Refs<S, C>[F], CollectionName<S>>
  : never;

type IncludeOne<S extends AnySchema, C extends CollectionName<S>> = {
  [F in Name<Refs<S, C>>]: {
    readonly via: F;
    readonly from?: undefined;
    readonly select?: readonly Selectable<S, Target<S, C, F>>[];
    readonly include?: Includes<S, Target<S, C, F>>;
    readonly withDeleted?: boolean;
  };
}[Name<Refs<S, C>>];
type IncludeMany<S extends AnySchema, C extends CollectionName<S>> = {
  [D in Pointing<S, C>]: {
    readonly from: D;
    readonly via: RefsTo<S, D, C>;
    readonly where?: Where<S, D>;
    readonly orderBy?: readonly OrderBy<S, D>[];
    readonly limit?: number;
    readonly select?: readonly Selectable<S, D>[];
    readonly include?: Includes<S, D>;
    readonly withDeleted?: boolean;
  };
}[Pointing<S, C>];

/** Related rows by the name they are shown under. */
export interface Includes<S extends AnySchema, C extends CollectionName<S>> {
  readonly [name: string]: IncludeOne<S, C> | IncludeMany<S, C>;
}

type SelectionIn<I> = I extends { readonly select: readonly (infer F extends string)[] } ? F : "*";
type NestedIn<S extends AnySchema, D extends CollectionName<S>, I> = I extends { readonly include: infer N }
  ? Included<S, D, N>
  : unknown;

/** The columns that `include` adds: a list of rows, or one row or null. */
export type Included<S extends AnySchema, C extends CollectionName<S>, I> = {
  readonly [N in keyof I]: I[N] extends { readonly from: infer D extends CollectionName<S> }
    ? readonly Simple<Selected<S, D, SelectionIn<I[N]>> & NestedIn<S, D, I[N]>>[]
    : I[N] extends { readonly via: infer F }
      ? Simple<Selected<S, Target<S, C, F>, SelectionIn<I[N]>> & NestedIn<S, Target<S, C, F>, I[N]>> | null
      : never;
};

export type WithIncluded<S extends AnySchema, C extends CollectionName<S>, Row, I> = Simple<Row & Included<S, C, I>>;

// -- groups ------------------------------------------------------------------------------------------------------------

/** Fields to group by or to take each value of once. */
export type Groupable<S extends AnySchema, C extends CollectionName<S>> = OfKind<S, C, Scalar>;

/** {function: field}, or {count: "*"} for rows. */
export type Aggregate<S extends AnySchema, C extends CollectionName<S>> =
  | { readonly count: "*" | OfKind<S, C, Scalar | "json" | "list" | "vector"> }
  | { readonly sum: OfKind<S, C, "integer" | "real"> }
  | { readonly avg: OfKind<S, C, "integer" | "real"> }
  | { readonly min: OfKind<S, C, Ordered> }
  | { readonly max: OfKind<S, C, Ordered> };

type Figure<S extends AnySchema, C extends CollectionName<S>, A> = A extends { readonly count: string }
  ? number
  : A extends { readonly min: infer F } | { readonly max: infer F }
    ? ValueIn<RowOf<S, C>, F> | null
    : number | null;

/** What `aggregate` adds to a row. */
export type Figures<S extends AnySchema, C extends CollectionName<S>, A> = {
  readonly [N in keyof A]: Figure<S, C, A[N]>;
};
export type WithFigures<S extends AnySchema, C extends CollectionName<S>, Row, A> = Simple<Row & Figures<S, C, A>>;
export type Grouped<S extends AnySchema, C extends CollectionName<S>, F extends string> = Simple<
  Pick<RowOf<S, C>, Extract<F, keyof RowOf<S, C>>>
>;

type HavingOf<V> = V | null | (Equality<V> & Range<V> & Presence & (V extends string ? Search : unknown));
/** A filter over the columns of a grouped result. */
export type Having<Row> = {
  readonly [N in keyof Row]?: HavingOf<NonNullable<Row[N]>>;
} & { readonly and?: readonly Having<Row>[]; readonly or?: readonly Having<Row>[]; readonly not?: Having<Row> };

// -- commits -----------------------------------------------------------------------------------------------------------

export type EventName<S extends AnySchema> = Name<S["events"]>;
export type DataOf<S extends AnySchema, T extends EventName<S>> = S["events"][T]["data"];
export type MethodName<S extends AnySchema> = Name<S["methods"]>;
export type MethodData<S extends AnySchema, M extends MethodName<S>> = S["methods"][M] extends infer T extends
  EventName<S>
  ? DataOf<S, T>
  : never;

/** The row an event is about; left out on creation, an id is made. */
export type IdOf<S extends AnySchema, T extends EventName<S>> = S["events"][T]["id"] extends "required"
  ? { readonly id: string }
  : { readonly id?: string | undefined };

/** One event of `commitAll`. */
export type EventOf<S extends AnySchema> = {
  [T in EventName<S>]: { readonly type: T; readonly data?: DataOf<S, T> } & IdOf<S, T>;
}[EventName<S>];
