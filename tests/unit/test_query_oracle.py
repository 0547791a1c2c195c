"""Random queries against a brute-force oracle in plain Python, and pages that together are the whole."""

import functools
import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_query_world import World, world_in

Row = dict[str, Any]
Where = dict[str, Any]

# Small domains, so that ties, missing values and matches are common.
VALUES: dict[str, list[Any]] = {
    "t": ["", "a", "A", "ab", "b%", "b_", "é", "\U0001f600", "a\\"],
    "i": [-1, 0, 1, 2, 2**63 - 1, -(2**63)],
    "r": [-0.5, 0.0, 1.0, 1e300],
    "b": [False, True],
    "w": [0, 1_700_000_000_000],
    "e": ["low", "mid", "top"],
    "x": ["o1", "o2"],
    "l": [[], ["a"], ["a", "b"], ["é"]],
}
ORDERED = ["t", "i", "r", "b", "w", "e", "x", "id"]
SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def optional(name: str) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *VALUES[name]])


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    rows = draw(st.lists(st.fixed_dictionaries({name: optional(name) for name in VALUES}), max_size=14))
    deleted = draw(st.lists(st.sampled_from([None, None, None, 7]), min_size=len(rows), max_size=len(rows)))
    return [
        {"id": f"id{(n * 7) % 15:02}", **row, "deletedAt": gone}
        for n, (row, gone) in enumerate(zip(rows, deleted, strict=True))
    ]


@st.composite
def terms(draw: st.DrawFn) -> Where:
    name = draw(st.sampled_from(sorted(VALUES)))
    value = st.sampled_from(VALUES[name])
    if name == "l":
        operator = draw(st.sampled_from(["contains", "isNull"]))
        given = st.sampled_from(["a", "b", "é", ""]) if operator == "contains" else st.booleans()
        return {name: {operator: draw(given)}}
    operators = ["=", "!=", "in", "notIn", "isNull", "plain"]
    operators += ["<", "<=", ">", ">=", "between"] * (name != "b")
    operators += ["like", "contains"] * (name in ("t", "x"))
    match draw(st.sampled_from(operators)):
        case "plain":
            return {name: draw(st.one_of(st.none(), value))}
        case "isNull":
            return {name: {"isNull": draw(st.booleans())}}
        case ("in" | "notIn") as operator:
            return {name: {operator: draw(st.lists(st.one_of(st.none(), value), max_size=3))}}
        case "between":
            return {name: {"between": [draw(value), draw(value)]}}
        case "like":
            return {name: {"like": draw(st.sampled_from(["%", "a%", "_", "%\\%", "b\\_", "o_", "%B%", ""]))}}
        case ("=" | "!=") as operator:
            return {name: {operator: draw(st.one_of(st.none(), value))}}
        case operator:
            return {name: {operator: draw(value)}}


