"""Every bound of the read path in one place, each with its reason. config.yaml sets what users may change."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class QueryLimits:
    """Bounds of one query actor. Times in seconds, sizes in bytes. Equal only to itself: it is a key of caches."""

    #: Rows when a query names no limit, and the most it may ask for. Past that, SQL ends in an error.
    limit_default: int = 1_000
    limit_max: int = 10_000
    #: A query that runs longer holds its snapshot, so the WAL cannot be checkpointed meanwhile.
    time_s: float = 2.0
    #: Results must fit one frame of 8 MiB together with names and envelope.
    result_bytes: int = 7 * 1024 * 1024
    #: Child rows (messages of conversations) and included rows read for one page; includes of one query, how deep.
    child_rows: int = 50_000
    includes: int = 16
    include_depth: int = 3
    #: Shape of a filter. SQLite's own bound for nested expressions is 1000, for bound values 32766.
    depth: int = 16
    terms: int = 256
    list_items: int = 1_000
    values: int = 10_000
    order_terms: int = 8
    aggregates: int = 32
    #: SQLite compares a pattern in time proportional to its length times the text's.
    pattern_chars: int = 1_000
    #: A cursor carries the order values of one row; long texts make long cursors.
    cursor_chars: int = 256 * 1024
    sql_chars: int = 100_000
    #: What SQLite may allocate while one statement runs, on top of what it held before.
    memory_bytes: int = 256 * 1024 * 1024
    #: Different live queries; subscriptions of either kind in all and per client, and their names; pushes in
    #: flight of one.
    windows: int = 20_000
    subscriptions: int = 20_000
    subscriptions_per_client: int = 12_000
    sub_chars: int = 64
    credit_max: int = 1_024
    #: What all live queries of an actor keep in memory together. One of them alone has the limit of a read.
    live_bytes: int = 256 * 1024 * 1024
    #: Groups of one live query that are counted on; past that it runs again instead.
    live_groups: int = 10_000
    #: What one turn of live work may take before requests are looked at again: windows read, seconds spent
    #: reading them, and bytes of the changes ring.
    turn_windows: int = 32
    turn_s: float = 0.02
    turn_bytes: int = 256 * 1024
    #: Requests that wait for a position, in all and per client; each turn looks at every one.
    waiting: int = 1_024
    waiting_per_client: int = 256
