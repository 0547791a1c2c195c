"""The groups of one query with their figures: counted up and down row by row, read where that is not enough."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from keepdb.query.plan import CompiledQuery
from keepdb.query.predicate import Predicate, to_sql
from keepdb.query.run import Reader
from keepdb.storage.changes import Row

from .buffer import RawRow
from .figures import Figure, empty, load, state_sql
from .ordering import SortKey

#: Values of a group's fields, as stored.
Name = tuple[Any, ...]


class Group:
    """rows: how many it has. raw, key: the row that stands for it in the result, None if none does. size: bytes of
    that row, whether it is shown or not."""

    __slots__ = ("figures", "key", "raw", "rows", "size")

    def __init__(self, rows: int, figures: list[Figure]) -> None:
        self.rows = rows
        self.figures = figures
        self.raw: RawRow | None = None
        self.key: SortKey | None = None
        self.size = 0

    @property
    def is_stale(self) -> bool:
        """Whether only reading it can tell its figures."""
        return any(figure.is_stale for figure in self.figures)

    @property
    def is_too_large(self) -> bool:
        return any(figure.is_too_large for figure in self.figures)


class Tally:
    """condition: what rows must meet to be counted."""

    __slots__ = ("_condition", "_inputs", "_plan", "groups", "name_of")

    def __init__(self, plan: CompiledQuery, condition: Predicate) -> None:
        self._plan = plan
        self._condition = condition
        columns = plan.source.columns
        self.name_of = _values([columns.index(field.name) for field in plan.groups or ()])
        # Where rows are counted any column will do.
        fields = [each.field.name if each.field is not None else "id" for each in plan.aggregates]
        self._inputs = [columns.index(name) for name in fields]
        self.groups: dict[Name, Group] = {}

    def is_same(self, old: Row, new: Row) -> bool:
        """Whether two images of a row count the same."""
        return self.name_of(old) == self.name_of(new) and all(old[at] == new[at] for at in self._inputs)

    def add(self, row: Row) -> Name:
        """Count a row; returns the name of its group."""
        name = self.name_of(row)
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(0, [empty(each) for each in self._plan.aggregates])
        group.rows += 1
        for figure, at in zip(group.figures, self._inputs, strict=True):
            figure.add(row[at])
        return name

    def subtract(self, row: Row) -> Name:
        """Count a row no more; returns the name of its group. KeyError if there is none, which must not be."""
        name = self.name_of(row)
        group = self.groups[name]
        group.rows -= 1
        for figure, at in zip(group.figures, self._inputs, strict=True):
            figure.subtract(row[at])
        return name

    def read_all(self, reader: Reader, groups_max: int) -> bool:
        """Read every group anew; False if there are too many, or a sum too large to follow."""
        found = self._fetch(reader, groups_max + 1, None)
        self.groups = dict(self._read(row) for row in found)
        return len(found) <= groups_max and not any(group.is_too_large for group in self.groups.values())

    def read_one(self, reader: Reader, name: Name) -> None:
        """Read one group anew; its place in the result stays."""
        group = self.groups[name]
        for row in self._fetch(reader, 1, name):
            _, fresh = self._read(row)
            group.rows, group.figures = fresh.rows, fresh.figures

    def _fetch(self, reader: Reader, rows_max: int, name: Name | None) -> list[RawRow]:
        plan = self._plan
        groups = [field.sql for field in plan.groups or ()]
        states = [column for aggregate in plan.aggregates for column in state_sql(aggregate)]
        params: list[Any] = []
        conditions = [to_sql(self._condition, params)]
        if name is not None:
            conditions += [f"{column} IS ?" for column in groups]
            params += name
        grouped = f" GROUP BY {', '.join(groups)}" if groups else ""
        body = (
            f"SELECT {', '.join([*groups, 'count(*)', *states])} FROM {plan.source.sql}"
            f" WHERE {' AND '.join(conditions)}{grouped}"
        )
        return reader.fetch(replace(plan, body=body, params=tuple(params)), rows_max)

    def _read(self, row: RawRow) -> tuple[Name, Group]:
        width = len(self._plan.groups or ())
        figures: list[Figure] = []
        at = width + 1
        for aggregate in self._plan.aggregates:
            end = at + len(state_sql(aggregate))
            figures.append(load(aggregate, row[at:end]))
            at = end
        return row[:width], Group(row[width], figures)


def _values(places: Sequence[int]) -> Callable[[Row], Name]:
    if not places:
        return lambda _row: ()
    if len(places) == 1:
        (place,) = places
        return lambda row: (row[place],)
    made: Callable[[Row], Any] = itemgetter(*places)
    return made
