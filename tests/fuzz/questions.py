"""Random structured queries, and their answers by brute force over the model: filter, sort, cut, in plain Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import msgspec

from keepdb.query.plan import Plan
from keepdb.query.run import Reader
from messages.queries import Include, Query

from .answers import Answer
from .filters import Filters, meaning_of
from .pages import NO_PAGES, Pages, in_order, taken, total
from .values import THINGS, Domain
from .world import FORGOTTEN, Moment, Row, Tables


class Question(Protocol):
    """What a subscriber asks. tables: those whose rows can change the answer."""

    tables: tuple[str, ...]
    #: Whether the answer needs the vault.
    sealed: bool

    def plan(self, reader: Reader) -> Plan: ...

    def answer(self, moment: Moment) -> Answer: ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Source:
    """What a query can read from. fields: name -> kind, in the order of `*`. points: ref field -> source."""

    name: str
    table: str
    fields: Mapping[str, str]
    sealed: frozenset[str]
    soft: bool
    points: Mapping[str, str]

    @property
    def clear(self) -> dict[str, str]:
        """Fields that can be filtered by."""
        return {name: kind for name, kind in self.fields.items() if name not in self.sealed}

    @property
    def ordered(self) -> list[str]:
        return [name for name, kind in self.clear.items() if kind not in ("json", "list")]


_TIMES = {"createdAt": "timestamp", "updatedAt": "timestamp", "deletedAt": "timestamp"}
SOURCES = (
    Source(
        name="things",
        table="things",
        fields={"id": "ref", **THINGS, "z": "ref", **_TIMES},
        sealed=frozenset({"secret"}),
        soft=True,
        points={"x": "others", "y": "others", "z": "things"},
    ),
    Source(
        name="others",
        table="others",
        fields={"id": "ref", "name": "text", "rank": "integer", **_TIMES},
        sealed=frozenset(),
        soft=True,
        points={},
    ),
    Source(
        name="things.parts",
        table="things__parts",
        fields={
            "id": "ref",
            "parent": "ref",
            "position": "integer",
            "label": "text",
            "hidden": "text",
            "done": "boolean",
        },
        sealed=frozenset({"hidden"}),
        soft=False,
        points={"parent": "things"},
    ),
)


class Rows:
    """A query for rows. parts: fields of messages.queries.Query."""

    def __init__(self, source: Source, parts: dict[str, Any], pages: Pages = NO_PAGES) -> None:
        self.source = source
        self._pages = pages
        self.parts = parts | pages.parts
        self._test = meaning_of(parts.get("where", {}))
        self._order = total(parts.get("order_by", ()))
        self._shown = Shown(source, parts.get("select", ()), parts.get("include", {}))
        self.tables: tuple[str, ...] = tuple({source.table, *self._shown.tables})
        self.sealed = self._shown.sealed
        self._known: tuple[list[Any], Answer] | None = None

    def __str__(self) -> str:
        return f"{self.source.name} {self.parts}"

    def plan(self, reader: Reader) -> Plan:
        include = msgspec.convert(self.parts.get("include", {}), dict[str, Include])
        return reader.plan(Query(source=self.source.name, **self.parts | {"include": include}), None)

    def answer(self, moment: Moment) -> Answer:
        read = [moment.tables[table] for table in self.tables]
        if self._known is None or any(old is not new for old, new in zip(self._known[0], read, strict=True)):
            self._known = (read, self._find(moment.tables))
        return self._known[1]

    def _find(self, tables: Tables) -> Answer:
        hides = self.source.soft and not self.parts.get("with_deleted")
        there = tables[self.source.table].values()
        rows = [row for row in there if not (hides and row["deletedAt"] is not None) and self._test(row)]
        found = in_order(rows, self._order) if self._pages is NO_PAGES else self._pages.cut(rows, self._order)
        limit = self.parts.get("limit") or len(found)
        page = found[:limit]
        names = self._shown.names
        rendered = [self._shown.row(row, tables) for row in page]
        return Answer(names, names.index("id"), rendered, len(found) > limit, page[-1] if page else None)


class Shown:
    """What a row shows of itself and of the rows related to it, as docs/queries.md has it."""

    def __init__(
        self, source: Source, select: Sequence[str], include: Mapping[str, Mapping[str, Any]]
    ) -> None:
        names: list[str] = []
        for name in select or ("*",):
            names += source.fields if name == "*" else [name]
        own = names if "id" in names else ["id", *names]
        self._source = source
        self._own = own
        self._related: dict[str, Related] = {name: Related(source, one) for name, one in include.items()}
        if "parts" in own:
            self._related["parts"] = Related(SOURCES[0], _PARTS)
        self.names = (*own, *include)
        self.sealed: bool = bool(source.sealed.intersection(own)) or any(
            one.sealed for one in self._related.values()
        )
        self.tables: set[str] = {table for one in self._related.values() for table in one.tables}

    def row(self, row: Row, tables: Tables) -> list[Any]:
        return [self._value(row, name, tables) for name in self.names]

    def _value(self, row: Row, name: str, tables: Tables) -> Any:
        if name in self._related:
            return self._related[name].of(row, tables)
        return None if name in self._source.sealed and row["id"] in FORGOTTEN else row[name]


class Related:
    """One include: the row that a field points to, or the list of those that point here."""

    def __init__(self, parent: Source, include: Mapping[str, Any]) -> None:
        self._via: str = include["via"]
        self._many = "from" in include
        name = include["from"] if self._many else parent.points[self._via]
        self._source = next(source for source in SOURCES if source.name == name)
        self._hides = self._source.soft and not include.get("withDeleted")
        self._test = meaning_of(include.get("where", {}))
        self._order = total(include.get("orderBy", ()))
        self._limit: int | None = include.get("limit")
        self._shown = Shown(self._source, include.get("select", ()), include.get("include", {}))
        self._bare = include is _PARTS
        self.sealed = self._shown.sealed
        self.tables = {self._source.table, *self._shown.tables}

    def of(self, row: Row, tables: Tables) -> Any:
        there = tables[self._source.table]
        if not self._many:
            found = there.get(row[self._via])
            return None if found is None or self._is_hidden(found) else self._map(found, tables)
        mine = [each for each in there.values() if each[self._via] == row["id"]]
        kept = [each for each in mine if not self._is_hidden(each) and self._test(each)]
        return [self._map(each, tables) for each in in_order(kept, self._order)[: self._limit]]

    def _is_hidden(self, row: Row) -> bool:
        return self._hides and row["deletedAt"] is not None

    def _map(self, row: Row, tables: Tables) -> dict[str, Any]:
        return dict(zip(self._shown.names, self._shown.row(row, tables), strict=True))


#: A list of child rows shows neither whose they are nor which they are: that is where they stand.
_PARTS: dict[str, Any] = {
    "from": "things.parts",
    "via": "parent",
    "orderBy": ["position"],
    "select": ["id", "label", "hidden", "done"],
}


class Asker:
    """Makes random queries for rows."""

    def __init__(self, rng: Random, domain: Domain) -> None:
        self._rng = rng
        self._domain = domain

    def rows(self, reader: Reader, moment: Moment) -> Rows:
        """One query; now and then a page between cursors taken from the present answer."""
        source = self._rng.choice((*SOURCES[:1] * 8, *SOURCES))
        parts: dict[str, Any] = {}
        if self._rng.random() < 0.75:
            parts["where"] = Filters(self._rng, self._domain, source.clear).make()
        if self._rng.random() < 0.8:
            parts["order_by"] = self._order(source, self._rng.choice((1, 1, 2, 3)))
        if self._rng.random() < 0.7:
            parts["limit"] = self._rng.choice((1, 2, 2, 3, 5, 10, 10))
        if self._rng.random() < 0.8:
            parts["select"] = self._select(source)
        if self._rng.random() < 0.15:
            parts["with_deleted"] = True
        if self._rng.random() < 0.15:
            parts["include"] = {"one": self._include(source, 0)}
            if self._rng.random() < 0.3:
                parts["include"]["more"] = self._include(source, 0)
            if self._rng.random() < 0.5:
                # All refs are read, whichever is followed.
                parts.pop("select", None)
        if self._rng.random() > 0.15:
            return Rows(source, parts)
        # Bounds out of a result under the same order and perhaps another filter.
        given = {"with_deleted": True, "select": ("id",), "order_by": parts.get("order_by", ())}
        first = self._rng.randint(1, 30)
        limits = (first, max(1, first + self._rng.randint(-2, 10)))
        wholes = [Rows(source, given | {"limit": limit}) for limit in limits]
        return Rows(source, parts, taken(self._rng, wholes, reader, moment))

    def near(self, question: Rows) -> Rows:
        """The same question but for one detail, which must not be taken for the first."""
        parts, source = dict(question.parts), question.source
        parts.pop("after", None)
        parts.pop("until", None)
        include = parts.get("include", {})
        refs = [name for name, one in include.items() if "from" not in one and one["via"] in ("x", "y")]
        if refs:
            name = self._rng.choice(refs)
            other = include[name] | {"via": "y" if include[name]["via"] == "x" else "x"}
            return Rows(source, parts | {"include": include | {name: other}})
        what = self._rng.choice(("select", "limit", "with_deleted", "include", "order_by"))
        if what == "select":
            parts["select"] = tuple(reversed(parts.get("select", tuple(source.clear))))
        elif what == "limit":
            parts["limit"] = parts.get("limit", 10) + 1
        elif what == "with_deleted":
            parts["with_deleted"] = not parts.get("with_deleted", False)
        elif what == "include":
            parts["include"] = {f"{name}2": one for name, one in include.items()}
        else:
            parts["order_by"] = self._order(source, 1)
        return Rows(source, parts)

    def _order(self, source: Source, count: int) -> tuple[str, ...]:
        names = self._rng.sample(source.ordered, count)
        return tuple(self._rng.choice(("", "-")) + name for name in names)

    def _select(self, source: Source) -> tuple[str, ...]:
        names = list(source.fields)
        select = self._rng.sample(names, self._rng.choice((1, 1, 2, 3)))
        if source.name == "things" and self._rng.random() < 0.08:
            select.append("parts")
        if source.sealed and self._rng.random() < 0.15:
            select += [name for name in source.sealed if name not in select]
        return tuple(select)

    def _include(self, parent: Source, depth: int) -> dict[str, Any]:
        """In the wire's form."""
        choices = [{"via": field} for field in parent.points]
        for source in SOURCES:
            choices += [
                {"from": source.name, "via": via}
                for via, name in source.points.items()
                if name == parent.name
            ]
        made: dict[str, Any] = self._rng.choice(choices)
        name = made.get("from") or parent.points[made["via"]]
        source = next(source for source in SOURCES if source.name == name)
        if "from" in made:
            if self._rng.random() < 0.5:
                made["where"] = Filters(self._rng, self._domain, source.clear).make()
            if self._rng.random() < 0.6:
                made["orderBy"] = list(self._order(source, self._rng.choice((1, 2))))
            if self._rng.random() < 0.5:
                made["limit"] = self._rng.choice((1, 2, 5))
        if self._rng.random() < 0.8:
            made["select"] = list(self._select(source))
        if self._rng.random() < 0.3:
            made["withDeleted"] = True
        if depth < 1 and self._rng.random() < 0.3:
            made["include"] = {"two": self._include(source, depth + 1)}
        return made
