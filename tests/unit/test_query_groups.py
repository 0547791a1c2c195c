"""Groups: having, order by figures, distinct, and what does not go together."""

from collections.abc import Iterator
from typing import Any

import pytest
from test_query_world import CATALOG, LIMITS, World, world_in

from keepdb.errors import InvalidRequest
from keepdb.query.compile import compile_query
from keepdb.query.predicate import Term
from messages.queries import Query

COUNT = {"n": {"count": "*"}}
POISON = 'x" OR 1=1; DROP TABLE things; --'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("state")) as made:
        made.put(
            "things",
            {"id": "a", "e": "low", "b": 1, "i": 1, "r": 0.5, "t": "ann"},
            {"id": "b", "e": "low", "b": 1, "i": 5, "r": 1.5, "t": "bob"},
            {"id": "c", "e": "mid", "b": 0, "i": 2, "t": "cy"},
            {"id": "d", "e": "top", "b": 1, "r": 1e308},
            {"id": "e", "e": "top", "r": 1e308},
            {"id": "f", "b": 1, "i": 9, "t": "Ann"},
        )
        yield made


@pytest.mark.parametrize(
    ("having", "found"),
    [
        ({"n": 2}, ["low", "top"]),
        ({"n": {">": 1}, "e": {"!=": "top"}}, ["low"]),
        ({"total": {"isNull": True}}, ["top"]),
        ({"total": None}, ["top"]),
        ({"total": {"!=": 6}}, [None, "mid", "top"]),
        ({"not": {"total": {">": 2}}}, ["mid", "top"]),
        ({"total": {"between": [2, 6]}}, ["low", "mid"]),
        ({"mean": {"in": [1.0, None]}}, [None, "low", "mid"]),
        ({"first": {"like": "A%"}}, [None, "low"]),
        ({"first": {"contains": "y"}}, ["mid"]),
        ({"or": [{"n": 1}, {"e": {"isNull": True}}]}, [None, "mid"]),
        ({"e": {"notIn": ["low", None]}}, ["mid", "top"]),
        ({"and": []}, [None, "low", "mid", "top"]),
    ],
)
def test_having_keeps_exactly_the_groups_it_holds_for(
    world: World, having: dict[str, Any], found: list[str | None]
) -> None:
    result = world.query(
        group_by=("e",),
        aggregates={**COUNT, "total": {"sum": "i"}, "mean": {"avg": "r"}, "first": {"min": "t"}},
        having=having,
    )

    assert [row[0] for row in result.rows] == found


def test_having_without_groups_keeps_or_drops_the_one_row(world: World) -> None:
    assert world.query(aggregates=COUNT, having={"n": 6}).rows == [[6]]
    assert world.query(aggregates=COUNT, having={"n": {">": 6}}).rows == []


def test_groups_are_ordered_by_figures_and_then_by_group(world: World) -> None:
    def order(*order_by: str) -> list[Any]:
        return [row[0] for row in world.query(group_by=("e",), aggregates=COUNT, order_by=order_by).rows]

    assert order("n") == [None, "mid", "low", "top"]
    assert order("-n") == ["top", "low", "mid", None]
    assert order("-n", "e") == ["low", "top", None, "mid"]
    assert order("-e") == ["top", "mid", "low", None]


@pytest.mark.parametrize("order_by", [("total",), ("-total",), ("-b", "total"), ("n", "-total"), ("-e",)])
def test_groups_in_any_order_are_read_page_by_page(world: World, order_by: tuple[str, ...]) -> None:
    query: dict[str, Any] = {
        "group_by": ("b", "e"),
        "aggregates": {**COUNT, "total": {"sum": "r"}},
        "order_by": order_by,
        "having": {"n": {">": 0}},
    }
    whole = world.query(**query).rows

    pages = [world.query(**query, limit=2)]
    while pages[-1].cursor:
        pages.append(world.query(**query, limit=2, after=pages[-1].cursor))

    assert len(pages) == 3
    assert [row for page in pages for row in page.rows] == whole


def test_a_cursor_may_lie_behind_an_infinite_sum(world: World) -> None:
    query: dict[str, Any] = {"group_by": ("e",), "aggregates": {"sum": {"sum": "r"}}, "order_by": ("-sum",)}

    first = world.query(**query, limit=1)
    rest = world.query(**query, after=first.cursor)

    assert first.rows == [["top", float("inf")]]
    assert [row[0] for row in rest.rows] == ["low", "mid", None]


