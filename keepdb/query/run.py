"""Runs plans on one read-only connection, each in a snapshot of known position."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import msgspec

from keepdb.clock import Clock
from keepdb.errors import InvalidRequest
from keepdb.storage.connection import storage_error
from messages.queries import Query, Sql

from .catalog import Catalog
from .compile import compile_query
from .guard import Guard, Trail
from .limits import QueryLimits
from .opening import Opening, OpenValues, Row, convert
from .plan import ChildRead, CompiledQuery, Plan, SqlPlan
from .sql import SqlCompiler, sql_errors

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
        self._snapshot_ends = 0.0
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

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """One consistent view for everything read inside; gives its position. Not reentrant.

        Bounded: what still runs `time_s` after the start is stopped with query_timeout.
        """
        with self._storage_errors():
            self._cursor.execute("BEGIN")
        try:
            self._snapshot_ends = self._clock.monotonic() + self.limits.time_s
            self._seq = self.position()
            yield self._seq
        finally:
            self._seq = -1
            self._cursor.execute("COMMIT")

    def position(self) -> int:
        """Seq up to which the state is visible: of the snapshot, or outside of one as of now."""
        with self._storage_errors():
            seq: Any = self._cursor.execute("SELECT applied_seq FROM _meta").fetchall()[0][0]
            return int(seq)

    def versions(self) -> dict[str, int]:
        """Seq of the last change of each table that ever changed; inside a snapshot, as of it."""
        with self._storage_errors():
            rows: Any = self._cursor.execute("SELECT collection, version FROM _versions").fetchall()
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

    def _run_query(self, plan: CompiledQuery) -> RawResult:
        fetched = self._fetch(plan.sql, plan.params, plan.limit + 1)
        cursor = None
        if len(fetched) > plan.limit:
            del fetched[plan.limit :]
            cursor = plan.cursor_after(fetched[-1])
        shape = plan.shape
        width = len(shape.columns)
        rows: list[Row] = [list(row[:width]) for row in fetched]
        opening = Opening()
        children = [(child, self._children(child, rows, plan.key, opening)) for child in shape.children]
        if shape.opens:
            opening.collect(rows, shape.columns)
            opening.open(self._open_values)
        convert(rows, shape.columns)
        for child, found in children:
            _attach(child, found, rows, plan.key)
        return RawResult(shape.names, rows, plan.key, self._seq, cursor)

    def _children(self, child: ChildRead, rows: list[Row], key: int, opening: Opening) -> list[Row]:
        parents = msgspec.json.encode([row[key] for row in rows]).decode()
        limit = self.limits.child_rows
        fetched = self._fetch(child.sql, (parents, limit + 1), limit, "child rows")
        found = [list(row) for row in fetched]
        opening.collect(found, child.columns)
        return found

    def _run_sql(self, plan: SqlPlan) -> RawResult:
        fetched = self._fetch(plan.sql, plan.params, self.limits.limit_max, trail=Trail())
        rows: list[Row] = [list(row) for row in fetched]
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

    def _fetch(
        self, sql: str, params: Any, most: int, what: str = "rows", trail: Trail | None = None
    ) -> list[tuple[Any, ...]]:
        """All rows of a statement, at most `most`, in pieces so that the size limit holds on the way."""
        deadline = min(self._clock.monotonic() + self.limits.time_s, self._snapshot_ends)
        rows: list[tuple[Any, ...]] = []
        size, chunk = 0, min(_CHUNK_ROWS, most + 1)
        with self._storage_errors(), self._guard.bounded(deadline, trail), sql_errors(trail):
            cursor = self._cursor.execute(sql, params)
            while piece := list(islice(cursor, chunk)):
                rows += piece
                size += len(_packer.encode(piece))
                if len(rows) > most or size > self.limits.result_bytes:
                    raise self._too_much(len(rows) > most, most, what)
                # As many as the remaining bytes are likely to hold, half of them to be safe.
                chunk = max(1, (self.limits.result_bytes - size) * len(rows) // (2 * size))
                chunk = min(chunk, most + 1 - len(rows))
        return rows

    def _too_much(self, rows: bool, most: int, what: str) -> InvalidRequest:
        if rows:
            return InvalidRequest(
                "query_too_many_rows",
                f"The result has more than {most} {what}.",
                fix="Add a filter or a LIMIT, or read page by page.",
            )
        return InvalidRequest(
            "query_too_large",
            f"The result is larger than {self.limits.result_bytes >> 20} MiB.",
            fix="Select fewer columns or use a smaller limit.",
        )

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise storage_error(error, Path(self._connection.filename)) from error


def _attach(child: ChildRead, found: list[Row], rows: list[Row], key: int) -> None:
    """Put the child rows, as objects, into the list of their parent."""
    convert(found, child.columns)
    names = [column.name for column in child.columns]
    lists: dict[str, list[dict[str, Any]]] = {row[key]: [] for row in rows}
    for row in found:
        lists[row[-1]].append(dict(zip(names, row, strict=False)))
    for row in rows:
        row[child.at] = lists[row[key]]


def _refuse_records(plan: SqlPlan, rows: Sequence[Row]) -> None:
    for at, column in enumerate(plan.columns):
        if not column.sealed and any(type(row[at]) is bytes for row in rows):
            raise InvalidRequest(
                "sql_sealed",
                f"SQL: the column {column.name!r} holds sealed records; expressions cannot open them.",
                fix="Select the encrypted column itself, beside the id of its row.",
            )
