"""Group windows: aggregates, groupBy, having and distinct over one table, kept up to date from the changed rows.

Every group is kept with its figures, also those that having or the limit hide. A row is counted out of its old group
and into its new one; groups whose figures are uncertain then are read again, alone where the snapshot allows it.
"""

from keepdb.errors import InvalidRequest
from keepdb.query.matching import Match, matcher
from keepdb.query.plan import CompiledQuery
from keepdb.query.predicate import Predicate
from keepdb.query.run import Reader
from keepdb.storage.changes import Row

from .buffer import Entry, RawRow, weigh
from .buffered import BufferedWindow
from .tally import Group, Name, Tally

#: More uncertain groups than this are not worth a statement each.
_PARTS_MAX = 8


class GroupWindow(BufferedWindow):
    """A live result of groups. Its buffer holds all those that having lets through."""

    __slots__ = (
        "_bytes_max",
        "_groups_max",
        "_having",
        "_incremental",
        "_matches",
        "_size",
        "_tally",
        "_touched",
        "_uncertain",
    )
    strategy = "groups"

    def __init__(self, plan: CompiledQuery, matches: Match, condition: Predicate) -> None:
        super().__init__(plan)
        self._matches = matches
        self._tally = Tally(plan, condition)
        self._having = None if plan.having is None else matcher(plan.having, plan.shape.names)
        self._touched: dict[Name, None] = {}
        self._uncertain: dict[Name, None] = {}
        self._groups_max = self._bytes_max = 0
        #: Of all groups, as of the last result.
        self._size = 0
        #: Off where there are too many groups or too large sums: then every change runs the query again.
        self._incremental = True

    @property
    def kept(self) -> int:
        return max(len(self._tally.groups), len(self.buffer))

    @property
    def packed(self) -> int:
        return max(self._size, self.buffer.size)

    @property
    def needs_read(self) -> bool:
        return self.broken or bool(self._uncertain)

    def apply(self, before: Row | None, after: Row | None) -> bool:
        old = before if before is not None and self._matches(before) else None
        new = after if after is not None and self._matches(after) else None
        if old is not None and new is not None and self._tally.is_same(old, new):
            return False
        if not self._incremental:
            self.broken = True
            return True
        try:
            if old is not None:
                self._touch(self._tally.subtract(old))
            if new is not None:
                self._touch(self._tally.add(new))
        except KeyError:
            # A row left a group that is not there.
            self.distrust()
        return True

    def _touch(self, name: Name) -> None:
        group = self._tally.groups[name]
        self._touched[name] = None
        if group.rows < 0:
            self.distrust()
        self.broken = self.broken or group.is_too_large or self._has_too_many
        if group.is_stale:
            self._uncertain[name] = None
        else:
            self._uncertain.pop(name, None)

    @property
    def _has_too_many(self) -> bool:
        return len(self._tally.groups) > self._groups_max or self._size > self._bytes_max

    def read(self, reader: Reader, at_head: bool) -> None:
        if at_head and not self.broken and len(self._uncertain) <= _PARTS_MAX:
            for name in self._uncertain:
                self._tally.read_one(reader, name)
        else:
            self._read_all(reader)
            self._touched.clear()
        self._uncertain.clear()
        self.broken = False

    def _read_all(self, reader: Reader) -> None:
        self._incremental = self._incremental and self._read_groups(reader)
        self._size = 0
        if not self._incremental:
            self._tally.groups.clear()
            rows = reader.fetch(self.plan, self.plan.limit + 1)
            self.replace([(self.make_key(row), row) for row in rows])
            return
        groups = self._tally.groups
        for name, group in groups.items():
            group.raw = self._raw(name, group)
            group.key = None if group.raw is None else self.make_key(group.raw)
        shown = [
            (each.key, each.raw) for each in groups.values() if each.key is not None and each.raw is not None
        ]
        self.replace(sorted(shown, key=lambda pair: pair[0]))

    def _read_groups(self, reader: Reader) -> bool:
        self._groups_max, self._bytes_max = reader.limits.live_groups, reader.limits.result_bytes
        try:
            return self._tally.read_all(reader, self._groups_max)
        except InvalidRequest as error:
            if error.code != "query_too_large":
                raise
            # All groups together are too large; what is shown of them may not be.
            return False

    def prepare(self) -> list[Entry]:
        for name in self._touched:
            self._settle(name, self._tally.groups[name])
        self._touched.clear()
        return super().prepare()

    def _settle(self, name: Name, group: Group) -> None:
        """Put the group's row where it belongs now."""
        raw = self._raw(name, group)
        if raw != group.raw:
            if group.key is not None:
                self.buffer.remove(name, group.key)
            group.raw, group.key = raw, None if raw is None else self.make_key(raw)
            if raw is not None and group.key is not None:
                self.buffer.insert(name, group.key, raw)
        if group.rows == 0 and name:
            del self._tally.groups[name]
            self._size -= group.size

    def _raw(self, name: Name, group: Group) -> RawRow | None:
        """The row that stands for a group; None where it has no rows, or is not asked for."""
        if group.rows == 0 and name:
            return None
        raw = (*name, *(figure.value for figure in group.figures))
        was, group.size = group.size, weigh(raw)
        self._size += group.size - was
        if self._having is not None and not self._having(raw):
            return None
        return raw if self.belongs(self.make_key(raw)) else None
