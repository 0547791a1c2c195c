"""Live queries that run again: SQL, and rows shown together with others. Only if a change may have mattered.

What may matter is decided before it gets here, by table, guard, filter and column: see router.py.
"""

from keepdb.query.plan import Plan
from keepdb.query.run import Reader
from keepdb.storage.changes import Row

from .buffer import Entry, weigh
from .result import Differences, Result
from .window import Window


class RerunWindow(Window):
    """Its result is whatever its query gives; what changed in it is found by comparing."""

    __slots__ = ("_fresh", "_outdated", "_packed")
    strategy = "rerun"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._fresh: Result | None = None
        self._outdated = False
        self._packed = 0

    @property
    def kept(self) -> int:
        shown = self._fresh or self.result
        return 0 if shown is None else len(shown.rows)

    @property
    def packed(self) -> int:
        return self._packed

    @property
    def needs_read(self) -> bool:
        return self._outdated

    def apply(self, before: Row | None, after: Row | None) -> bool:
        self._outdated = True
        return True

    def read(self, reader: Reader, at_head: bool) -> None:
        made = reader.run(self.plan)
        self._fresh, self._outdated = Result(made.rows, made.cursor), False
        self._packed = weigh(made.rows)

    def prepare(self) -> list[Entry]:
        return []

    def finish(self, differences: Differences) -> bool:
        old, new = self.result, self._fresh
        self._fresh = None
        if new is None or (old is not None and differences.same(old, new, self.plan.key)):
            return False
        self.result = new
        return True
