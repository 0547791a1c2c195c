"""Related rows: one statement per include for a whole page, matched, ordered, limited and opened like others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_query_oracle import ORDERS, SETTINGS, WHERES, Row, Where, expected, fill, tables
from test_query_world import CATALOG, COLUMNS, LIMITS, World, world_in

from keepdb.errors import InvalidRequest
from keepdb.query.compile import compile_query
from keepdb.query.limits import QueryLimits
from messages.queries import Query

THINGS: list[dict[str, Any]] = [
    {"id": "a", "t": "one", "i": 1, "x": "o1", "secret": "sa"},
    {"id": "b", "t": "two", "i": 2, "x": "o1", "secret": "sb"},
    {"id": "c", "t": "three", "i": 3, "x": "o2"},
    {"id": "d", "t": "four", "x": "nobody"},
    {"id": "e", "t": "five"},
    {"id": "gone", "t": "six", "x": "o1", "deletedAt": 9},
]
OTHERS: list[dict[str, Any]] = [
    {"id": "o1", "name": "first"},
    {"id": "o2", "name": "second", "deletedAt": 5},
    {"id": "o3"},
]
PARTS: list[dict[str, Any]] = [
    {"id": "p1", "parent": "a", "position": 1, "label": "x", "hidden": "h1", "done": 1},
    {"id": "p2", "parent": "a", "position": 2, "label": "y"},
    {"id": "p3", "parent": "b", "position": 1, "label": "x", "hidden": "h3"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("state")) as made:
        made.put("things", *THINGS)
        made.put("others", *OTHERS)
        made.put("things__parts", *PARTS)
        yield made


def read(world: World, source: str = "things", **parts: Any) -> list[dict[str, Any]]:
    """Rows as maps of a query in the wire's form."""
    query = msgspec.convert({"from": source, **parts}, Query)
    result = world.reader.run(world.reader.plan(query, None))
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def test_a_ref_shows_the_row_it_points_to_or_null(world: World) -> None:
    rows = read(world, select=["id"], include={"other": {"via": "x", "select": ["name"]}})

    first = {"id": "o1", "name": "first"}
    assert rows == [
        {"id": "a", "other": first},
        {"id": "b", "other": first},
        # Deleted, dangling, missing.
        {"id": "c", "other": None},
        {"id": "d", "other": None},
        {"id": "e", "other": None},
    ]


def test_deleted_rows_are_included_where_asked_for(world: World) -> None:
    one = read(world, where={"id": "c"}, include={"other": {"via": "x", "withDeleted": True}})
    include = {"things": {"from": "things", "via": "x", "select": ["t"], "withDeleted": True}}
    many = read(world, "others", where={"id": "o1"}, select=["id"], include=include)

    assert one[0]["other"]["deletedAt"] == 5
    assert [thing["id"] for thing in many[0]["things"]] == ["a", "b", "gone"]


def test_without_select_an_included_row_has_every_plain_field(world: World) -> None:
    (row,) = read(
        world, "others", where={"id": "o1"}, include={"things": {"from": "things", "via": "x", "limit": 1}}
    )

    assert list(row) == ["id", "name", "createdAt", "updatedAt", "deletedAt", "things"]
    assert list(row["things"][0]) == COLUMNS


def test_a_list_is_filtered_ordered_and_limited_for_each_row_by_itself(world: World) -> None:
    things = {"from": "things", "via": "x", "select": ["id"], "orderBy": ["-i"], "limit": 1}
    limited = read(world, "others", select=["id"], include={"things": things})
    filtered = read(
        world, "others", select=["id"], include={"things": {**things, "where": {"i": {"<": 2}}, "limit": 5}}
    )

    assert limited == [{"id": "o1", "things": [{"id": "b"}]}, {"id": "o3", "things": []}]
    assert filtered == [{"id": "o1", "things": [{"id": "a"}]}, {"id": "o3", "things": []}]


