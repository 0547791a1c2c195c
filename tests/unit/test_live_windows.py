"""Horizon windows: pages of one collection that follow single rows, whatever comes, goes or moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_world import Stage, numbered, stage_in
from test_query_world import seal


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as made:
        yield made


def test_one_new_row_in_a_page_of_a_hundred_is_sent_as_one_row(stage: Stage) -> None:
    stage.put(*numbered(1, 300))
    page = stage.plan(order_by=("-i",), limit=100, select=("i",))
    client = stage.watch(page)

    stage.put({"id": "new", "i": 250})

    diff = client.diff
    assert (diff.enter, diff.exit, diff.update, diff.move) == ([(50, ["new", 250])], ["201"], [], [])
    assert stage.engine.reads == 1
    stage.assert_holds(client, page)


def test_a_row_that_leaves_a_page_makes_room_for_the_next_without_a_read(stage: Stage) -> None:
    stage.put(*numbered(1, 50))
    page = stage.plan(order_by=("i",), limit=3, select=("i",))
    client = stage.watch(page)

    stage.delete("002")

    assert (client.diff.exit, client.diff.enter) == (["002"], [(2, ["004", 4])])
    assert stage.engine.reads == 1


def test_a_page_that_runs_out_of_spare_rows_reads_again(stage: Stage) -> None:
    stage.put(*numbered(1, 60))
    page = stage.plan(order_by=("i",), limit=3)
    client = stage.watch(page)

    for n in range(1, 20):
        stage.delete(f"{n:03}")
        stage.assert_holds(client, page)

    assert stage.engine.reads == 2
    assert client.ids == ["020", "021", "022"]


def test_a_page_that_holds_all_rows_there_are_never_reads_again(stage: Stage) -> None:
    stage.put(*numbered(1, 5))
    client = stage.watch(page := stage.plan(order_by=("i",), limit=5))
    stage.assert_holds(client, page)

    for n in range(5, 0, -1):
        stage.delete(f"{n:03}")
    stage.put(*numbered(1, 40))

    stage.assert_holds(client, page)
    assert client.cursor is not None
    assert stage.engine.reads == 1


def test_that_there_is_a_next_page_is_news_though_no_visible_row_changed(stage: Stage) -> None:
    stage.put(*numbered(1, 3))
    client = stage.watch(page := stage.plan(order_by=("i",), limit=3))

    stage.put({"id": "x", "i": 9})
    assert (client.kinds, len(client.diff.enter)) == (["Snapshot", "Diff"], 0)
    stage.assert_holds(client, page)
    stage.put({"id": "y", "i": 10})
    stage.delete("y")
    assert client.kinds == ["Snapshot", "Diff"]
    stage.delete("x")
    stage.assert_holds(client, page)


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("order", [("i",), ("-i",), ("t", "-i"), ("-t", "i"), ("-r",), ("-id",)])
def test_ties_and_missing_values_lie_where_sqlite_has_them(
    stage: Stage, order: tuple[str, ...], limit: int
) -> None:
    values: list[dict[str, Any]] = [
        {"i": i, "t": t, "r": r}
        for i, t, r in [
            (None, None, None), (1, "a", -0.0), (1, "ab", 0.0), (None, "a", 1e300), (0, "", -1.5),
            (1, None, None), (-(2**63), "é", 2.5), (2**63 - 1, "z\0", 2.5), (2**63 - 1, "z", 2.5),
        ]
    ]  # fmt: skip
    page = stage.plan(order_by=order, limit=limit)
    client = stage.watch(page)

    for n, row in enumerate(values):
        stage.put({"id": f"{n}", **row}, {"id": f"x{n}", **row})
        stage.assert_holds(client, page)
    for n in range(len(values)):
        stage.put({"id": f"{n}", **values[-n]})
        stage.assert_holds(client, page)
    for n in range(len(values)):
        stage.delete(f"{n}", f"x{n}")
        stage.assert_holds(client, page)


def test_a_row_that_moves_inside_a_page_is_told_as_a_move(stage: Stage) -> None:
    stage.put(*numbered(1, 5))
    client = stage.watch(stage.plan(order_by=("i",), limit=5))

    stage.put({"id": "001", "i": 4, "t": "moved"})

    assert (client.ids, client.diff.exit, client.diff.enter) == (["002", "003", "001", "004", "005"], [], [])
    assert client.diff.move == [(2, "001")]
    assert [row[0] for row in client.diff.update] == ["001"]


def test_rows_that_trade_places_are_told_right(stage: Stage) -> None:
    stage.put(*numbered(1, 8))
    client = stage.watch(page := stage.plan(order_by=("i",), limit=50))

    stage.put({"id": "001", "i": 5}, {"id": "005", "i": 1}, {"id": "007", "i": 3}, {"id": "003", "i": 7})

    stage.assert_holds(client, page)
    assert client.kinds == ["Snapshot", "Diff"]


def test_an_update_of_a_column_that_is_not_read_is_silent(stage: Stage) -> None:
    stage.put(*numbered(1, 3))
    client = stage.watch(stage.plan(where={"i": {">": 0}}, select=("i",)))

    stage.put({"id": "002", "i": 2, "t": "not shown"})

    assert (client.kinds, stage.engine.reads) == (["Snapshot"], 1)


def test_a_row_comes_and_goes_with_what_its_filter_asks_for(stage: Stage) -> None:
    client = stage.watch(stage.plan(where={"e": "top", "i": {"between": [1, 3]}}))

    seen = []
    for change in ({"e": "top", "i": 1}, {"e": "low", "i": 1}, {"e": "top", "i": 9}, {"e": "top", "i": 3}):
        stage.put({"id": "a", **change})
        seen.append(client.ids)
    stage.put({"id": "a", "e": "top", "i": 3, "deletedAt": 1})

    assert [*seen, client.ids] == [["a"], [], [], ["a"], []]


def test_several_changes_of_one_row_in_one_turn_are_told_as_one(stage: Stage) -> None:
    stage.put(*numbered(1, 3))
    client = stage.watch(stage.plan(order_by=("i",), select=("i",)))

    for value in (9, 0, 2):
        stage.world.put("things", {"id": "002", "i": value})
    stage.world.put("things", {"id": "gone"})
    stage.world.delete("things", "gone")
    stage.hear()

    assert client.kinds == ["Snapshot"]


# -- pages that stay put ---------------------------------------------------------------------------------------


def test_a_page_between_two_cursors_keeps_its_bounds_while_rows_come_and_go(stage: Stage) -> None:
    stage.put(*numbered(1, 30))
    ends = [stage.reader.run(stage.plan(order_by=("i",), limit=n)).cursor for n in (10, 20)]
    page = stage.plan(order_by=("i",), limit=15, after=ends[0], until=ends[1])
    client = stage.watch(page)
    assert client.ids == [f"{n:03}" for n in range(11, 21)]

    stage.put({"id": "before", "i": 5}, {"id": "on", "i": 10}, {"id": "behind", "i": 21})
    stage.delete("001", "002", "003")
    assert client.kinds == ["Snapshot", "Diff"]
    stage.put({"id": "inside", "i": 15})
    stage.delete("020")

    stage.assert_holds(client, page)
    assert client.ids == ["on", *(f"{n:03}" for n in range(11, 16)), "inside", "016", "017", "018", "019"]


def test_a_page_behind_a_cursor_is_filled_up_from_behind_only(stage: Stage) -> None:
    stage.put(*numbered(1, 60))
    after = stage.reader.run(stage.plan(order_by=("-i",), limit=10)).cursor
    page = stage.plan(order_by=("-i",), limit=5, after=after)
    client = stage.watch(page)

    for n in range(55, 30, -1):
        stage.delete(f"{n:03}")
        stage.put({"id": f"new {n}", "i": 100 + n})
        stage.assert_holds(client, page)

    assert client.ids == [f"{n:03}" for n in range(30, 25, -1)]


# -- sealed columns --------------------------------------------------------------------------------------------


def test_sealed_values_are_opened_once_and_for_all_pages_of_a_turn_together(stage: Stage) -> None:
    stage.put(*({"id": f"{n}", "i": n, "secret": n} for n in range(20)))
    pages = [stage.plan(order_by=(order,), limit=3, select=("secret",)) for order in ("i", "-i")]
    clients = [stage.subscribe(f"{n}", page) for n, page in enumerate(pages)]
    stage.settle()
    assert stage.world.opened == [6]

    stage.put({"id": "5", "i": -1, "secret": "first"}, {"id": "6", "i": 99, "secret": "last"})
    stage.delete("6")

    assert stage.world.opened == [6, 2]
    assert clients[0].rows[0] == ["5", "first"]
    for client, page in zip(clients, pages, strict=True):
        stage.assert_holds(client, page)


def test_after_a_gap_nothing_that_was_opened_before_is_shown_again(stage: Stage) -> None:
    """An erased subject empties the ring, and its rows stay as they are: only opening tells that the key is gone."""
    stage.put({"id": "a", "secret": "mine"}, {"id": "b", "secret": "yours"})
    client = stage.watch(stage.plan(select=("secret",)))

    stage.world.erased.add("a")
    with stage.world.state.batch() as batch:
        batch.empty_ring()
        batch.finish(2, b"h" * 32)
        batch.commit()
    stage.hear()

    assert client.rows == [["a", None], ["b", "yours"]]


def test_a_value_sealed_anew_that_reads_the_same_is_silent(stage: Stage) -> None:
    stage.put({"id": "a", "secret": "same"})
    client = stage.watch(stage.plan(select=("secret",)))

    again = b"\x01\x02" + seal(1, 11, "a", "same")[2:]
    with stage.world.batch():
        stage.world.state.connection.execute("UPDATE things SET secret = ?", (again,))
    stage.hear()

    assert client.kinds == ["Snapshot"]


def test_a_page_without_sealed_columns_goes_on_while_nothing_can_be_opened(stage: Stage) -> None:
    stage.put({"id": "a", "i": 1, "secret": "x"})
    plain = stage.subscribe("plain", stage.plan(select=("i",)))
    sealed = stage.subscribe("sealed", stage.plan(select=("secret",)))
    stage.vault_is_down = True
    stage.settle()

    stage.put({"id": "b", "i": 2})

    assert (len(plain.rows), sealed.kinds) == (2, [])
