"""The difference of two results, by primary key, and its application. The rules: messages.queries.Diff.

Pure functions: the server makes diffs, clients and tests apply them.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

_packer = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class RowDiff:
    """exit: keys. update: whole rows. enter: (index, row), move: (index, key), both in ascending index."""

    exit: list[Any] = field(default_factory=list)
    update: list[Any] = field(default_factory=list)
    enter: list[tuple[int, Any]] = field(default_factory=list)
    move: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of rows and keys it carries; 0 if nothing changed."""
        return len(self.exit) + len(self.update) + len(self.enter) + len(self.move)


def diff_rows(old: Sequence[Any], new: Sequence[Any], key: int) -> RowDiff:
    """What turns `old` into `new`. key: index of the primary key in a row; keys are unique in each list.

    The fewest moves: rows that keep their order are a longest increasing subsequence (patience sorting,
    Fredman 1975, O(n log n)).
    """
    made = RowDiff()
    places = {row[key]: at for at, row in enumerate(old)}
    kept: list[tuple[int, int]] = []
    for at, row in enumerate(new):
        before = places.pop(row[key], None)
        if before is None:
            made.enter.append((at, row))
            continue
        kept.append((at, before))
        if not same_value(old[before], row):
            made.update.append(row)
    made.exit = list(places)
    stay = _increasing([before for _, before in kept])
    made.move = [(at, new[at][key]) for index, (at, _) in enumerate(kept) if index not in stay]
    return made


def same_value(one: Any, other: Any) -> bool:
    """Whether two wire values are the same message. Python itself takes 1, 1.0 and true for equal."""
    return one is other or _packer.encode(one) == _packer.encode(other)


def apply_diff(rows: Sequence[Any], key: int, diff: Any) -> list[Any]:
    """The rows after a diff. diff: a RowDiff or a messages.queries.Diff. The given rows stay as they are.

    Raises KeyError or IndexError where the diff does not belong to these rows.
    """
    current = {row[key]: row for row in rows}
    for row in diff.update:
        current[row[key]]  # a KeyError here: the diff is for other rows
        current[row[key]] = row
    moved = {name for _, name in diff.move}
    gone = moved.union(diff.exit)
    result = [current[row[key]] for row in rows if row[key] not in gone]
    placed = [*((at, row) for at, row in diff.enter), *((at, current[name]) for at, name in diff.move)]
    for at, row in sorted(placed, key=lambda place: place[0]):
        if at > len(result):
            raise IndexError(f"the diff puts a row at {at}, behind the end of {len(result)} rows")
        result.insert(at, row)
    return result


def _increasing(numbers: Sequence[int]) -> set[int]:
    """Indexes of one longest strictly increasing subsequence."""
    if all(one < other for one, other in pairwise(numbers)):
        return set(range(len(numbers)))
    tails: list[int] = []
    tail_at: list[int] = []
    previous: list[int] = []
    for index, number in enumerate(numbers):
        length = bisect_left(tails, number)
        previous.append(tail_at[length - 1] if length else -1)
        if length == len(tails):
            tails.append(number)
            tail_at.append(index)
        else:
            tails[length], tail_at[length] = number, index
    chain: set[int] = set()
    at = tail_at[-1] if tail_at else -1
    while at >= 0:
        chain.add(at)
        at = previous[at]
    return chain