def test_child_rows_are_included_by_their_parent_and_it_by_them(world: World) -> None:
    last = {
        "from": "things.parts",
        "via": "parent",
        "orderBy": ["-position"],
        "limit": 1,
        "select": ["label"],
    }
    down = read(world, where={"id": {"in": ["a", "c"]}}, select=["id"], include={"last": last})
    up = read(
        world,
        "things.parts",
        where={"label": "x"},
        select=["id"],
        include={"of": {"via": "parent", "select": ["t"]}},
    )

    assert down == [{"id": "a", "last": [{"id": "p2", "label": "y"}]}, {"id": "c", "last": []}]
    assert up == [{"id": "p1", "of": {"id": "a", "t": "one"}}, {"id": "p3", "of": {"id": "b", "t": "two"}}]


def test_includes_nest_and_their_sealed_values_are_opened_in_the_same_ask(world: World) -> None:
    world.opened.clear()
    parts = {"from": "things.parts", "via": "parent", "select": ["hidden"]}
    inner = {"from": "things", "via": "x", "select": ["secret"], "include": {"pieces": parts}}

    (row,) = read(world, "others", where={"id": "o1"}, select=["id"], include={"things": inner})

    assert row["things"] == [
        {"id": "a", "secret": "sa", "pieces": [{"id": "p1", "hidden": "h1"}, {"id": "p2", "hidden": None}]},
        {"id": "b", "secret": "sb", "pieces": [{"id": "p3", "hidden": "h3"}]},
    ]
    assert world.opened == [4]


def test_child_rows_selected_by_name_work_inside_an_include(world: World) -> None:
    include = {"things": {"from": "things", "via": "x", "select": ["parts"], "where": {"i": 2}}}

    (row,) = read(world, "others", where={"id": "o1"}, select=["id"], include=include)

    part = {"id": "p3", "label": "x", "hidden": "h3", "done": None}
    assert row["things"] == [{"id": "b", "parts": [part]}]


def test_pages_carry_their_includes_and_a_cursor(world: World) -> None:
    query = msgspec.convert(
        {"from": "things", "select": ["t"], "orderBy": ["-i"], "limit": 2, "include": {"o": {"via": "x"}}},
        Query,
    )
    first = world.reader.run(world.reader.plan(query, None))
    rest = world.reader.run(world.reader.plan(msgspec.structs.replace(query, after=first.cursor), None))

    assert (first.columns, first.key) == (("id", "t", "o"), 0)
    assert [row[1] for row in first.rows + rest.rows] == ["three", "two", "one", "five"]
    assert [row[2] and row[2]["id"] for row in first.rows + rest.rows] == [None, "o1", "o1", None]


@SETTINGS
@given(
    things=tables(),
    where=WHERES,
    inner=WHERES,
    order_by=ORDERS,
    limit=st.one_of(st.none(), st.integers(1, 3)),
    owners=st.lists(st.integers(0, 14), max_size=10),
    with_deleted=st.booleans(),
)
def test_random_includes_are_what_reading_each_list_by_itself_gives(
    world: World,
    things: list[Row],
    where: Where,
    inner: Where,
    order_by: tuple[str, ...],
    limit: int | None,
    owners: list[int],
    with_deleted: bool,
) -> None:
    fill(world, things)
    parts: list[dict[str, Any]] = [
        {"id": f"p{n}", "parent": f"id{owner:02}", "position": n, "label": "l"}
        for n, owner in enumerate(owners)
    ]
    with world.batch():
        world.state.connection.execute("DELETE FROM things__parts")
    world.put("things__parts", *parts)
    first = {"from": "things.parts", "via": "parent", "orderBy": ["-position"], "limit": 2, "select": ["id"]}
    include: dict[str, Any] = {
        "things": {
            "from": "things",
            "via": "x",
            "where": inner,
            "orderBy": order_by,
            "select": ["id"],
            "withDeleted": with_deleted,
            "include": {"first": first, "o": {"via": "x", "select": ["id"]}},
        }
    }
    include["things"] |= {} if limit is None else {"limit": limit}

    found = read(world, "others", select=["id"], include=include)

    def firsts(thing: str) -> list[dict[str, str]]:
        return [{"id": part["id"]} for part in reversed(parts) if part["parent"] == thing][:2]

    for other in found:
        wanted = expected([row for row in things if row["x"] == other["id"]], inner, order_by, with_deleted)
        assert other["things"] == [
            {"id": thing, "first": firsts(thing), "o": {"id": other["id"]}} for thing in wanted[:limit]
        ]


