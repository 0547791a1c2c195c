"""Child rows and included rows of a page: fetched level by level, opened with it, put into it as objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from keepdb.errors import InvalidRequest

from .limits import QueryLimits
from .opening import Opening, Row, convert
from .plan import Relation

_packer = msgspec.msgpack.Encoder()

RawRow = tuple[Any, ...]
#: Runs SQL with these parameters, for at most so many rows.
Fetch = Callable[[str, tuple[Any, ...], int], list[RawRow]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one relation brought: its raw rows, the same as rows to be opened, and what is related to them."""

    relation: Relation
    raw: Sequence[RawRow]
    rows: list[Row]
    inner: list["Fetched"]


class Related:
    """Everything related to one page. Each relation costs one statement, however many rows the page has."""

    def __init__(self, fetch: Fetch, limits: QueryLimits) -> None:
        self._fetch = fetch
        self._limits = limits
        self._rows_left = limits.child_rows

    def read(self, relations: Sequence[Relation], raw: Sequence[RawRow], opening: Opening) -> list[Fetched]:
        """Fetch what is related to these raw rows; sealed values in it are noted in `opening`."""
        return [self._read(relation, raw, opening) for relation in relations]

    def _read(self, relation: Relation, parents: Sequence[RawRow], opening: Opening) -> Fetched:
        wanted = {row[relation.parent_at] for row in parents} - {None}
        raw: Sequence[RawRow] = ()
        if wanted:
            given = msgspec.json.encode(list(wanted)).decode()
            raw = self._fetch(
                f"{relation.sql} LIMIT {self._limits.child_rows + 1}",
                (given, *relation.params),
                self._rows_left + 1,
            )
        self._rows_left -= len(raw)
        if self._rows_left < 0:
            raise InvalidRequest(
                "query_too_many_rows",
                f"The result has more than {self._limits.child_rows} child rows and included rows.",
                fix="Use a smaller limit, also in include, or query them by themselves.",
            )
        rows = [list(row[: len(relation.columns)]) for row in raw]
        opening.collect(rows, relation.columns)
        return Fetched(relation, raw, rows, self.read(relation.relations, raw, opening))

    def attach(self, found: Sequence[Fetched], raw: Sequence[RawRow], rows: list[Row], size: int = 0) -> None:
        """Put it all into the rows, after it was opened. size: bytes of these rows without it.

        Raises InvalidRequest where the result gets too large.
        """
        for one in found:
            self.attach(one.inner, one.raw, one.rows)
            convert(one.rows, one.relation.columns)
            size += _put(one, raw, rows)
            # One row may be shown in many others, so the result can be much larger than what was read.
            if size > self._limits.result_bytes:
                raise too_many_bytes(self._limits)


def too_many_bytes(limits: QueryLimits) -> InvalidRequest:
    """The refusal of a result that fits no frame."""
    return InvalidRequest(
        "query_too_large",
        f"The result is larger than {limits.result_bytes >> 20} MiB.",
        fix="Select fewer columns or use a smaller limit.",
    )


def _put(found: Fetched, raw: Sequence[RawRow], rows: list[Row]) -> int:
    """Fill one column of the rows; returns the bytes that this adds to the result."""
    relation = found.relation
    names = [column.name for column in relation.columns]
    lists: dict[Any, list[dict[str, Any]]] = {}
    sizes: dict[Any, int] = {}
    for raw_row, row in zip(found.raw, found.rows, strict=True):
        value, made = raw_row[relation.match_at], dict(zip(names, row, strict=True))
        lists.setdefault(value, []).append(made)
        sizes[value] = sizes.get(value, 0) + len(_packer.encode(made))
    size = 0
    for raw_row, row in zip(raw, rows, strict=True):
        value = raw_row[relation.parent_at]
        matching = lists.get(value, [])
        row[relation.at] = matching if relation.many else next(iter(matching), None)
        size += sizes.get(value, 0)
    return size