def combine(inner: st.SearchStrategy[Where]) -> st.SearchStrategy[Where]:
    return st.one_of(
        st.builds(lambda parts: {"and": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda parts: {"or": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
        st.builds(lambda one, other: {**one, **other}, inner, inner),
    )


WHERES = st.recursive(terms(), combine, max_leaves=6)
ORDERS = st.lists(st.sampled_from(ORDERED), max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in names))
)


def matches(row: Row, where: Where) -> bool:
    for key, value in where.items():
        if key == "and":
            found = all(matches(row, part) for part in value)
        elif key == "or":
            found = any(matches(row, part) for part in value)
        elif key == "not":
            found = not matches(row, value)
        else:
            operators = value if isinstance(value, dict) else {"=": value}
            found = all(compare(row[key], operator, given) for operator, given in operators.items())
        if not found:
            return False
    return True


def compare(value: Any, operator: str, given: Any) -> bool:
    match operator:
        case "=":
            return bool(value == given)
        case "!=":
            return bool(value != given)
        case "isNull":
            return (value is None) is given
        case "in":
            return value in given
        case "notIn":
            return value not in given
    if value is None:
        return False
    if operator == "like":
        return re.fullmatch(like_pattern(given), value, re.IGNORECASE | re.ASCII | re.DOTALL) is not None
    tests: dict[str, Callable[[], bool]] = {
        "<": lambda: value < given,
        "<=": lambda: value <= given,
        ">": lambda: value > given,
        ">=": lambda: value >= given,
        "between": lambda: given[0] <= value <= given[1],
        "contains": lambda: given in value,
    }
    return tests[operator]()


def like_pattern(like: str) -> str:
    pieces = re.findall(r"\\.|.", like, re.DOTALL)
    return "".join({"%": ".*", "_": "."}.get(piece, re.escape(piece[-1])) for piece in pieces)


def order_key(order_by: tuple[str, ...], unique: tuple[str, ...] = ("id",)) -> Callable[[Row], Any]:
    sign = "-" if order_by and order_by[-1].startswith("-") else ""
    total = (*order_by, *(f"{sign}{name}" for name in unique))

    def precedes(one: Row, other: Row) -> int:
        for term in total:
            name, sign = term.removeprefix("-"), -1 if term.startswith("-") else 1
            left, right = ((row[name] is not None, row[name]) for row in (one, other))
            if left == right:
                continue
            return sign if left > right else -sign
        return 0

    return functools.cmp_to_key(precedes)


def expected(rows: list[Row], where: Where, order_by: tuple[str, ...], with_deleted: bool) -> list[str]:
    found = [row for row in rows if matches(row, where) and (with_deleted or row["deletedAt"] is None)]
    return [row["id"] for row in sorted(found, key=order_key(order_by))]


def fill(world: World, rows: list[Row]) -> None:
    with world.batch():
        world.state.connection.execute("DELETE FROM things")
    world.put("things", *({**row, "l": None if row["l"] is None else json.dumps(row["l"])} for row in rows))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("state")) as made:
        yield made


@SETTINGS
@given(rows=tables(), where=WHERES, order_by=ORDERS, limit=st.integers(1, 6), with_deleted=st.booleans())
def test_pages_of_random_queries_are_together_what_the_oracle_finds(
    world: World, rows: list[Row], where: Where, order_by: tuple[str, ...], limit: int, with_deleted: bool
) -> None:
    fill(world, rows)
    wanted = expected(rows, where, order_by, with_deleted)

    pages: list[list[str]] = []
    after = None
    while True:
        page = world.query(
            where=where, order_by=order_by, limit=limit, after=after, select=("t",), with_deleted=with_deleted
        )
        pages.append([row[0] for row in page.rows])
        after = page.cursor
        if after is None:
            break

    assert [row for page in pages for row in page] == wanted
    assert all(len(page) == limit for page in pages[:-1])


@SETTINGS
@given(
    rows=tables(),
    later=tables(),
    where=WHERES,
    order_by=ORDERS,
    limit=st.integers(1, 6),
    cuts=st.sets(st.integers(0, 14)),
)
def test_pages_between_cursors_are_together_the_whole_whatever_changed_since_they_were_made(
    world: World,
    rows: list[Row],
    later: list[Row],
    where: Where,
    order_by: tuple[str, ...],
    limit: int,
    cuts: set[int],
) -> None:
    fill(world, rows)
    whole = world.query(order_by=order_by, limit=20)
    places: list[str | None] = [None]
    for cut in sorted(cuts):
        if 0 < cut < len(whole.rows):
            places.append(world.query(order_by=order_by, limit=cut).cursor)
    fill(world, later)

    found: list[str] = []
    for after, until in pairwise([*places, None]):
        page = world.query(where=where, order_by=order_by, after=after, until=until, limit=limit)
        found += [row[0] for row in page.rows]
        while page.cursor:
            page = world.query(where=where, order_by=order_by, after=page.cursor, until=until, limit=limit)
            found += [row[0] for row in page.rows]

    assert found == expected(later, where, order_by, with_deleted=False)


AGGREGATES = {"n": {"count": "*"}, "known": {"count": "r"}, "least": {"min": "t"}, "most": {"max": "i"}}
FIGURES: dict[str, list[Any]] = {"n": [0, 1, 2], "known": [0, 1], "least": VALUES["t"], "most": VALUES["i"]}