def test_a_plan_knows_the_tables_and_columns_that_its_includes_read() -> None:
    parts = {"from": "things.parts", "via": "parent", "select": ["label"], "where": {"done": True}}
    things = {"from": "things", "via": "x", "select": ["t"], "orderBy": ["i"], "include": {"parts_": parts}}
    query = msgspec.convert({"from": "others", "select": ["id"], "include": {"things": things}}, Query)

    plan = compile_query(query, CATALOG, LIMITS)

    assert plan.tables == {"others", "things", "things__parts"}
    assert plan.reads == {
        *(("others", name) for name in ("id", "deletedAt")),
        *(("things", name) for name in ("id", "x", "t", "i", "deletedAt")),
        *(("things__parts", name) for name in ("id", "parent", "label", "done")),
    }


def test_queries_that_differ_in_their_includes_differ_in_their_canonical_form() -> None:
    def canonical(include: dict[str, Any]) -> bytes:
        query = msgspec.convert({"from": "others", "include": include}, Query)
        return compile_query(query, CATALOG, LIMITS).canonical

    base: dict[str, Any] = {"from": "things", "via": "x"}
    different = [
        {},
        {"one": base},
        {"two": base},
        {"one": base | {"where": {"i": 1}}},
        {"one": base | {"where": {"i": 2}}},
        {"one": base | {"limit": 3}},
        {"one": base | {"select": ["t"]}},
        {"one": base | {"withDeleted": True}},
        {"one": base | {"include": {"o": {"via": "x"}}}},
    ]
    assert len({canonical(include) for include in different}) == len(different)


@pytest.mark.parametrize("via", ["parent", "x"])
def test_a_limited_list_looks_into_an_index_if_there_is_one_for_its_ref(world: World, via: str) -> None:
    child = {"from": "things.parts" if via == "parent" else "things", "via": via, "limit": 1}
    source = "things" if via == "parent" else "others"
    query = msgspec.convert({"from": source, "include": {"list": child}}, Query)

    (relation,) = compile_query(query, CATALOG, LIMITS).shape.includes
    values = ('["a"]', *relation.params)
    plan = [str(row[3]) for row in world.connection.execute(f"EXPLAIN QUERY PLAN {relation.sql}", values)]

    assert any("CORRELATED" in line for line in plan) == (via == "parent")
    assert any("SCAN things" in line for line in plan) == (via == "x")


POISON = 'x" OR 1=1; DROP TABLE things; --'


