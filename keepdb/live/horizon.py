"""Horizon windows: filter, order and limit over one table, kept up to date from the changed rows alone.

The window holds the first matching rows in order, some more than are visible, and a bound: every matching row up to
it is in the buffer. So a row that comes, goes or moves is put in its place or ignored, and only if too few rows are
left before the bound is the table read again. docs/decisions/0013-live-windows.md says why it is done this way.
"""

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any

from keepdb.errors import InvalidRequest
from keepdb.query.matching import Match
from keepdb.query.plan import CompiledQuery, Shape
from keepdb.query.run import Reader
from keepdb.storage.changes import Row

from .buffer import RawRow
from .buffered import BufferedWindow

#: Rows kept behind the visible ones. With 10 of them, 5 of 120 000 random transactions needed to read again.
_SLACK_MIN = 10
_SLACK_PART = 8


class HorizonWindow(BufferedWindow):
    """A live page of one table's rows."""

    __slots__ = ("_bytes_max", "_matches", "_project")
    strategy = "window"

    def __init__(self, plan: CompiledQuery, matches: Match) -> None:
        super().__init__(plan)
        self._matches = matches
        self._project = _projection(_raw_columns(plan.shape), plan.source.columns)
        self._bytes_max = 0

    @property
    def needs_read(self) -> bool:
        # One row more than is visible: whether there is a next page is part of the result.
        return self.broken or (self.bound is not self.until and len(self.buffer) <= self.plan.limit)

    def apply(self, before: Row | None, after: Row | None) -> bool:
        old = None if before is None or not self._matches(before) else self._project(before)
        new = None if after is None or not self._matches(after) else self._project(after)
        if old == new:
            return False
        # The last part of a sort key is the row's id, so it names the row while it moves.
        old_key = None if old is None else self.make_key(old)
        new_key = None if new is None else self.make_key(new)
        touched = False
        if old_key is not None and self.belongs(old_key):
            touched = True
            if not self.buffer.remove(old_key[-1], old_key):
                self.distrust()
        if new is not None and new_key is not None and self.belongs(new_key):
            touched = True
            if not self.buffer.insert(new_key[-1], new_key, new):
                self.distrust()
        if touched:
            self._trim()
        return touched

    def _trim(self) -> None:
        """Drop spare rows where there are many, or where the page gets too large."""
        rows, limit = len(self.buffer), self.plan.limit
        if rows > limit + 2 * self._slack:
            self._hold(limit + self._slack)
        if self.buffer.size > self._bytes_max:
            if rows > limit + 1:
                self._hold(limit + 1)
            # Whether what is visible is too large, too, a read says as it would to anybody else.
            self.broken = self.broken or self.buffer.size > self._bytes_max

    def read(self, reader: Reader, at_head: bool) -> None:
        wanted = self.plan.limit + self._slack
        self._bytes_max = reader.limits.result_bytes
        try:
            rows = reader.fetch(self.plan, wanted)
        except InvalidRequest as error:
            if error.code != "query_too_large":
                raise
            # What is visible may fit where the spare rows do not.
            wanted = self.plan.limit + 1
            rows = reader.fetch(self.plan, wanted)
        self.replace([(self.make_key(row), row) for row in rows])
        self.bound, self.broken = self.until, False
        if len(rows) == wanted:
            self._hold(wanted)

    @property
    def _slack(self) -> int:
        return max(_SLACK_MIN, self.plan.limit // _SLACK_PART)

    def _hold(self, rows: int) -> None:
        """Keep this many rows at most; from now on there may be more behind them."""
        self.buffer.cut(rows)
        self.bound = self.buffer.keys[-1]


def _raw_columns(shape: Shape) -> tuple[str, ...]:
    """Names of what a raw row holds: the columns shown, then those that only the order needs."""
    places = dict(enumerate(column.column for column in shape.columns))
    places |= {at: term.field.name for term, at in zip(shape.order, shape.order_at, strict=True)}
    return tuple(places[at] for at in range(len(places)))


@lru_cache(maxsize=1024)
def _projection(names: tuple[str, ...], columns: tuple[str, ...]) -> Callable[[Row], RawRow]:
    """From an image in table order to a raw row of these columns."""
    places = [columns.index(name) for name in names]
    if len(places) == 1:
        (place,) = places
        return lambda row: (row[place],)
    made: Callable[[Row], Any] = itemgetter(*places)
    return made
