"""Random queries against a brute-force oracle in plain Python, and pages that together are the whole."""

import functools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_query_world import World, world_in

from keepdb.errors import InvalidRequest
from keepdb.query.compile import compile_query
from keepdb.query.cursor import decode_cursor, encode_cursor
from keepdb.query.order import read_order, signature
from messages.queries import Query

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


def order_key(order_by: tuple[str, ...]) -> Callable[[Row], Any]:
    last = order_by[-1] if order_by else ""
    total = (*order_by, "-id" if last.startswith("-") else "id")

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
    rows=tables(), where=WHERES, group_by=st.lists(st.sampled_from(["b", "e", "t"]), max_size=2, unique=True)
)
def test_random_aggregates_are_what_the_oracle_counts(
    world: World, rows: list[Row], where: Where, group_by: list[str]
) -> None:
    fill(world, rows)
    groups: dict[tuple[Any, ...], list[Row]] = {} if group_by else {(): []}
    for row in rows:
        if matches(row, where) and row["deletedAt"] is None:
            groups.setdefault(tuple(row[name] for name in group_by), []).append(row)

    aggregates = {"n": {"count": "*"}, "known": {"count": "r"}, "least": {"min": "t"}, "most": {"max": "i"}}
    result = world.query(where=where, group_by=tuple(group_by), aggregates=aggregates)

    def known(members: list[Row], name: str) -> list[Any]:
        return [row[name] for row in members if row[name] is not None]

    assert result.rows == [
        [
            *key,
            len(groups[key]),
            len(known(groups[key], "r")),
            min(known(groups[key], "t"), default=None),
            max(known(groups[key], "i"), default=None),
        ]
        for key in sorted(groups, key=lambda key: [(value is not None, value) for value in key])
    ]


ORDER = ("-i", "t")


def cursor_of(world: World, key: list[Any]) -> str:
    source = world.reader.catalog.sources["things"]
    order = signature(source, read_order(ORDER, source, world.reader.limits))
    return encode_cursor(world.reader.catalog.schema_hash, order, key, 10_000)


@pytest.mark.parametrize(
    "key",
    [[], [1], [1, "a"], [1, "a", None], ["1", "a", "id"], [1, 1, "id"], [True, "a", "id"], [1.0, "a", "id"],
     [2**64 - 1, "a", "id"], [1, "a", "id", 1], [[1], "a", "id"], [{"a": 1}, "a", "id"], [1, b"a", "id"]],
)  # fmt: skip
def test_a_cursor_with_values_that_do_not_fit_is_refused(world: World, key: list[Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        world.query(order_by=ORDER, after=cursor_of(world, key))

    assert caught.value.code == "cursor_invalid"


@pytest.mark.parametrize(
    "cursor", ["", "x", "====", "é", "a b", "AAAA", "lA==", "3" * 300_000, "kZGRkZGR" * 2_000, "\ud800"]
)
def test_a_text_that_is_no_cursor_is_refused(world: World, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        world.query(order_by=ORDER, after=cursor)

    assert caught.value.code == "cursor_invalid"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_as_cursor_is_read_or_refused_never_worse(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_cursor(cursor, "00", b"order", (), 100)


def test_a_cursor_of_another_order_collection_or_schema_is_refused(world: World) -> None:
    cursor = cursor_of(world, [1, "a", "id"])
    assert world.query(order_by=ORDER, after=cursor).cursor is None

    for source, parts in (("things", {"order_by": ("i", "t")}), ("things", {}), ("others", {})):
        with pytest.raises(InvalidRequest, match="another collection or order"):
            world.query(source, after=cursor, **parts)
    with pytest.raises(InvalidRequest, match="another schema"):
        decode_cursor(cursor, "another", b"", (), 1_000)


def test_a_cursor_is_bound_and_never_becomes_sql(world: World) -> None:
    poison = "' OR 1=1; DROP TABLE things; --"

    plan = world.query(order_by=ORDER, after=cursor_of(world, [None, poison, poison]))

    assert plan.rows == [] or all(row[0] != poison for row in plan.rows)


def test_pages_of_an_indexed_order_start_where_the_cursor_points(world: World) -> None:
    """Both directions search the index for the cursor's place instead of walking over all earlier pages."""
    source, limits = "things", world.reader.limits
    fill(world, [{**dict.fromkeys(VALUES), "id": str(n), "i": n % 5, "deletedAt": None} for n in range(50)])

    for order_by in (("i",), ("-i",)):
        first = world.query(source, order_by=order_by, limit=20)
        query = Query(source=source, order_by=order_by, limit=20, after=first.cursor)
        plan = compile_query(query, world.reader.catalog, limits)
        details = [
            str(row[3]) for row in world.connection.execute(f"EXPLAIN QUERY PLAN {plan.sql}", plan.params)
        ]
        assert any(
            re.search(r"SEARCH things USING INDEX things__i__id \(i[<>]\?\)", line) for line in details
        )
        assert not any("TEMP B-TREE" in line for line in details), details