@pytest.mark.parametrize(
    ("include", "code", "words"),
    [
        ({"p": {"via": "xx"}}, "query_unknown_field", "include.p.via: a field of things called str 'xx'"),
        ({"p": {"via": "i"}}, "query_bad_value", "include.p.via: found str 'i', expected a ref field of things"),
        ({"p": {"via": "id"}}, "query_bad_value", "Its refs: x."),
        ({"p": {"via": POISON}}, "query_unknown_field", "include.p.via"),
        ({"p": {"via": "x", "where": {"name": "n"}}}, "query_bad_value", "include.p.where: x points to a single row"),
        ({"p": {"via": "x", "orderBy": ["name"]}}, "query_bad_value", "include.p.orderBy"),
        ({"p": {"via": "x", "limit": 1}}, "query_bad_value", "include.p.limit"),
        ({"p": {"via": "x", "select": ["nam"]}}, "query_unknown_field", "include.p.select[0]"),
        ({"p": {"from": "thing", "via": "x"}}, "query_unknown_collection", "include.p.from"),
        ({"p": {"from": POISON, "via": "x"}}, "query_unknown_collection", "include.p.from"),
        ({"p": {"from": "things", "via": "x"}}, "query_bad_value", "a field that points to things, not to others"),
        ({"p": {"from": "things.parts", "via": "label"}}, "query_bad_value", "Its refs: parent."),
        ({"p": {"from": "things.parts", "via": "parent", "where": {"hidden": "h"}}}, "query_not_searchable",
         "include.p.where.hidden"),
        ({"p": {"from": "things.parts", "via": "parent", "where": {POISON: 1}}}, "query_unknown_field",
         "include.p.where"),
        ({"p": {"from": "things.parts", "via": "parent", "orderBy": ["-lable"]}}, "query_unknown_field",
         "include.p.orderBy[0]"),
        ({"p": {"from": "things.parts", "via": "parent", "limit": 0}}, "query_bad_value", "include.p.limit"),
        ({"p": {"from": "things.parts", "via": "parent", "limit": 10**6}}, "query_too_large", "include.p.limit"),
        ({"p": {"via": "x", "include": {"q": {"via": "x"}}}}, "query_unknown_field", "include.p.include.q.via"),
        ({"t": {"via": "x"}}, "query_bad_value", "include.t: found str 't', expected a name"),
        ({"": {"via": "x"}}, "query_bad_value", "expected a name of 1 to 64 characters"),
        ({"n" * 65: {"via": "x"}}, "query_bad_value", "expected a name of 1 to 64 characters"),
        ({f"p{n}": {"via": "x"} for n in range(17)}, "query_too_large", "17 includes, the limit is 16"),
    ],
)  # fmt: skip
def test_a_wrong_include_is_refused_with_its_place(include: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compile_query(msgspec.convert({"from": "things", "include": include}, Query), CATALOG, LIMITS)

    assert caught.value.code == code
    assert words in str(caught.value)


def test_includes_nested_too_deeply_are_refused() -> None:
    up: dict[str, Any] = {"via": "x"}
    down: dict[str, Any] = {"from": "things", "via": "x"}
    include: dict[str, Any] = {}
    for step in (down, up, down, up):
        include = {"next": step | {"include": include}}

    with pytest.raises(InvalidRequest, match="4 levels of include, the limit is 3"):
        compile_query(msgspec.convert({"from": "things", "include": include}, Query), CATALOG, LIMITS)


def test_names_of_includes_never_become_sql() -> None:
    query = msgspec.convert({"from": "things", "include": {POISON: {"via": "x", "withDeleted": True}}}, Query)

    plan = compile_query(query, CATALOG, LIMITS)

    assert "DROP" not in plan.sql + plan.shape.includes[0].sql
    assert plan.shape.names[-1] == POISON


def test_more_included_rows_or_bytes_than_one_result_may_have_are_refused(tmp_path: Path) -> None:
    with world_in(tmp_path, QueryLimits(result_bytes=50_000, child_rows=40)) as world:
        world.put("others", {"id": "o", "name": "x" * 1_000})
        world.put("things", *({"id": f"{n:02}", "x": "o"} for n in range(45)))
        many = {"from": "things", "via": "x", "select": ["id"]}

        with pytest.raises(InvalidRequest) as rows:
            read(world, "others", include={"things": many})
        assert len(read(world, "others", include={"things": many | {"limit": 40}})[0]["things"]) == 40
        # One row of 1 KB, shown 45 times.
        assert len(read(world, select=["id"], include={"o": {"via": "x"}})) == 45
        world.put("others", {"id": "o", "name": "x" * 1_200})
        with pytest.raises(InvalidRequest) as size:
            read(world, select=["id"], include={"o": {"via": "x"}})

    assert (rows.value.code, size.value.code) == ("query_too_many_rows", "query_too_large")
