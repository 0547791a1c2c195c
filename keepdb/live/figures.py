"""Aggregates that follow single rows: each knows what adding or taking away a value does to it, as SQLite has it.

What cannot be known from one row alone (the next smallest value, a sum of floats, which do not subtract exactly) makes
a figure stale: then its group is read again. Source of the sums' rules: sqlite3 func.c, sumStep and avgFinalize.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from keepdb.query.aggregate import Aggregate

_LOW_BITS = 2**32 - 1
_INTEGERS = 2**63


class Figure(ABC):
    """One aggregate of one group."""

    __slots__ = ()

    @abstractmethod
    def add(self, value: Any) -> None:
        """A row with this value came into the group."""

    @abstractmethod
    def subtract(self, value: Any) -> None:
        """A row with this value left the group."""

    @property
    @abstractmethod
    def value(self) -> Any:
        """What the aggregate gives."""

    @property
    def is_stale(self) -> bool:
        """Whether `value` is unknown until the group is read again."""
        return False

    @property
    def is_too_large(self) -> bool:
        """Whether SQLite might have left 64 bits on its way, depending on the order of the rows."""
        return False


class Count(Figure):
    """Rows, or rows that have a value."""

    __slots__ = ("_count", "_rows")

    def __init__(self, rows: bool, count: int) -> None:
        self._rows = rows
        self._count = count

    def add(self, value: Any) -> None:
        self._count += self._rows or value is not None

    def subtract(self, value: Any) -> None:
        self._count -= self._rows or value is not None

    @property
    def value(self) -> int:
        return self._count


class IntegerSum(Figure):
    """Sum or average of integers. size: at least the sum of their absolute values. high, low: the sum's halves."""

    __slots__ = ("_average", "_count", "_size", "_sum")

    def __init__(self, average: bool, count: int, high: int | None, low: int | None, size: int) -> None:
        self._average = average
        self._count = count
        self._sum = ((high or 0) << 32) + (low or 0)
        self._size = size

    def add(self, value: Any) -> None:
        if value is not None:
            self._count += 1
            self._sum += value
            self._size += abs(value)

    def subtract(self, value: Any) -> None:
        if value is not None:
            self._count -= 1
            self._sum -= value
            self._size -= abs(value)

    @property
    def value(self) -> int | float | None:
        if not self._count:
            return None
        # Python would divide integers exactly, SQLite rounds them to floats before.
        return float(self._sum) / float(self._count) if self._average else self._sum

    @property
    def is_too_large(self) -> bool:
        return self._size >= _INTEGERS


class Extremum(Figure):
    """Smallest or largest value. Once it has left, the remaining ones are known to lie behind it only."""

    __slots__ = ("_count", "_largest", "_left", "_value")

    def __init__(self, largest: bool, count: int, value: Any) -> None:
        self._largest = largest
        self._count = count
        self._value = value
        self._left = False

    def add(self, value: Any) -> None:
        if value is None:
            return
        self._count += 1
        if self._count == 1 or (value >= self._value if self._largest else value <= self._value):
            self._value, self._left = value, False

    def subtract(self, value: Any) -> None:
        if value is None:
            return
        self._count -= 1
        if self._count == 0:
            self._value, self._left = None, False
        elif value == self._value:
            self._left = True

    @property
    def value(self) -> Any:
        return self._value

    @property
    def is_stale(self) -> bool:
        return self._left


class FloatSum(Figure):
    """Sum or average of floats: only SQLite adds them up as SQLite does."""

    __slots__ = ("_changed", "_count", "_value")

    def __init__(self, count: int, value: float | None) -> None:
        self._count = count
        self._value = value
        self._changed = False

    def add(self, value: Any) -> None:
        if value is not None:
            self._count += 1
            self._changed = True

    def subtract(self, value: Any) -> None:
        if value is not None:
            self._count -= 1
            self._changed = True

    @property
    def value(self) -> float | None:
        return self._value if self._count else None

    @property
    def is_stale(self) -> bool:
        return self._changed and self._count > 0


def state_sql(aggregate: Aggregate) -> list[str]:
    """The columns that load() makes a figure of."""
    if aggregate.field is None:
        return ["count(*)"]
    column, function = aggregate.field.sql, aggregate.function
    match function:
        case "count":
            return [f"count({column})"]
        case "sum" | "avg" if aggregate.field.kind == "integer":
            # In two halves, because the whole sum may leave 64 bits, which ends a query.
            halves = [f"sum({column} >> 32)", f"sum({column} & {_LOW_BITS})"]
            return [f"count({column})", *halves, f"total(abs({column} / 2))"]
        case _:
            return [f"count({column})", f"{function}({column})"]


def load(aggregate: Aggregate, state: Sequence[Any]) -> Figure:
    """The figure of a group. state: values of state_sql()."""
    function = aggregate.function
    if aggregate.field is None or function == "count":
        return Count(aggregate.field is None, state[0])
    if function in ("min", "max"):
        return Extremum(function == "max", *state)
    if aggregate.field.kind == "integer":
        count, high, low, half = state
        # Half a value loses up to one, and the total is a float; a little too large does no harm.
        size = int(2.000001 * (half or 0.0)) + count
        return IntegerSum(function == "avg", count, high, low, size)
    return FloatSum(*state)


def empty(aggregate: Aggregate) -> Figure:
    """The figure of a group that has no rows yet."""
    return load(aggregate, [0, *[None] * (len(state_sql(aggregate)) - 1)])
