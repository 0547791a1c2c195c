"""Group windows: counts, sums, extremes, having and distinct that follow single rows as SQLite would have them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_world import Stage, stage_in

from keepdb.query.limits import QueryLimits


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as made:
        yield made


COUNT = {"n": {"count": "*"}}
FIGURES = {
    "n": {"count": "*"},
    "some": {"count": "i"},
    "sum": {"sum": "i"},
    "mean": {"avg": "i"},
    "least": {"min": "i"},
    "most": {"max": "i"},
    "word": {"max": "t"},
}


def test_figures_of_integers_follow_rows_without_a_read(stage: Stage) -> None:
    plan = stage.plan(aggregates=FIGURES)
    client = stage.watch(plan)
    assert client.rows == [[0, 0, None, None, None, None, None]]

    for row in ({"i": 5, "t": "b"}, {"i": None}, {"i": 7, "t": "a"}):
        stage.put({"id": f"{row['i']}", **row})
        stage.assert_holds(client, plan)

    assert client.rows == [[3, 2, 12, 6.0, 5, 7, "b"]]
    assert stage.engine.reads == 1


def test_groups_come_with_their_first_row_and_go_with_their_last(stage: Stage) -> None:
    plan = stage.plan(group_by=("e",), aggregates=COUNT)
    client = stage.watch(plan)

    stage.put({"id": "a", "e": "low"}, {"id": "b", "e": "top"}, {"id": "c"})
    assert client.rows == [[None, 1], ["low", 1], ["top", 1]]
    stage.put({"id": "b", "e": "low"})
    assert client.diff.exit == ["top"]
    assert client.diff.update == [["low", 2]]
    stage.delete("a", "b", "c")

    assert client.rows == []
    assert stage.engine.reads == 1


def test_groups_named_by_one_field_are_told_row_by_row(stage: Stage) -> None:
    stage.put(*({"id": f"{n}", "w": n} for n in range(50)))
    client = stage.watch(stage.plan(group_by=("w",), aggregates=COUNT))

    stage.put({"id": "new", "w": 7})

    assert (client.kinds, client.diff.update) == (["Snapshot", "Diff"], [[7, 2]])


def test_an_extreme_that_leaves_is_looked_up_in_its_group_alone(stage: Stage) -> None:
    plan = stage.plan(group_by=("e",), aggregates={"least": {"min": "i"}, "most": {"max": "i"}})
    stage.put(*({"id": f"{e}{i}", "e": e, "i": i} for e in ("low", "top") for i in range(5)))
    client = stage.watch(plan)

    stage.delete("low2")
    assert stage.engine.reads == 1
    stage.delete("low0")
    assert stage.engine.reads == 2
    stage.assert_holds(client, plan)
    stage.put({"id": "top4", "e": "top", "i": 9})
    assert stage.engine.reads == 2
    stage.put({"id": "low1", "e": "low", "i": None}, {"id": "x", "e": "low", "i": -1})

    assert stage.engine.reads == 2
    stage.assert_holds(client, plan)


def test_sums_of_floats_are_added_up_by_sqlite(stage: Stage) -> None:
    """Taking 1e16 out again would leave 0.0 of 0.1."""
    plan = stage.plan(aggregates={"sum": {"sum": "r"}, "mean": {"avg": "r"}})
    client = stage.watch(plan)

    for rows in ([{"id": "a", "r": 0.1}], [{"id": "b", "r": 1e16}], [{"id": "b", "r": None}], [{"id": "a"}]):
        stage.put(*rows)
        stage.assert_holds(client, plan)

    assert client.rows == [[None, None]]


def test_sums_that_may_leave_64_bits_are_left_to_sqlite(stage: Stage) -> None:
    plans = [stage.plan(aggregates={"mean": {"avg": "i"}}), stage.plan(aggregates={"sum": {"sum": "i"}})]
    clients = [stage.watch(plan, f"{n}") for n, plan in enumerate(plans)]

    for n, value in enumerate([2**63 - 1, -(2**63), 5]):
        stage.put({"id": f"{n}", "i": value})
        for client, plan in zip(clients, plans, strict=True):
            stage.assert_holds(client, plan)
    stage.put({"id": "0", "i": 2**63 - 1}, {"id": "1", "i": 2**63 - 1})

    stage.assert_holds(clients[0], plans[0])
    assert clients[1].failed.code == "sql_error"


def test_sums_of_large_numbers_that_fit_are_followed_row_by_row(stage: Stage) -> None:
    plan = stage.plan(aggregates={"sum": {"sum": "i"}, "mean": {"avg": "i"}})
    stage.put({"id": "large", "i": 2**62}, {"id": "small", "i": -3}, {"id": "none", "i": None})
    client = stage.watch(plan)

    for n in range(9):
        stage.put({"id": f"{n}", "i": -(2**40) * n - 1})
        stage.assert_holds(client, plan)

    assert stage.engine.reads == 1


def test_having_lets_groups_in_and_out(stage: Stage) -> None:
    plan = stage.plan(
        group_by=("e",), aggregates={**COUNT, "sum": {"sum": "i"}}, having={"n": {">": 1}, "sum": {"<": 10}}
    )
    client = stage.watch(plan)

    seen = []
    for n, value in enumerate([1, 2, 9, None]):
        stage.put({"id": f"{n}", "e": "low", "i": value})
        seen.append(client.rows)
    stage.delete("2")

    assert seen == [[], [["low", 2, 3]], [], []]
    assert client.rows == [["low", 3, 3]]
    assert stage.engine.reads == 1


def test_groups_are_ordered_and_limited_by_their_figures(stage: Stage) -> None:
    plan = stage.plan(group_by=("t",), aggregates=COUNT, order_by=("-n",), limit=2)
    client = stage.watch(plan)

    for n, word in enumerate("abcabcbcc"):
        stage.put({"id": f"{n}", "t": word})
        stage.assert_holds(client, plan)

    assert client.rows == [["c", 4], ["b", 3]]
    assert client.cursor is not None


def test_pages_of_groups_keep_their_bounds(stage: Stage) -> None:
    stage.put(*({"id": f"{n}", "w": n} for n in range(9)))
    ends = [stage.reader.run(stage.plan(group_by=("w",), aggregates=COUNT, limit=n)).cursor for n in (3, 6)]
    plan = stage.plan(group_by=("w",), aggregates=COUNT, after=ends[0], until=ends[1])
    client = stage.watch(plan)

    stage.delete("0", "4")
    stage.put({"id": "x", "w": 1}, {"id": "y", "w": 5}, {"id": "z", "w": 30})

    assert client.rows == [[3, 1], [5, 2]]
    stage.assert_holds(client, plan)


def test_distinct_values_come_and_go(stage: Stage) -> None:
    plan = stage.plan(select=("e", "b"), distinct=True)
    client = stage.watch(plan)

    stage.put({"id": "1", "e": "low", "b": 1}, {"id": "2", "e": "low", "b": 1}, {"id": "3", "e": "low"})
    assert client.rows == [["low", None], ["low", True]]
    stage.delete("1")
    assert client.kinds == ["Snapshot", "Snapshot"]
    stage.delete("2")

    assert client.rows == [["low", None]]


def test_an_update_that_counts_the_same_is_silent(stage: Stage) -> None:
    stage.put({"id": "a", "e": "low", "i": 1})
    client = stage.watch(stage.plan(group_by=("e",), aggregates={"sum": {"sum": "i"}}))

    stage.put({"id": "a", "e": "low", "i": 1, "t": "not read"})

    assert (client.kinds, stage.engine.reads) == (["Snapshot"], 1)


def test_too_many_groups_are_counted_by_sqlite(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path, QueryLimits(live_groups=5)) as stage:
        plan = stage.plan(group_by=("i",), aggregates=COUNT, order_by=("-n",), limit=3)
        client = stage.watch(plan)
        for n in range(10):
            stage.put({"id": f"{n}", "i": n})
            stage.put({"id": f"x{n}", "i": n % 4})
            stage.assert_holds(client, plan)
        assert stage.explain(plan).live["rowsKept"] <= 6


def test_a_group_read_late_takes_no_change_twice(tmp_path: Path) -> None:
    """Verifies: L3. The lost extreme is looked up in a snapshot that is ahead of the changes."""
    with stage_in(tmp_path, QueryLimits(turn_bytes=1)) as stage:
        stage.put(*({"id": f"{n}", "i": n} for n in range(5)))
        plan = stage.plan(aggregates={"least": {"min": "i"}, "sum": {"sum": "i"}, **COUNT})
        client = stage.watch(plan)

        stage.world.delete("things", "0")
        stage.world.put("things", {"id": "a", "i": -3}, {"id": "b", "i": 100})
        stage.world.delete("things", "a")
        stage.turn()
        assert client.seq == 4
        stage.settle()

        stage.assert_holds(client, plan)
