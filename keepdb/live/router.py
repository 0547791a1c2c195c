"""From a changed row to the live queries it may concern, without looking at the others.

By table, then by the value of a guarded column; queries without a guard are asked one by one, those whose filters have
the same shape in one sweep.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keepdb.query.matching import Filter, FilterShape, compile_filter
from keepdb.query.predicate import Group
from keepdb.storage.changes import Row

if TYPE_CHECKING:
    from .window import Window

#: The values of some columns of a row, to be compared.
Columns = Callable[[Row], Any]


#: The filter of a query that has none.
EVERYTHING = compile_filter(Group("and", ()), ())


def no_columns(_row: Row) -> None:
    """For queries that only ask which rows there are: no update concerns them."""


class Route:
    """How changed rows of one table reach one live query.

    filter: only rows that meet it, before or after. columns: of an update, whether these differ; None: the window
    sees for itself. guard: place of a column and values it must have, None if any.
    """

    __slots__ = ("columns", "filter", "guard", "table", "window")

    def __init__(
        self,
        table: str,
        window: "Window",
        filter: Filter = EVERYTHING,
        columns: Columns | None = None,
        guard: tuple[int, tuple[Any, ...]] | None = None,
    ) -> None:
        self.table = table
        self.window = window
        self.filter = filter
        self.columns = columns
        self.guard = guard

    def is_silent(self, before: Row | None, after: Row | None) -> bool:
        """Whether an update changed only columns that the query does not read."""
        if self.columns is None or before is None or after is None:
            return False
        return bool(self.columns(before) == self.columns(after))


class Router:
    """All routes of one engine."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}

    def add(self, route: Route) -> None:
        self._tables.setdefault(route.table, _Table()).add(route)

    def remove(self, route: Route) -> None:
        table = self._tables[route.table]
        table.remove(route)
        if not table.unguarded and not table.guarded:
            del self._tables[route.table]

    def of_table(self, table: str) -> list[Route]:
        """All routes of a table, each once."""
        routes = self._tables.get(table)
        return routes.all() if routes is not None else []

    def concerned(self, table: str, before: Row | None, after: Row | None) -> list[Route]:
        """The routes that a changed row may concern, each once."""
        routes = self._tables.get(table)
        return routes.concerned(before, after) if routes is not None else []


class _Table:
    """Routes of one table.

    unguarded: shape of their filters -> route -> operands. guarded: place of a column -> value -> routes, the innermost
    a set that keeps order.
    """

    __slots__ = ("guarded", "unguarded")

    def __init__(self) -> None:
        self.unguarded: dict[FilterShape, dict[Route, tuple[Any, ...]]] = {}
        self.guarded: dict[int, dict[Any, dict[Route, None]]] = {}

    def add(self, route: Route) -> None:
        if route.guard is None:
            self.unguarded.setdefault(route.filter.shape, {})[route] = route.filter.operands
            return
        place, values = route.guard
        for value in values:
            self.guarded.setdefault(place, {}).setdefault(value, {})[route] = None

    def remove(self, route: Route) -> None:
        if route.guard is None:
            routes = self.unguarded[route.filter.shape]
            del routes[route]
            if not routes:
                del self.unguarded[route.filter.shape]
            return
        place, values = route.guard
        by_value = self.guarded[place]
        for value in dict.fromkeys(values):
            del by_value[value][route]
            if not by_value[value]:
                del by_value[value]
        if not by_value:
            del self.guarded[place]

    def all(self) -> list[Route]:
        found: dict[Route, None] = {}
        for unguarded in self.unguarded.values():
            found |= dict.fromkeys(unguarded)
        for by_value in self.guarded.values():
            for routes in by_value.values():
                found |= routes
        return list(found)

    def concerned(self, before: Row | None, after: Row | None) -> list[Route]:
        found: list[Route] = []
        if before is None or after is None:
            row = after if before is None else before
            assert row is not None
            for shape, unguarded in self.unguarded.items():
                found += shape.one(unguarded.items(), row)
            for place, by_value in self.guarded.items():
                if routes := by_value.get(row[place]):
                    found += [route for route in routes if route.filter.matches(row)]
            return found
        for shape, unguarded in self.unguarded.items():
            found += shape.either(unguarded.items(), after, before)
        for place, by_value in self.guarded.items():
            routes = by_value.get(after[place])
            if before[place] != after[place] and (left := by_value.get(before[place])):
                routes = left if routes is None else routes | left
            if routes:
                found += [
                    route for route in routes if route.filter.matches(after) or route.filter.matches(before)
                ]
        return found
