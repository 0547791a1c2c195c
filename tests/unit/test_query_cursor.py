"""Cursors: refused unless they are ours, bound like any input, and served by an index from where they point."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_query_world import World, world_in

from keepdb.errors import InvalidRequest
from keepdb.query.compile import compile_query
from keepdb.query.cursor import decode_cursor, encode_cursor
from keepdb.query.order import read_order, signature
from messages.queries import Query


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("state")) as made:
        made.put("things", *({"id": f"{n:02}", "i": n % 5 if n % 7 else None} for n in range(50)))
        yield made


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


@pytest.mark.parametrize("order_by", [("i",), ("-i",), (), ("-id",)])
def test_a_page_between_two_cursors_searches_an_index_for_its_places(
    world: World, order_by: tuple[str, ...]
) -> None:
    """Both directions search the index for the page's ends instead of walking over all earlier pages."""
    one = world.query(order_by=order_by, limit=20)
    two = world.query(order_by=order_by, limit=20, after=one.cursor)

    ends: list[dict[str, Any]] = [
        {"after": one.cursor},
        {"until": one.cursor},
        {"after": one.cursor, "until": two.cursor},
    ]
    for bounds in ends:
        query = Query(source="things", order_by=order_by, limit=20, **bounds)
        plan = compile_query(query, world.reader.catalog, world.reader.limits)
        explained = world.connection.execute(f"EXPLAIN QUERY PLAN {plan.sql}", plan.params)
        details = [str(row[3]) for row in explained]
        reads = [line for line in details if "things" in line]
        assert reads
        assert all(re.search(r"SEARCH things USING INDEX \S+ \((i|id)[<>=]", line) for line in reads)
        assert not any("TEMP B-TREE" in line for line in details), details


@pytest.mark.parametrize("order_by", [("i",), ("-i",), ("b", "-i"), ()])
def test_pages_between_cursors_keep_their_bounds_while_rows_come_and_go(
    tmp_path: Path, order_by: tuple[str, ...]
) -> None:
    with world_in(tmp_path) as world:
        rows = [{"id": f"{n:02}", "i": n % 4 or None, "b": n % 2} for n in range(20)]
        world.put("things", *rows)
        cursors: list[str | None] = [None]
        while len(cursors) == 1 or cursors[-1]:
            page = world.query(order_by=order_by, limit=7, after=cursors[-1])
            cursors.append(page.cursor)
        world.put("things", *({"id": f"{n:02}x", "i": n % 5 or None, "b": n % 2} for n in range(20)))
        world.delete("things", *(f"{n:02}" for n in range(0, 20, 3)))

        pages = [
            world.query(order_by=order_by, after=after, until=until) for after, until in pairwise(cursors)
        ]

        assert [row for page in pages for row in page.rows] == world.query(order_by=order_by).rows
        assert [page.cursor for page in pages] == [None] * 3
        assert len(pages[0].rows) > 7


def test_a_bounded_page_with_more_rows_than_its_limit_is_split_at_its_cursor(world: World) -> None:
    whole = world.query(limit=10)

    first = world.query(until=whole.cursor, limit=6)
    rest = world.query(after=first.cursor, until=whole.cursor)

    assert first.rows + rest.rows == whole.rows
    assert (len(first.rows), rest.cursor) == (6, None)


def test_a_page_that_ends_before_it_begins_is_empty(world: World) -> None:
    one = world.query(order_by=("-i",), limit=5)
    last = world.query(order_by=("-i",), limit=45)

    assert world.query(order_by=("-i",), after=last.cursor, until=one.cursor).rows == []
    assert world.query(order_by=("-i",), after=one.cursor, until=one.cursor).rows == []


def test_a_wrong_end_is_refused_by_its_name(world: World) -> None:
    with pytest.raises(InvalidRequest, match="until: this cursor cannot be used"):
        world.query(until="nonsense")
    with pytest.raises(InvalidRequest, match="until: the result is a single row"):
        world.query(aggregates={"n": {"count": "*"}}, until=world.query(limit=1).cursor)
