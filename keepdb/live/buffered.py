"""Live queries whose rows lie in memory in order: how a changed buffer becomes a result and a diff.

Only rows that are new or different are rendered, and the diff comes from the touched rows, not from comparing all.
"""

import logging
from collections.abc import Iterable
from typing import Any

from keepdb.query.plan import CompiledQuery

from .buffer import Buffer, Changes, Entry, RawRow
from .diff import RowDiff, same_value
from .ordering import SortKey, sort_key
from .result import Differences, Result
from .window import Window

logger = logging.getLogger("keepdb.query")


class BufferedWindow(Window):
    """after, until: sort keys between which rows belong to the result (the first excluded), None if open.

    bound: rows behind it are not kept, though they may belong; unless it was lowered, the same as `until`.
    broken: all must be read anew.
    """

    __slots__ = ("_changes", "_shown", "after", "bound", "broken", "buffer", "make_key", "until")
    plan: CompiledQuery

    def __init__(self, plan: CompiledQuery) -> None:
        super().__init__(plan)
        shape = plan.shape
        self.make_key = sort_key(shape.order, shape.order_at)
        places = range(len(shape.order))
        self.after = None if plan.after is None else sort_key(shape.order, places)(plan.after)
        self.until = None if plan.until is None else sort_key(shape.order, places)(plan.until)
        self.bound = self.until
        self.buffer = Buffer()
        self.broken = False
        self._changes: Changes | None = None
        #: Sort keys of the rows that the result shows.
        self._shown: list[SortKey] = []

    @property
    def kept(self) -> int:
        return len(self.buffer)

    @property
    def packed(self) -> int:
        return self.buffer.size

    def belongs(self, key: SortKey) -> bool:
        """Whether a matching row with this key lies where the buffer holds all of them."""
        return (self.bound is None or key <= self.bound) and (self.after is None or key > self.after)

    def replace(self, rows: Iterable[tuple[SortKey, RawRow]]) -> None:
        """Hold what was read. After a gap everything is opened anew: a key may have been destroyed meanwhile."""
        self.buffer.replace(rows, reuse=not self.stale)

    def distrust(self) -> None:
        """A change contradicts the rows, which must not be. They are read anew, and the log has it."""
        self.broken = True
        logger.error(
            "a live query did not agree with the changes of %s; it is read anew", self.plan.source.name
        )

    def prepare(self) -> list[Entry]:
        limit = self.plan.limit
        self._changes = None if self.result is None else self.buffer.changes(self._shown, limit)
        if self._changes is None:
            visible = self.buffer.entries[:limit]
        else:
            visible = [entry for _, entry in self._changes.enter]
            visible += [now for _, now in self._changes.update]
        return [entry for entry in visible if entry.wire is None]

    def finish(self, differences: Differences) -> bool:
        old, limit, key = self.result, self.plan.limit, self.plan.key
        made = None if old is None or self._changes is None else _diff(old, self._changes, max(key, 0))
        entries = self.buffer.entries[:limit]
        has_more = len(self.buffer) > limit
        cursor = self.plan.cursor_after(entries[-1].raw) if has_more else None
        new = Result([entry.wire for entry in entries], cursor)
        self._shown = self.buffer.keys[:limit]
        self.buffer.shown()
        self._changes = None
        if old is not None:
            if made is not None and key >= 0:
                differences.add(old, new, made)
            if differences.same(old, new, key):
                return False
        self.result = new
        return True


def _diff(old: Result, changes: Changes, key: int) -> RowDiff:
    """Changes of a buffer as clients hear them, once all rows are rendered. What looks the same stays the same."""
    made = RowDiff(exit=[old.rows[at][key] for at in changes.exit])
    for was, now in changes.update:
        if same_value(was.wire, now.wire):
            now.wire = was.wire
        else:
            made.update.append(now.wire)
    made.enter = [(at, entry.wire) for at, entry in changes.enter]
    made.move = [(at, _wire(entry)[key]) for at, entry in changes.move]
    return made


def _wire(entry: Entry) -> list[Any]:
    assert entry.wire is not None
    return entry.wire