def test_distinct_gives_each_combination_once_and_no_id(world: World) -> None:
    one = world.query(select=("b",), distinct=True)
    two = world.query(select=("b", "e"), distinct=True, order_by=("-e",), where={"i": {">": 0}})

    assert (one.columns, one.rows, one.key) == (("b",), [[None], [False], [True]], 0)
    assert (two.columns, two.key) == (("b", "e"), -1)
    assert two.rows == [[False, "mid"], [True, "low"], [True, None]]


def test_plans_of_groups_say_what_they_group_count_and_keep() -> None:
    plain = compile_query(Query(source="things"), CATALOG, LIMITS)
    grouped = compile_query(
        Query(
            source="things",
            group_by=("e",),
            aggregates={**COUNT, "top": {"max": "i"}},
            having={"top": {">": 3}},
            order_by=("-n",),
        ),
        CATALOG,
        LIMITS,
    )
    distinct = compile_query(Query(source="things", select=("e",), distinct=True), CATALOG, LIMITS)

    assert (plain.groups, plain.aggregates, plain.having) == (None, (), None)
    assert grouped.groups is not None
    assert [field.name for field in grouped.groups] == ["e"]
    assert [(a.name, a.function, a.field and a.field.name) for a in grouped.aggregates] == [
        ("n", "count", None),
        ("top", "max", "i"),
    ]
    assert isinstance(grouped.having, Term)
    assert (grouped.having.field.name, grouped.having.op, grouped.having.operand) == ("top", ">", 3)
    assert grouped.reads == {("things", name) for name in ("e", "i", "deletedAt")}
    assert [term.field.name for term in grouped.shape.order] == ["n", "e"]
    assert (distinct.groups, distinct.aggregates, distinct.key) == (grouped.groups, (), 0)


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ({"having": {"i": 1}}, "query_bad_value", "having: it filters groups"),
        ({"having": {"i": 1}, "distinct": True, "select": ("i",)}, "query_bad_value", "having: it filters groups"),
        ({"having": {"i": 1}, "aggregates": COUNT}, "query_unknown_field", "having: a field of the result called"),
        ({"having": {"or": [{"n": 1}, {POISON: 1}]}, "aggregates": COUNT}, "query_unknown_field", "having.or[1]"),
        ({"having": {"n": "1"}, "aggregates": COUNT}, "query_bad_value", "having.n: found str '1'"),
        ({"having": {"n": {"like": "1"}}, "aggregates": COUNT}, "query_bad_operator", "having.n.like"),
        ({"having": {"n": {POISON: 1}}, "aggregates": COUNT}, "query_bad_operator", "having.n"),
        ({"having": {"e": "best"}, "group_by": ("e",)}, "query_bad_value", "low, mid, top"),
        ({"having": {"m": "best"}, "aggregates": {"m": {"max": "e"}}}, "query_bad_value", "low, mid, top"),
        ({"having": {"or": [{"n": 1}] * 257}, "aggregates": COUNT}, "query_too_large", "having.or"),
        ({"order_by": ("i",), "aggregates": COUNT}, "query_unknown_field", "orderBy[0]: a field of the result"),
        ({"order_by": ("n", "-n"), "aggregates": COUNT, "group_by": ("e",)}, "query_bad_value", "orderBy[1]"),
        ({"distinct": True}, "query_bad_value", "select: found list []"),
        ({"distinct": True, "select": ("*",)}, "query_unknown_field", "select[0]"),
        ({"distinct": True, "select": ("j",)}, "query_bad_value", "select[0]: j is a json"),
        ({"distinct": True, "select": ("secret",)}, "query_not_searchable", "select[0]"),
        ({"distinct": True, "select": ("e", "e")}, "query_bad_value", "each field once"),
        ({"distinct": True, "select": ("e",), "order_by": ("i",)}, "query_unknown_field", "orderBy[0]"),
        ({"distinct": True, "select": ("e",), "group_by": ("e",)}, "query_bad_value", "together with distinct"),
        ({"group_by": ("e",), "select": ("e",)}, "query_bad_value", "select: not possible together with"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_for_groups_is_refused_with_its_place(
    query: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compile_query(Query(**{"source": "things", **query}), CATALOG, LIMITS)

    assert caught.value.code == code
    assert words in str(caught.value)


def test_names_of_aggregates_never_become_sql(world: World) -> None:
    query = Query(
        source="things",
        aggregates={POISON: {"count": "*"}},
        group_by=("e",),
        having={POISON: {">": 0}},
        order_by=(f"-{POISON}",),
    )

    plan = compile_query(query, CATALOG, LIMITS)

    assert "DROP" not in plan.sql
    assert len(world.reader.run(plan).rows) == 4
