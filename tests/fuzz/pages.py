"""Orders, and pages between two places in them: the oracle's side of `orderBy`, `after` and `until`."""

from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

from keepdb.query.plan import Plan
from keepdb.query.run import Reader

from .answers import Answer
from .world import Moment, Row


class Whole(Protocol):
    """A question whose answer has an end to go on from."""

    def plan(self, reader: Reader) -> Plan: ...

    def answer(self, moment: Moment) -> Answer: ...


class Pages:
    """A page's bounds, as cursors for KeepDB and as the order's values of the rows they were made from."""

    def __init__(self, parts: dict[str, Any], after: Row | None, until: Row | None) -> None:
        self.parts, self.after, self.until = parts, after, until

    def cut(self, rows: list[Row], order: Sequence[str]) -> list[Row]:
        """The rows between the bounds, sorted. A bound is sorted in behind the row it equals."""
        bounds = [bound for bound in (self.after, self.until) if bound is not None]
        found = in_order([*rows, *bounds], order)
        start = _place(found, self.after) + 1 if self.after is not None else 0
        end = _place(found, self.until) if self.until is not None else len(found)
        return [row for row in found[start:end] if not any(row is bound for bound in bounds)]


NO_PAGES = Pages({}, None, None)


def _place(rows: list[Row], bound: Row) -> int:
    return next(at for at, row in enumerate(rows) if row is bound)


def in_order(rows: list[Row], order: Sequence[str]) -> list[Row]:
    """Sorted, missing values first ascending and last descending."""
    for term in reversed(order):
        name = _field(term)
        rows = sorted(rows, key=lambda row: (row[name] is not None, row[name]), reverse=term.startswith("-"))
    return rows


def _field(term: str) -> str:
    return term.removeprefix("-")


def total(order_by: Sequence[str], unique: Sequence[str] = ("id",)) -> list[str]:
    """The order with what completes it, in the direction of the last field: what is unique, each field once."""
    order: list[str] = []
    for term in order_by:
        order.append(term)
        if set(unique) <= set(map(_field, order)):
            return order
    sign = "-" if order and order[-1].startswith("-") else ""
    return order + [sign + name for name in unique if name not in map(_field, order)]


def taken(rng: Random, wholes: Sequence[Whole], reader: Reader, moment: Moment) -> Pages:
    """A page that begins or ends, or both, where these end at present, of those that do not hold everything."""
    names = rng.choice((("after",), ("until",), ("after", "until")))
    parts: dict[str, Any] = {}
    bounds: dict[str, Row] = {}
    for name, whole in zip(names, wholes, strict=False):
        answer = whole.answer(moment)
        if answer.fails == "no" and answer.more and answer.last is not None:
            parts[name] = reader.run(whole.plan(reader)).cursor
            bounds[name] = dict(answer.last)
    return Pages(parts, bounds.get("after"), bounds.get("until")) if parts else NO_PAGES
