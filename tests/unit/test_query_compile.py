"""Structured queries against a real state file: operators, order, pages, aggregates, child rows, refusals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_query_world import CATALOG, COLUMNS, LIMITS, World, world_in

from keepdb.errors import InvalidRequest
from keepdb.query.compile import compile_query
from keepdb.query.limits import QueryLimits
from messages.queries import Query

ROWS: list[dict[str, Any]] = [
    {"id": "a", "t": "alpha", "i": 1, "r": 0.5, "b": 1, "w": 1_000, "e": "low", "l": '["x","y"]', "x": "o1"},
    {
        "id": "b",
        "t": "Beta_1",
        "i": 2,
        "r": 1.5,
        "b": 0,
        "w": 2_000,
        "e": "mid",
        "l": '["y"]',
        "j": '{"k": 1}',
    },
    {"id": "c", "t": "100%", "i": 3, "b": 1, "e": "top", "l": "[]"},
    {"id": "d"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("state")) as made:
        made.put("things", *ROWS, {"id": "z", "i": 1, "deletedAt": 5})
        yield made


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"i": 2}, "b"),
        ({"i": None}, "d"),
        ({"i": {"=": None}}, "d"),
        ({"i": {"!=": None}}, "abc"),
        ({"i": {"!=": 2}}, "acd"),
        ({"i": {"<": 2}}, "a"),
        ({"i": {"<=": 2}}, "ab"),
        ({"i": {">": 1, "<": 3}}, "b"),
        ({"i": {">=": 2}}, "bc"),
        ({"i": 2.0}, "b"),
        ({"r": {">": 1}}, "b"),
        ({"b": True}, "ac"),
        ({"b": {"!=": True}}, "bd"),
        ({"e": {"in": ["low", "top"]}}, "ac"),
        ({"e": {"in": ["low", None]}}, "ad"),
        ({"e": {"in": [None]}}, "d"),
        ({"e": {"in": []}}, ""),
        ({"e": {"notIn": ["low"]}}, "bcd"),
        ({"e": {"notIn": ["low", None]}}, "bc"),
        ({"e": {"notIn": []}}, "abcd"),
        ({"w": {"between": [1_500, 2_500]}}, "b"),
        ({"t": {"like": "%A%"}}, "ab"),
        ({"t": {"like": "100\\%"}}, "c"),
        ({"t": {"like": "%\\_%"}}, "b"),
        ({"t": {"contains": "a"}}, "ab"),
        ({"t": {"contains": "A"}}, ""),
        ({"t": {"contains": "%"}}, "c"),
        ({"l": {"contains": "y"}}, "ab"),
        ({"l": {"contains": "z"}}, ""),
        ({"j": {"isNull": False}}, "b"),
        ({"j": None}, "acd"),
        ({"x": "o1"}, "a"),
        ({"id": {"in": ["a", "c", "nobody"]}}, "ac"),
        ({"or": [{"i": 1}, {"i": 3}]}, "ac"),
        ({"and": [{"i": {">": 1}}, {"b": True}]}, "c"),
        ({"not": {"i": {">": 1}}}, "ad"),
        ({"not": {"not": {"i": {">": 1}}}}, "bc"),
        ({"not": {"or": [{"i": 1}, {"t": {"like": "%"}}]}}, "d"),
        ({"i": {">": 0}, "b": True, "not": {"e": "low"}}, "c"),
        ({"and": []}, "abcd"),
        ({"or": []}, ""),
        ({}, "abcd"),
    ],
)
def test_a_filter_finds_exactly_its_rows(world: World, where: dict[str, Any], found: str) -> None:
    assert world.ids(where=where) == list(found)


def test_rows_come_as_wire_values_under_their_column_names(world: World) -> None:
    result = world.query(where={"id": "b"})

    assert result.columns == tuple(COLUMNS)
    assert result.key == 0
    assert result.cursor is None
    (row,) = result.rows
    assert dict(zip(result.columns, row, strict=True)) | {"v": None} == {
        **dict.fromkeys(COLUMNS),
        "id": "b",
        "t": "Beta_1",
        "i": 2,
        "r": 1.5,
        "b": False,
        "w": 2_000,
        "e": "mid",
        "l": ["y"],
        "j": {"k": 1},
    }


def test_deleted_rows_are_left_out_unless_asked_for(world: World) -> None:
    assert world.ids(where={"i": 1}) == ["a"]
    assert world.ids(where={"i": 1}, with_deleted=True) == ["a", "z"]


def test_selected_columns_come_in_the_order_given_and_always_with_the_id(world: World) -> None:
    plain = world.query(select=("i", "t"), where={"id": "a"})
    given = world.query(select=("i", "id"), where={"id": "a"})

    assert (plain.columns, plain.rows, plain.key) == (("id", "i", "t"), [["a", 1, "alpha"]], 0)
    assert (given.columns, given.rows, given.key) == (("i", "id"), [[1, "a"]], 1)


def test_missing_values_come_first_ascending_and_last_descending(world: World) -> None:
    assert world.ids(order_by=("b",)) == ["d", "b", "a", "c"]
    assert world.ids(order_by=("-b",)) == ["c", "a", "b", "d"]
    assert world.ids(order_by=("-b", "id")) == ["a", "c", "b", "d"]


def test_a_limit_gives_a_cursor_only_if_there_is_more(world: World) -> None:
    first = world.query(limit=3)
    rest = world.query(limit=3, after=first.cursor)

    assert [row[0] for row in first.rows] == ["a", "b", "c"]
    assert first.cursor is not None
    assert [row[0] for row in rest.rows] == ["d"]
    assert rest.cursor is None
    assert world.query(limit=4).cursor is None


def test_a_page_of_another_order_than_the_index_still_carries_its_order_values(world: World) -> None:
    page = world.query(select=("t",), order_by=("-i",), limit=2)

    assert page.rows == [["c", "100%"], ["b", "Beta_1"]]
    assert world.query(select=("t",), order_by=("-i",), limit=2, after=page.cursor).rows == [
        ["a", "alpha"],
        ["d", None],
    ]


def test_aggregates_count_and_calculate_per_group_in_order_of_the_group(world: World) -> None:
    result = world.query(
        group_by=("b",),
        aggregates={"n": {"count": "*"}, "known": {"count": "r"}, "sum": {"sum": "i"}, "last": {"max": "t"}},
    )

    assert result.columns == ("b", "n", "known", "sum", "last")
    assert result.key == 0
    assert result.rows == [[None, 1, 0, None, None], [False, 1, 1, 2, "Beta_1"], [True, 2, 1, 4, "alpha"]]


def test_aggregates_without_groups_are_one_row(world: World) -> None:
    result = world.query(aggregates={"n": {"count": "*"}, "mean": {"avg": "i"}, "least": {"min": "w"}})

    assert result.rows == [[4, 2.0, 1_000]]
    assert result.cursor is None


def test_groups_are_read_page_by_page(world: World) -> None:
    seen, after = [], None
    for _ in range(3):
        page = world.query(group_by=("b", "e"), aggregates={"n": {"count": "*"}}, limit=2, after=after)
        seen += page.rows
        after = page.cursor
        if after is None:
            break

    assert seen == [[None, None, 1], [False, "mid", 1], [True, "low", 1], [True, "top", 1]]


def test_a_sum_that_leaves_64_bits_is_refused(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.put("things", {"id": "a", "i": 2**63 - 1}, {"id": "b", "i": 1})
        with pytest.raises(InvalidRequest, match="integer overflow"):
            world.query(aggregates={"n": {"sum": "i"}})


def test_child_rows_are_assembled_in_order_with_their_sealed_values_in_one_batch(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.put("things", {"id": "a", "secret": {"k": [1]}}, {"id": "b", "secret": "s"}, {"id": "c"})
        world.put(
            "things__parts",
            {"id": "p2", "parent": "a", "position": 2, "label": "two", "done": 1},
            {"id": "p1", "parent": "a", "position": 1, "label": "one", "hidden": "h1"},
            {"id": "p3", "parent": "b", "position": 1, "label": "three", "hidden": "h3"},
        )

        result = world.query(select=("id", "secret", "parts"))

        one = {"id": "p1", "label": "one", "hidden": "h1", "done": None}
        two = {"id": "p2", "label": "two", "hidden": None, "done": True}
        three = {"id": "p3", "label": "three", "hidden": "h3", "done": None}
        assert result.rows == [["a", {"k": [1]}, [one, two]], ["b", "s", [three]], ["c", None, []]]
        assert world.opened == [4]


def test_child_rows_can_be_queried_themselves(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        rows = [{"id": f"p{n}", "parent": "a", "position": n, "label": str(n), "hidden": n} for n in range(5)]
        world.put("things__parts", *rows)

        result = world.query(
            "things.parts",
            where={"parent": "a"},
            order_by=("-position",),
            limit=2,
            select=("label", "hidden"),
        )

        assert result.rows == [["p4", "4", 4], ["p3", "3", 3]]
        assert result.cursor is not None


def test_an_erased_value_is_null(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.put("things", {"id": "a", "secret": "gone"}, {"id": "b", "secret": "here"})
        world.erased.add("a")

        assert world.query(select=("secret",)).rows == [["a", None], ["b", "here"]]


def test_a_result_without_sealed_values_asks_nobody(world: World) -> None:
    world.opened.clear()

    world.query(select=("t", "i"))
    world.query()

    assert world.opened == []


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ({"source": "thing"}, "query_unknown_collection", "Did you mean 'things'"),
        ({"source": "_meta"}, "query_unknown_collection", "'_meta'"),
        ({"where": {"or": [{"i": 1}, {"ii": 2}]}}, "query_unknown_field", "where.or[1]"),
        ({"where": {"_subject": "s"}}, "query_unknown_field", "_subject"),
        ({"where": {'i" OR 1=1 --': 1}}, "query_unknown_field", "where"),
        ({"where": {"i": {"~": 1}}}, "query_bad_operator", "where.i.~"),
        ({"where": {"i": {"likee": "x"}}}, "query_bad_operator", "Did you mean 'like'"),
        ({"where": {"i": {"like": "x"}}}, "query_bad_operator", "integer"),
        ({"where": {"b": {"<": True}}}, "query_bad_operator", "boolean"),
        ({"where": {"j": {"=": {"k": 1}}}}, "query_bad_operator", "json"),
        ({"where": {"v": [1.0]}}, "query_bad_operator", "vector"),
        ({"where": {"parts": None}}, "query_bad_operator", "things.parts"),
        ({"where": {"i": "1; DROP TABLE things"}}, "query_bad_value", "where.i: found str"),
        ({"where": {"i": True}}, "query_bad_value", "an integer"),
        ({"where": {"i": 1.5}}, "query_bad_value", "an integer"),
        ({"where": {"i": 2**63}}, "query_bad_value", "an integer"),
        ({"where": {"r": float("nan")}}, "query_bad_value", "finite"),
        ({"where": {"r": 10**400}}, "query_bad_value", "64-bit float"),
        ({"where": {"w": "2020-01-01"}}, "query_bad_value", "milliseconds"),
        ({"where": {"b": 1}}, "query_bad_value", "true or false"),
        ({"where": {"e": "high"}}, "query_bad_value", "low, mid, top"),
        ({"where": {"t": ["x"]}}, "query_bad_value", "where.t"),
        ({"where": {"t": "\ud800"}}, "query_bad_value", "Unicode"),
        ({"where": {"t": {}}}, "query_bad_value", "where.t"),
        ({"where": {"t": {"isNull": 1}}}, "query_bad_value", "where.t.isNull"),
        ({"where": {"t": {"in": "x"}}}, "query_bad_value", "a list"),
        ({"where": {"i": {"in": [1, "x"]}}}, "query_bad_value", "where.i.in[1]"),
        ({"where": {"i": {"between": [1]}}}, "query_bad_value", "two values"),
        ({"where": {"i": {"between": [1, None]}}}, "query_bad_value", "where.i.between[1]"),
        ({"where": {"l": {"contains": 1}}}, "query_bad_value", "a text"),
        ({"where": {"and": {"i": 1}}}, "query_bad_value", "where.and"),
        ({"where": {"or": [1]}}, "query_bad_value", "where.or[0]"),
        ({"where": {1: 2}}, "query_unknown_field", "int 1"),
        ({"where": {"secret": "x"}}, "query_not_searchable", "where.secret"),
        ({"where": {"secret": None}}, "query_not_searchable", "encrypted"),
        ({"order_by": ("secret",)}, "query_not_searchable", "orderBy[0]"),
        ({"order_by": ("j",)}, "query_bad_value", "no order"),
        ({"order_by": ("i", "-i")}, "query_bad_value", "orderBy[1]"),
        ({"order_by": ("--i",)}, "query_unknown_field", "orderBy[0]"),
        ({"order_by": ("i DESC",)}, "query_unknown_field", "orderBy[0]"),
        ({"select": ("id", "secrets")}, "query_unknown_field", "'secret'"),
        ({"select": ("i", "i")}, "query_bad_value", "each field once"),
        ({"limit": 0}, "query_bad_value", "limit"),
        ({"limit": -1}, "query_bad_value", "limit"),
        ({"limit": 10_001}, "query_too_large", "10000"),
        ({"where": {"i": {"in": [1] * 1_001}}}, "query_too_large", "1001 items"),
        ({"where": {"or": [{"i": 1}] * 257}}, "query_too_large", "where.or"),
        ({"where": {"or": [{}] * 257}}, "query_too_large", "where.or"),
        ({"where": {"t": {"like": "%" * 1_001}}}, "query_too_large", "characters"),
        ({"aggregates": {"n": {"median": "i"}}}, "query_bad_operator", "aggregates.n"),
        ({"aggregates": {"n": {"sum": "t"}}}, "query_bad_operator", "aggregates.n.sum"),
        ({"aggregates": {"n": {"sum": "*"}}}, "query_bad_value", "only count"),
        ({"aggregates": {"n": {}}}, "query_bad_value", "one function"),
        ({"aggregates": {"": {"count": "*"}}}, "query_bad_value", "name"),
        ({"aggregates": {"n": {"count": "secret"}}}, "query_not_searchable", "aggregates.n.count"),
        ({"aggregates": {"i": {"count": "*"}}, "group_by": ("i",)}, "query_bad_value", "groupBy"),
        ({"group_by": ("l",)}, "query_bad_value", "groupBy[0]"),
        ({"group_by": ("i",), "select": ("i",)}, "query_bad_value", "select"),
    ],
)
def test_a_wrong_query_is_refused_with_its_place_and_what_is_allowed(
    query: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compile_query(Query(**{"source": "things", **query}), CATALOG, LIMITS)

    assert caught.value.code == code
    assert words in str(caught.value)


def test_filters_nested_too_deeply_are_refused() -> None:
    where: dict[str, Any] = {"i": 1}
    for _ in range(16):
        where = {"not": where}

    with pytest.raises(InvalidRequest, match="17 levels"):
        compile_query(Query(source="things", where=where), CATALOG, LIMITS)


def test_the_deepest_and_widest_filter_allowed_runs(world: World) -> None:
    where: dict[str, Any] = {"or": [{"i": {"in": list(range(30))}} for _ in range(200)]}
    for _ in range(14):
        where = {"not": where}

    assert world.ids(where=where) == ["a", "b", "c"]


def test_values_never_become_sql() -> None:
    poison = "'; DROP TABLE things; --"

    compiled = compile_query(
        Query(source="things", where={"t": poison, "l": {"contains": poison}, "x": {"like": poison}}),
        CATALOG,
        LIMITS,
    )

    assert "DROP" not in compiled.sql
    assert compiled.params.count(poison) == 3


def test_the_same_query_written_differently_has_the_same_canonical_form() -> None:
    def canonical(**parts: Any) -> bytes:
        return compile_query(Query(source="things", **parts), CATALOG, LIMITS).canonical

    assert canonical(where={"i": 1, "t": "x"}) == canonical(where={"and": [{"t": {"=": "x"}}, {"i": 1.0}]})
    assert canonical() == canonical(limit=1_000) == canonical(order_by=("id",)) == canonical(select=("*",))
    different: list[dict[str, Any]] = [
        {},
        {"where": {"i": 1}},
        {"where": {"i": 2}},
        {"where": {"r": 1}},
        {"limit": 5},
        {"order_by": ("i",)},
        {"order_by": ("-i",)},
        {"select": ("i",)},
        {"select": ("i", "j")},
        {"select": ("i", "parts")},
        {"with_deleted": True},
        {"aggregates": {"n": {"count": "*"}}},
        {"aggregates": {"m": {"count": "*"}}},
    ]
    assert len({canonical(**parts) for parts in different}) == len(different)


def test_a_plan_knows_the_tables_and_columns_it_depends_on() -> None:
    compiled = compile_query(
        Query(source="things", where={"i": 1}, order_by=("w",), select=("t", "parts")), CATALOG, LIMITS
    )

    assert compiled.tables == {"things", "things__parts"}
    own = {name for table, name in compiled.reads if table == "things"}
    assert own == {"id", "i", "w", "t", "deletedAt"}


def test_more_rows_or_bytes_than_one_result_may_have_are_refused(tmp_path: Path) -> None:
    with world_in(tmp_path, QueryLimits(result_bytes=50_000, child_rows=2)) as world:
        world.put("things", *({"id": str(n), "t": "x" * 1_000} for n in range(60)))
        parts = [{"id": str(n), "parent": "1", "position": n, "label": "x"} for n in range(3)]
        world.put("things__parts", *parts)

        assert len(world.query(limit=40).rows) == 40
        with pytest.raises(InvalidRequest) as size:
            world.query()
        with pytest.raises(InvalidRequest) as rows:
            world.query(where={"id": "1"}, select=("parts",))

    assert (size.value.code, rows.value.code) == ("query_too_large", "query_too_many_rows")
