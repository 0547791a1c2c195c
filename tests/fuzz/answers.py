"""What the oracle expects of a result, and whether what a client holds agrees with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import msgspec

_packer = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Near:
    """A sum of floats: SQLite's depends on the order in which it meets the rows, within `slack`."""

    value: float
    slack: float


@dataclass(frozen=True)
class Answer:
    """The expected result at one position. key: column of the key, -1 if rows have none.

    more: whether rows follow. last: the order's values in the last row. fails: whether SQLite refuses to
    compute it (a sum beyond 64 bits); "maybe" where that depends on the order of its rows.
    """

    columns: tuple[str, ...]
    key: int
    rows: list[list[Any]]
    more: bool = False
    last: dict[str, Any] | None = field(default=None, repr=False)
    fails: Literal["no", "maybe", "yes"] = "no"
    near: bool = False

    @cached_property
    def packed(self) -> bytes:
        """The rows as on the wire."""
        return pack(self.rows)

    def agrees(self, rows: Sequence[Any], packed: bytes) -> bool:
        """Whether these are the expected rows. packed: the same rows as on the wire."""
        if self.near:
            return len(rows) == len(self.rows) and all(map(_alike, self.rows, rows))
        return self.packed == packed


def pack(rows: Any) -> bytes:
    """Rows as on the wire, where 1, 1.0 and true differ."""
    return _packer.encode(rows)


def _alike(expected: Sequence[Any], found: Sequence[Any]) -> bool:
    return len(expected) == len(found) and all(map(_same, expected, found))


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, Near):
        return type(found) is float and abs(found - expected.value) <= expected.slack
    return pack(expected) == pack(found)
