"""What any statement on a reader connection may do: how long, how much, and for clients' SQL which tables.

The hooks are installed once per connection and armed per statement, because installing an authorizer makes
SQLite prepare every cached statement again. While disarmed it allows all, for KeepDB's own statements.
"""

from types import TracebackType
from typing import Self

import apsw

from keepdb.clock import Clock
from keepdb.errors import InvalidRequest, Unavailable

from .catalog import Catalog
from .limits import QueryLimits

#: Functions that cannot touch files, keys, the connection or memory beyond the length limit.
_FUNCTION_NAMES = """
    -> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws
    cos cosh count cume_dist current_date current_time current_timestamp date datetime degrees
    dense_rank exp first_value floor format glob group_concat hex if ifnull iif instr json json_array
    json_array_length json_each json_extract json_group_array json_group_object json_insert json_object
    json_patch json_quote json_remove json_replace json_set json_tree json_type json_valid julianday lag
    last_value lead length like likelihood likely ln log log10 log2 lower ltrim max median min mod
    nth_value ntile nullif octet_length percent_rank percentile percentile_cont percentile_disc pi pow
    power printf quote radians rank replace round row_number rtrim sign sin sinh sqrt strftime
    string_agg substr substring sum tan tanh time timediff total trim trunc typeof unhex unicode
    unixepoch unlikely upper
    """
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
#: With 'now' (or nothing) these depend on the clock. Their arguments are not looked at: they may be computed.
_VOLATILE_NAMES = """
    current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch
    """
VOLATILE = frozenset(_VOLATILE_NAMES.split())
_TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})

#: Instructions between two looks at the clock: some 100 µs of ordinary work, and few enough that values of
#: _VALUE_BYTES cannot pile up far past the memory limit.
_STEPS = 500
_VALUE_BYTES = 8 * 1024 * 1024
_PATTERN_BYTES = 4_000


class Trail:
    """What one statement of a client reads, filled in while SQLite prepares it.

    volatile: its result may change although no row does.
    """

    __slots__ = ("hidden", "reads", "refused", "volatile")

    def __init__(self) -> None:
        self.reads: set[tuple[str, str]] = set()
        self.hidden: set[str] = set()
        self.refused: InvalidRequest | None = None
        self.volatile = False


class Guard:
    """The hooks of one connection."""

    def __init__(
        self, connection: apsw.Connection, catalog: Catalog, clock: Clock, limits: QueryLimits
    ) -> None:
        self._connection = connection
        self._tables = {table.lower(): source for table, source in catalog.tables.items()}
        self._clock = clock
        self._limits = limits
        self._trail: Trail | None = None
        self._deadline = float("inf")
        self._memory = 0
        self._reason = ""
        self._restore: tuple[tuple[int, int], ...] = ()
        # Read before the hooks exist; nobody can add a table to a read-only connection.
        names = connection.execute("SELECT name FROM pragma_module_list UNION SELECT name FROM sqlite_schema")
        self._real_tables = frozenset(str(name).lower() for (name,) in names.fetchall())
        connection.authorizer = self._authorize
        connection.set_progress_handler(self._over, _STEPS, id="query guard")

    def bounded(self, deadline: float, trail: Trail | None = None) -> Self:
        """For a `with` block that runs one statement until `deadline` (monotonic seconds); with a trail it is a
        client's SQL.

        Raises the refusals of the limits in place of apsw's InterruptError.
        """
        self._deadline, self._trail = deadline, trail
        self._memory, self._reason = apsw.memory_used() + self._limits.memory_bytes, ""
        self._restore = self._lower_limits() if trail is not None else ()
        return self

    # Not a generator: that would cost a point read 1 µs of 25.
    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadline, self._trail = float("inf"), None
        for limit, value in self._restore:
            self._connection.limit(limit, value)
        if isinstance(error, apsw.InterruptError):
            raise self._interrupted() from None

    def _lower_limits(self) -> tuple[tuple[int, int], ...]:
        # A value of this size still fits no frame; larger ones would only fill the memory.
        limits = (
            (apsw.SQLITE_LIMIT_LENGTH, _VALUE_BYTES),
            (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _PATTERN_BYTES),
        )
        return tuple((limit, self._connection.limit(limit, value)) for limit, value in limits)

    def _over(self) -> bool:
        if self._clock.monotonic() > self._deadline:
            self._reason = "time"
        elif apsw.memory_used() > self._memory and self._deadline != float("inf"):
            self._reason = "memory"
        return bool(self._reason)

    def _interrupted(self) -> InvalidRequest | Unavailable:
        if self._reason == "memory":
            mebibytes = self._limits.memory_bytes >> 20
            return InvalidRequest(
                "query_too_large",
                f"The query needed more than {mebibytes} MiB of memory and was stopped.",
                fix="Read fewer or smaller columns, or sort and group less at once.",
            )
        return Unavailable(
            "query_timeout",
            f"The query ran longer than {self._limits.time_s:g} s and was stopped.",
            fix="Filter and sort by indexed fields, or ask for less at once.",
            retryable=False,
        )

    def _authorize(
        self, action: int, one: str | None, two: str | None, _db: str | None, _by: str | None
    ) -> int:
        trail = self._trail
        if trail is None:
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_READ:
            return self._read(trail, one or "", two or "")
        if action in (apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE):
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_FUNCTION:
            return self._call(trail, (two or "").lower())
        trail.refused = trail.refused or not_read_only()
        return apsw.SQLITE_DENY

    def _call(self, trail: Trail, function: str) -> int:
        if function not in FUNCTIONS:
            return _deny(trail, f"the function {function} is not available", "See docs/queries.md.")
        trail.volatile = trail.volatile or function in VOLATILE
        return apsw.SQLITE_OK

    def _read(self, trail: Trail, table: str, column: str) -> int:
        # Where no column is read, SQLite gives the name as the client wrote it.
        source = self._tables.get(table.lower())
        if source is not None:
            if column in source.hidden:
                # As NULL: `SELECT *` must work, and the reader drops these columns from what it returns.
                trail.hidden.add(column)
                return apsw.SQLITE_IGNORE
            if column and column not in source.fields:
                return _deny(trail, f"{table}.{column} cannot be read", "Use the fields of the schema.")
            trail.reads.add((source.table, column))
            return apsw.SQLITE_OK
        # A name in WITH is reported like a table of which no column is read.
        if table.lower() in _TABLE_FUNCTIONS or (not column and not self._exists(table.lower())):
            return apsw.SQLITE_OK
        return _deny(trail, f"the table {table} cannot be read", "Use the collections of the schema.")

    def _exists(self, table: str) -> bool:
        return table in self._real_tables or table.startswith(("sqlite_", "pragma_"))


def not_read_only() -> InvalidRequest:
    """The refusal of every statement that is more than a query."""
    return InvalidRequest(
        "sql_not_read_only",
        "SQL may only read: SELECT, WITH … SELECT, VALUES and EXPLAIN QUERY PLAN.",
        fix="Write through commits and methods.",
    )


def _deny(trail: Trail, why: str, fix: str) -> int:
    trail.refused = trail.refused or InvalidRequest("sql_not_allowed", f"SQL: {why}.", fix=fix)
    return apsw.SQLITE_DENY
