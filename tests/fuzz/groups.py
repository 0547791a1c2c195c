"""Random aggregates, and their answers by brute force: counted and added up anew from all rows of the model."""

import math
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Literal

from keepdb.query.plan import Plan
from keepdb.query.run import Reader
from messages.queries import Query

from .answers import Answer, Near
from .filters import Filters, meaning_of
from .pages import NO_PAGES, Pages, in_order, taken, total
from .questions import SOURCES, Source
from .values import Domain
from .world import Moment, Row

_MOST, _LEAST = 2**63 - 1, -(2**63)
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "sum": ("integer", "real"),
    "avg": ("integer", "real"),
    "min": ("integer", "real", "timestamp", "text", "enum", "ref"),
    "max": ("integer", "real", "timestamp", "text", "enum", "ref"),
}
Fails = Literal["no", "maybe", "yes"]


class Groups:
    """A query for groups: of aggregates, or of distinct values. parts: fields of messages.queries.Query."""

    sealed = False

    def __init__(self, source: Source, parts: dict[str, Any], pages: Pages = NO_PAGES) -> None:
        self._source = source
        self._pages = pages
        self.parts = parts | pages.parts
        self.tables: tuple[str, ...] = (source.table,)
        self._test = meaning_of(parts.get("where", {}))
        self._keep = meaning_of(parts.get("having", {}))
        self._by: tuple[str, ...] = parts["select"] if parts.get("distinct") else parts.get("group_by", ())
        self._aggregates: dict[str, dict[str, str]] = parts.get("aggregates", {})
        self._names = (*self._by, *self._aggregates)
        self._order = total(parts.get("order_by", ()), self._by)
        self._known: tuple[Any, Answer] | None = None

    def __str__(self) -> str:
        return f"{self._source.name} {self.parts}"

    def plan(self, reader: Reader) -> Plan:
        return reader.plan(Query(source=self._source.name, **self.parts), None)

    def answer(self, moment: Moment) -> Answer:
        read = moment.tables[self._source.table]
        if self._known is None or self._known[0] is not read:
            self._known = (read, self._find(read.values()))
        return self._known[1]

    def _find(self, rows: Iterable[Row]) -> Answer:
        made, fails = self._made(self._members(rows))
        kept = [row for row in made if self._keep(row)]
        found = in_order(kept, self._order) if self._pages is NO_PAGES else self._pages.cut(kept, self._order)
        limit = self.parts.get("limit") or len(found)
        if fails == "yes" and (len(found) < len(made) or len(found) > limit):
            # SQLite may stop before it meets the group that does not fit.
            fails = "maybe"
        page = found[:limit]
        shown = [[row[name] for name in self._names] for row in page]
        place = 0 if len(self._by) == 1 else -1
        near = any(type(value) is Near for row in shown for value in row)
        return Answer(self._names, place, shown, len(found) > limit, page[-1] if page else None, fails, near)

    def _members(self, rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
        """The rows of each group."""
        hides = self._source.soft and not self.parts.get("with_deleted")
        groups: dict[tuple[Any, ...], list[Row]] = {} if self._by else {(): []}
        for row in rows:
            if not (hides and row["deletedAt"] is not None) and self._test(row):
                groups.setdefault(tuple(row[name] for name in self._by), []).append(row)
        return groups

    def _made(self, groups: dict[tuple[Any, ...], list[Row]]) -> tuple[list[Row], Fails]:
        """The groups as rows of the result."""
        fails: Fails = "no"
        made: list[Row] = []
        for group, members in groups.items():
            row = dict(zip(self._by, group, strict=True))
            for name, aggregate in self._aggregates.items():
                row[name], doubt = _aggregate(aggregate, members)
                fails = _worse(fails, doubt)
            made.append(row)
        return made, fails


def _worse(one: Fails, other: Fails) -> Fails:
    ranks: tuple[Fails, ...] = ("no", "maybe", "yes")
    return max(one, other, key=ranks.index)


def _aggregate(aggregate: dict[str, str], members: Sequence[Row]) -> tuple[Any, Fails]:
    ((function, name),) = aggregate.items()
    if name == "*":
        return len(members), "no"
    values = [row[name] for row in members if row[name] is not None]
    match function:
        case "count":
            return len(values), "no"
        case "min":
            return min(values, default=None), "no"
        case "max":
            return max(values, default=None), "no"
    if not values:
        return None, "no"
    if type(values[0]) is float:
        return _float_sum(function, values), "no"
    return _integer_sum(function, values)


def _float_sum(function: str, values: list[float]) -> Near:
    # Kahan and Babuska's sum is off by at most a few units of the last place of the sum of magnitudes.
    slack = sum(map(abs, values)) * 4 * 2.0**-52
    share = len(values) if function == "avg" else 1
    return Near(math.fsum(values) / share, slack / share)


def _integer_sum(function: str, values: list[int]) -> tuple[Any, Fails]:
    found = sum(values)
    highest = sum(value for value in values if value > 0)
    lowest = sum(value for value in values if value < 0)
    # Beyond 64 bits on the way, whether SQLite gets there depends on the order of the rows.
    doubt = highest > _MOST or lowest < _LEAST
    if function == "avg":
        if doubt:
            return Near(found / len(values), (highest - lowest) * 4 * 2.0**-52 / len(values)), "no"
        return float(found) / len(values), "no"
    if not _LEAST <= found <= _MOST:
        return None, "yes"
    return found, "maybe" if doubt else "no"


class Counter:
    """Makes random queries for groups."""

    def __init__(self, rng: Random, domain: Domain) -> None:
        self._rng = rng
        self._domain = domain

    def groups(self, reader: Reader, moment: Moment) -> Groups:
        """One query; now and then a page between cursors taken from the present answer."""
        source = self._rng.choice((*SOURCES[:1] * 6, *SOURCES))
        parts: dict[str, Any] = {}
        if self._rng.random() < 0.6:
            parts["where"] = Filters(self._rng, self._domain, source.clear).make()
        if self._rng.random() < 0.15:
            parts["with_deleted"] = True
        fields = [name for name in source.ordered if name != "id"]
        if self._rng.random() < 0.15:
            parts |= {
                "distinct": True,
                "select": tuple(self._rng.sample(fields, self._rng.choice((1, 1, 2)))),
            }
        elif self._rng.random() < 0.75:
            parts["group_by"] = tuple(self._rng.sample(fields, self._rng.choice((1, 1, 1, 2))))
        if "distinct" not in parts and ("group_by" not in parts or self._rng.random() < 0.9):
            count = self._rng.choice((1, 1, 2, 4))
            parts["aggregates"] = {f"n{at}": self._aggregate(source) for at in range(count)}
        return self._arranged(source, parts, reader, moment)

    def _aggregate(self, source: Source) -> dict[str, str]:
        function = self._rng.choice(("count", "count", "sum", "avg", "min", "max"))
        if function == "count":
            return {"count": self._rng.choice(("*", *source.clear))}
        fields = [name for name, kind in source.clear.items() if kind in _FUNCTIONS[function]]
        return {function: self._rng.choice(fields)} if fields else {"count": "*"}

    def _arranged(self, source: Source, parts: dict[str, Any], reader: Reader, moment: Moment) -> Groups:
        """With having, order, limit and pages: over what the result holds, floats that are only near left out."""
        by = parts.get("group_by") or parts.get("select", ())
        exact = {name: source.fields[name] for name in by}
        for name, ((function, field),) in {
            n: a.items() for n, a in parts.get("aggregates", {}).items()
        }.items():
            kind = "integer" if function == "count" else source.fields[field]
            if function not in ("sum", "avg") or (function == "sum" and kind == "integer"):
                exact[name] = kind
        if parts.get("aggregates") and exact and self._rng.random() < 0.3:
            parts["having"] = Filters(self._rng, self._domain, exact).make()
        if by and exact and self._rng.random() < 0.4:
            names = self._rng.sample(list(exact), self._rng.randint(1, min(2, len(exact))))
            parts["order_by"] = tuple(self._rng.choice(("", "-")) + name for name in names)
        if by and self._rng.random() < 0.1:
            whole = parts | {"limit": self._rng.randint(1, 3)}
            return Groups(
                source, parts | {"limit": 2}, taken(self._rng, [Groups(source, whole)], reader, moment)
            )
        if by and self._rng.random() < 0.5:
            parts["limit"] = self._rng.choice((1, 2, 3, 10))
        return Groups(source, parts)
