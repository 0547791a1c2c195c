"""Client <-> query actor: reads, live queries, the change stream."""

from typing import Any, ClassVar, Literal

import msgspec

from .base import READERS, WRITERS, Message, Request, Role


class Include(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """Related rows, shown beside each row of a query as one more column.

    via: a ref field. Without source it is one of the rows' own: the column holds the row it points to, or nil.
    source ("from" on the wire): a collection whose `via` points to the rows: the column holds a list of them.
    where, order_by, limit (per row) are for lists only; select and include are for both.
    """

    via: str
    source: str = msgspec.field(name="from", default="")
    where: dict[str, Any] = {}
    order_by: tuple[str, ...] = ()
    limit: int | None = None
    select: tuple[str, ...] = ()
    include: dict[str, "Include"] = {}
    with_deleted: bool = False


class Query(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """A structured query: data, never code. See docs/queries.md.

    source: the collection, "from" on the wire. where: {"field": value | {"op": value}, "and": [...],
    "or": [...], "not": {...}}.
    order_by: ["field", "-field"]; the id is always appended. after: opaque cursor of an earlier page, which the
    result begins behind. until: a cursor it ends at, that row included: with both, a page keeps its bounds
    however many rows come and go inside.
    aggregates: {"name": {"count"|"sum"|"avg"|"min"|"max": field or "*"}}. having: a filter like where, over
    groupBy fields and the names of aggregates. distinct: each combination of the selected fields once.
    include: related rows by the name they are shown under.
    """

    source: str = msgspec.field(name="from")
    where: dict[str, Any] = {}
    order_by: tuple[str, ...] = ()
    limit: int | None = None
    after: str | None = None
    until: str | None = None
    select: tuple[str, ...] = ()
    distinct: bool = False
    group_by: tuple[str, ...] = ()
    aggregates: dict[str, dict[str, str]] = {}
    having: dict[str, Any] = {}
    include: dict[str, Include] = {}
    with_deleted: bool = False


class Sql(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Read-only SQL over the collections. params: positional (list) or named (map) values, always bound."""

    sql: str
    params: list[Any] | dict[str, Any] = []


class Read(Request, frozen=True, tag="read"):
    """Client -> query actor. Answered by Rows or Refused. Give exactly one of query and sql.

    at_least: wait until the state has reached this seq (read your own writes).
    """

    roles: ClassVar[frozenset[Role]] = READERS
    query: Query | None = None
    sql: Sql | None = None
    at_least: int = 0


class Rows(Message, frozen=True, tag="rows"):
    """columns: names. rows: arrays in that order. seq: position of the snapshot the rows were read from.

    cursor: pass as `after` for the next page; None when there is no further row.
    """

    columns: tuple[str, ...]
    rows: list[Any]
    seq: int
    cursor: str | None = None
    cached: bool = False


class Subscribe(Request, frozen=True, tag="subscribe"):
    """Client -> query actor: keep this result up to date. Answered by Subscribed, then pushes arrive:
    Snapshot first, then Diff (or Snapshot again where no diff can be made).

    sub: the client's own id for it, unique per connection; every push carries it. credit: pushes the
    server may send before it needs an Ack.
    """

    roles: ClassVar[frozenset[Role]] = READERS
    sub: str
    query: Query | None = None
    sql: Sql | None = None
    at_least: int = 0
    credit: int = 16


class SubscribeChanges(Request, frozen=True, tag="subscribe_changes"):
    """Client -> query actor: every change after seq `after`, gap-free, in order. Answered by Subscribed,
    then Changes pushes; Rehydrate if the ring no longer reaches back that far.

    after: -1 means from now on. collections: only these (empty = all); covered seqs are still reported.
    """

    roles: ClassVar[frozenset[Role]] = WRITERS
    sub: str
    after: int = -1
    generation: int = 0
    collections: tuple[str, ...] = ()
    credit: int = 16


class Subscribed(Message, frozen=True, tag="subscribed"):
    """Query actor -> client. seq: the position the subscription starts from. epoch: see Pong."""

    sub: str
    seq: int
    generation: int
    epoch: str


class Moved(Message, frozen=True, tag="moved"):
    """Query actor -> client, instead of Subscribed: `service` keeps this query; subscribe there. Identical
    queries of all clients share one window in the worker that owns them."""

    sub: str
    service: str


class Ping(Request, frozen=True, tag="ping"):
    """Client -> query actor, about twice a second while it has subscriptions there. Answered by Pong."""

    roles: ClassVar[frozenset[Role]] = READERS


class Pong(Message, frozen=True, tag="pong"):
    """epoch: made anew whenever the actor starts. subscriptions: how many this connection has.

    A client whose own figures differ subscribes again.
    """

    epoch: str
    subscriptions: int


class Unsubscribe(Request, frozen=True, tag="unsubscribe"):
    """Client -> query actor. Answered by Done, also when there is no such subscription."""

    roles: ClassVar[frozenset[Role]] = READERS
    sub: str


class Ack(Message, frozen=True, tag="ack"):
    """Client -> query actor, a tell: `count` pushes of this subscription were taken in."""

    roles: ClassVar[frozenset[Role]] = READERS
    sub: str
    count: int = 1


class Push(Message, frozen=True):
    """Query actor -> client, unasked. Its first frame is `sub`, the name of the subscription it is for."""

    sub: str


class Snapshot(Push, frozen=True, tag="snapshot"):
    """Push: the whole result at seq. key: index of the primary key column in a row, -1 if rows have none.

    cursor: behind the last row, None when there is no further row.
    """

    seq: int
    columns: tuple[str, ...]
    rows: list[Any]
    key: int = -1
    cursor: str | None = None


class Diff(Push, frozen=True, tag="diff"):
    """Push: what changed since the last push of this subscription.

    Apply in this order: take out the keys in `exit` and in `move`; replace rows in `update` by key (also those
    just taken out); then put `enter` [index, row] and `move` [index, key] back in ascending index.
    cursor: as in Snapshot, for the result as it is now.
    """

    seq: int
    exit: list[Any] = []
    update: list[Any] = []
    enter: list[tuple[int, Any]] = []
    move: list[tuple[int, Any]] = []
    cursor: str | None = None


class Changes(Push, frozen=True, tag="changes"):
    """Push of a change stream: all changes with seq_first <= seq <= seq_last. rows: [seq, collection, op, id]."""

    seq_first: int
    seq_last: int
    rows: list[tuple[int, str, Literal["insert", "update", "delete"], str]]


class Rehydrate(Push, frozen=True, tag="rehydrate"):
    """Push: continuity is broken (`reason`); read everything anew as of `seq` and go on from there."""

    seq: int
    generation: int
    reason: str


class LiveFailed(Push, frozen=True, tag="live_failed"):
    """Push: a live query could not be kept up to date and has ended."""

    code: str
    message: str
    fix: str
    retryable: bool = False


class Describe(Request, frozen=True, tag="describe"):
    """Client -> query actor: the schema in force. Answered by Description."""

    roles: ClassVar[frozenset[Role]] = READERS


class Description(Message, frozen=True, tag="description"):
    """schema: collections, events and methods as plain data, see docs/schema.md."""

    schema_hash: str
    schema: dict[str, Any]


class Explain(Request, frozen=True, tag="explain"):
    """Client -> query actor: how this query is answered and kept up to date. Give exactly one of query and sql.

    Answered by Explanation, or by Moved when another actor keeps this query.
    """

    roles: ClassVar[frozenset[Role]] = READERS
    query: Query | None = None
    sql: Sql | None = None


class Explanation(Message, frozen=True, tag="explanation"):
    """sql: what runs. plan: SQLite's query plan, a line each. strategy: how a live query of it is kept up to date:
    "window" and "groups" from the changed rows alone, "rerun" by running it again; reason: why this one.

    reads: "collection.field" whose changes matter. guards: "collection.field = value" that a changed row must
    meet. live: figures of the live query if there is one now, else empty. decisions: what its latest changes
    did, newest last: [seq, "sent" | "silent" | "skipped" | "refilled" | "ran", why].
    """

    sql: str
    plan: list[str]
    strategy: Literal["window", "groups", "rerun"]
    reason: str
    reads: list[str]
    guards: list[str] = []
    live: dict[str, int] = {}
    decisions: list[tuple[int, str, str]] = []


class QueryStatus(Request, frozen=True, tag="query_status"):
    """Operator -> query actor. Answered by QueryFigures."""

    roles: ClassVar[frozenset[Role]] = READERS


class QueryFigures(Message, frozen=True, tag="query_figures"):
    """Counters since the actor started."""

    seq: int
    reads: int
    live_queries: int
    subscribers: int
    cache_hits: int
    cache_misses: int
    slowest_us: int
