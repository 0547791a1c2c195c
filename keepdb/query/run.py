"""Runs plans on one read-only connection, each in a snapshot of known position."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import msgspec

from keepdb.clock import Clock
from keepdb.errors import InvalidRequest, KeepError, StorageError
from keepdb.storage.connection import storage_error
from messages.queries import Query, Sql

from .catalog import Catalog
from .compile import compile_query
from .guard import Guard, Trail
from .limits import QueryLimits
from .opening import Opening, OpenValues, Row, convert
from .plan import CompiledQuery, Plan, SqlPlan
from .related import RawRow, Related, too_many_bytes
from .sql import SqlCompiler, sql_error, sql_errors

_packer = msgspec.msgpack.Encoder()
#: Rows fetched before the size of a result is looked at for the first time.
_CHUNK_ROWS = 64


@dataclass(frozen=True, slots=True)
class RawResult:
    """Rows as the client gets them. key: column of the id, -1 if none. seq: position of the snapshot.

    cursor: where the next page starts, None if this was the last.
    """

    columns: tuple[str, ...]
    rows: list[Any] = field(repr=False)
    key: int
    seq: int
    cursor: str | None = None


class Reader:
    """One read-only connection to a state file, used by one thread. It stays the opener's to close.

    open_values: opens sealed values, see opening.OpenValues; asked at most once per result.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        catalog: Catalog,
        *,
        clock: Clock,
        open_values: OpenValues,
        limits: QueryLimits,
    ) -> None:
        self.catalog = catalog
        self.limits = limits
        self._connection = connection
        self._clock = clock
        self._open_values = open_values
        self._guard = Guard(connection, catalog, clock, limits)
        self._sql = SqlCompiler(connection, self._guard, catalog, clock, limits)
        # One cursor for all: every new one costs more than the statements of a snapshot.
        self._cursor = connection.cursor()
        self._snapshot = Snapshot(self._begin, self._end)
        self._ends = 0.0
        self._seq = -1

    def plan(self, query: Query | None, sql: Sql | None) -> Plan:
        """The plan of a request, which gives exactly one of the two. Raises InvalidRequest."""
        if query is not None and sql is None:
            return compile_query(query, self.catalog, self.limits)
        if sql is not None and query is None:
            return self._sql.plan(sql)
        raise InvalidRequest(
            "query_bad_value", "A read needs exactly one of query and sql.", fix="Give one of them."
        )

    def snapshot(self) -> "Snapshot":
        """One consistent view for everything read in a `with` block; gives its position. Not reentrant.

        Bounded: what still runs `time_s` after the start is stopped with query_timeout.
        """
        return self._snapshot

    def position(self) -> int:
        """Seq up to which the state is visible: of the snapshot, or outside of one as of now."""
        try:
            return int(self._cursor.execute("SELECT applied_seq FROM _meta").get)
        except apsw.Error as error:
            raise self._storage_error(error) from error

    def versions(self) -> dict[str, int]:
        """Seq of the last change of each table that ever changed; inside a snapshot, as of it."""
        try:
            rows: Any = self._cursor.execute("SELECT collection, version FROM _versions").fetchall()
        except apsw.Error as error:
            raise self._storage_error(error) from error
        return dict(rows)

    def run(self, plan: Plan) -> RawResult:
        """The result of a plan, in the snapshot around it or in one of its own.

        Raises InvalidRequest, Unavailable query_timeout, StorageError and what open_values raises.
        """
        if self._seq < 0:
            with self.snapshot():
                return self.run(plan)
        if isinstance(plan, SqlPlan):
            return self._run_sql(plan)
        return self._run_query(plan)

    def fetch(self, plan: CompiledQuery, rows_max: int) -> list[RawRow]:
        """At most the first `rows_max` raw rows of a plan, whatever its own limit; nothing in them is opened.

        Only inside a snapshot. A raw row holds the columns of the shape, then what only its order needs.
        """
        return self._fetch(plan.first(rows_max), plan.params, rows_max)

    def render(self, plan: CompiledQuery, raw_rows: Sequence[RawRow]) -> list[Row]:
        """Raw rows as clients get them: opened in one ask, converted, with their child rows and related rows.

        Only inside a snapshot, the one they were fetched in.
        """
        shape = plan.shape
        width = len(shape.columns)
        rows: list[Row] = [list(row[:width]) for row in raw_rows]
        opening = Opening()
        related = Related(self._fetch, self.limits)
        found = related.read(shape.relations, raw_rows, opening) if shape.relations else []
        if shape.opens:
            opening.collect(rows, shape.columns)
            opening.open(self._open_values)
        convert(rows, shape.columns)
        if found:
            related.attach(found, raw_rows, rows, len(_packer.encode(rows)))
        return rows

    def _run_query(self, plan: CompiledQuery) -> RawResult:
        fetched = self._fetch(plan.sql, plan.params, plan.limit + 1)
        cursor = None
        if len(fetched) > plan.limit:
            del fetched[plan.limit :]
            cursor = plan.cursor_after(fetched[-1])
        return RawResult(plan.shape.names, self.render(plan, fetched), plan.key, self._seq, cursor)

    def _fetch(self, sql: str, params: tuple[Any, ...], rows_max: int) -> list[RawRow]:
        """At most `rows_max` rows of a compiled statement."""
        try:
            with self._guard.bounded(self._ends):
                return self._collect(self._cursor.execute(sql, params), rows_max)
        except apsw.SQLError as error:
            # Here a client can only be wrong in its numbers: a sum that leaves 64 bits.
            raise sql_error(error) from None
        except apsw.Error as error:
            raise self._storage_error(error) from error

    def _run_sql(self, plan: SqlPlan) -> RawResult:
        rows: list[Row] = [list(row) for row in self._fetch_sql(plan)]
        if plan.opens:
            opening = Opening()
            opening.collect(rows, plan.columns)
            opening.open(self._open_values)
        convert(rows, plan.columns)
        if plan.reads_sealed:
            _refuse_records(plan, rows)
        for at in reversed(plan.dropped):
            for row in rows:
                del row[at]
        return RawResult(plan.names, rows, -1, self._seq)

    def _fetch_sql(self, plan: SqlPlan) -> list[RawRow]:
        most, trail = self.limits.limit_max, Trail()
        try:
            with self._guard.bounded(self._ends, trail), sql_errors(trail):
                rows = self._collect(self._cursor.execute(plan.sql, plan.params), most + 1)
        except apsw.Error as error:
            raise self._storage_error(error) from error
        if len(rows) > most:
            raise InvalidRequest(
                "query_too_many_rows",
                f"The result has more than {most} rows.",
                fix="Add a filter or a LIMIT, or read page by page.",
            )
        return rows

    def _collect(self, cursor: Iterator[RawRow], rows_max: int) -> list[RawRow]:
        """At most `rows_max` rows, in pieces so that the size limit holds on the way."""
        rows: list[RawRow] = []
        size, chunk = 0, min(_CHUNK_ROWS, rows_max)
        while piece := list(islice(cursor, chunk)):
            rows += piece
            size += len(_packer.encode(piece))
            if size > self.limits.result_bytes:
                raise too_many_bytes(self.limits)
            # As many as the remaining bytes are likely to hold, half of them to be safe.
            chunk = max(1, (self.limits.result_bytes - size) * len(rows) // (2 * size))
            chunk = min(chunk, rows_max - len(rows))
        return rows

    def _begin(self) -> int:
        try:
            self._cursor.execute("BEGIN")
        except apsw.Error as error:
            raise self._storage_error(error) from error
        self._ends = self._clock.monotonic() + self.limits.time_s
        try:
            self._seq = self.position()
        except KeepError:
            self._end()
            raise
        return self._seq

    def _end(self) -> None:
        self._seq = -1
        self._cursor.execute("COMMIT")

    def _storage_error(self, error: apsw.Error) -> StorageError:
        return storage_error(error, Path(self._connection.filename))


class Snapshot:
    """The `with` block of a reader's snapshot. Not a generator: that would cost a point read 1 µs of 25."""

    __slots__ = ("_begin", "_end")

    def __init__(self, begin: Callable[[], int], end: Callable[[], None]) -> None:
        self._begin = begin
        self._end = end

    def __enter__(self) -> int:
        return self._begin()

    def __exit__(self, *_: object) -> None:
        self._end()


def _refuse_records(plan: SqlPlan, rows: Sequence[Row]) -> None:
    for at, column in enumerate(plan.columns):
        if not column.sealed and any(type(row[at]) is bytes for row in rows):
            raise InvalidRequest(
                "sql_sealed",
                f"SQL: the column {column.name!r} holds sealed records; expressions cannot open them.",
                fix="Select the encrypted column itself, beside the id of its row.",
            )