def groups_of(rows: list[Row], where: Where, group_by: list[str]) -> list[Row]:
    """What AGGREGATES give, by hand."""
    groups: dict[tuple[Any, ...], list[Row]] = {} if group_by else {(): []}
    for row in rows:
        if matches(row, where) and row["deletedAt"] is None:
            groups.setdefault(tuple(row[name] for name in group_by), []).append(row)

    def known(members: list[Row], name: str) -> list[Any]:
        return [row[name] for row in members if row[name] is not None]

    return [
        {
            **dict(zip(group_by, key, strict=True)),
            "n": len(members),
            "known": len(known(members, "r")),
            "least": min(known(members, "t"), default=None),
            "most": max(known(members, "i"), default=None),
        }
        for key, members in groups.items()
    ]


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[str], Where, tuple[str, ...]]:
    """groupBy, having and orderBy that fit together."""
    group_by = draw(st.lists(st.sampled_from(["b", "e", "t"]), max_size=2, unique=True))
    names = [*group_by, *FIGURES]
    domains = {name: FIGURES.get(name, VALUES.get(name, [])) for name in names}
    comparable = [name for name in names if name != "b"]

    def term(name: str) -> st.SearchStrategy[Where]:
        value = st.sampled_from(domains[name])
        return st.one_of(
            st.builds(lambda op, given: {name: {op: given}}, st.sampled_from(["=", "!=", "<=", ">"]), value),
            st.builds(lambda given: {name: {"in": given}}, st.lists(st.one_of(st.none(), value), max_size=2)),
            st.builds(lambda given: {name: {"isNull": given}}, st.booleans()),
        )

    having = st.recursive(st.sampled_from(comparable).flatmap(term), combine, max_leaves=4)
    sort = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    order_by = tuple(draw(st.sampled_from([name, f"-{name}"])) for name in sort)
    return group_by, draw(st.one_of(st.just({}), having)), order_by


@SETTINGS
@given(rows=tables(), where=WHERES, parts=grouped(), limit=st.integers(1, 4))
def test_pages_of_random_groups_are_together_what_the_oracle_counts(
    world: World,
    rows: list[Row],
    where: Where,
    parts: tuple[list[str], Where, tuple[str, ...]],
    limit: int,
) -> None:
    fill(world, rows)
    group_by, having, order_by = parts
    wanted = [group for group in groups_of(rows, where, group_by) if matches(group, having)]
    query: dict[str, Any] = {
        "where": where,
        "group_by": tuple(group_by),
        "aggregates": AGGREGATES,
        "having": having,
        "order_by": order_by,
        "limit": limit,
    }

    pages = [world.query(**query)]
    while pages[-1].cursor:
        pages.append(world.query(**query, after=pages[-1].cursor))
    until_first = world.query(**query, until=pages[0].cursor)

    found = [dict(zip(page.columns, row, strict=True)) for page in pages for row in page.rows]
    assert found == sorted(wanted, key=order_key(order_by, tuple(group_by)))
    assert until_first.rows == pages[0].rows


@SETTINGS
@given(rows=tables(), where=WHERES, order_by=ORDERS, limit=st.integers(1, 6), extra=st.sampled_from(ORDERED))
def test_pages_of_random_distinct_values_are_together_each_combination_once(
    world: World, rows: list[Row], where: Where, order_by: tuple[str, ...], limit: int, extra: str
) -> None:
    fill(world, rows)
    select = tuple(dict.fromkeys([extra, *(name.removeprefix("-") for name in order_by)]))
    kept = [row for row in rows if matches(row, where) and row["deletedAt"] is None]
    different = {tuple(row[name] for name in select): row for row in kept}

    query: dict[str, Any] = {
        "where": where,
        "select": select,
        "distinct": True,
        "order_by": order_by,
        "limit": limit,
    }
    pages = [world.query(**query)]
    while pages[-1].cursor:
        pages.append(world.query(**query, after=pages[-1].cursor))

    wanted = sorted(different.values(), key=order_key(order_by, select))
    assert pages[0].columns == select
    assert [row for page in pages for row in page.rows] == [[row[name] for name in select] for row in wanted]
