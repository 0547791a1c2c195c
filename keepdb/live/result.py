"""What a live query shows at one moment, and the differences between two such moments."""

from typing import Any

from .diff import RowDiff, diff_rows, same_value


class Result:
    """Rows as clients get them, and the cursor behind the last one. Never changed: subscribers that lag behind keep
    the one they have."""

    __slots__ = ("cursor", "rows")

    def __init__(self, rows: list[Any], cursor: str | None = None) -> None:
        self.rows = rows
        self.cursor = cursor


class Differences:
    """Diffs of one turn, each made once however many subscribers it goes to. Windows add those that they know."""

    def __init__(self) -> None:
        # The results are kept along: while they live, their ids name nothing else.
        self._made: dict[tuple[int, int], tuple[Result, Result, RowDiff]] = {}

    def add(self, old: Result, new: Result, made: RowDiff) -> None:
        self._made[id(old), id(new)] = (old, new, made)

    def between(self, old: Result, new: Result, key: int) -> RowDiff:
        """What turns one result into another. key: index of the key in a row."""
        found = self._made.get((id(old), id(new)))
        if found is not None:
            return found[2]
        made = diff_rows(old.rows, new.rows, key)
        self.add(old, new, made)
        return made

    def same(self, old: Result, new: Result, key: int) -> bool:
        """Whether there is nothing to tell. key: -1 where rows have none."""
        if old.cursor != new.cursor:
            return False
        if key < 0:
            return same_value(old.rows, new.rows)
        return self.between(old, new, key).size == 0
