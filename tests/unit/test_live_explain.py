"""Explain: how a query is answered and kept up to date, and why it ran or stayed silent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_world import Stage, stage_in


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as made:
        yield made


def test_each_kind_of_query_names_its_strategy(stage: Stage) -> None:
    plans = {
        "window": stage.plan(where={"i": 1}, order_by=("-r",)),
        "groups": stage.plan(aggregates={"n": {"count": "*"}}),
        "rerun": stage.sql("SELECT t FROM things"),
    }
    for strategy, plan in plans.items():
        explained = stage.explain(plan)
        assert explained.strategy == strategy
        assert explained.reason.endswith(".")
    assert stage.explain(stage.plan(select=("parts",))).strategy == "rerun"


def test_it_shows_what_runs_and_how_sqlite_goes_about_it(stage: Stage) -> None:
    explained = stage.explain(stage.plan(where={"e": "low", "i": {">": 1}}, order_by=("i",), limit=5))
    assert explained.sql.startswith("SELECT")
    assert any("things__e__i" in line for line in explained.plan)
    assert explained.reads[:2] == ["things.b", "things.createdAt"]
    assert explained.live == {}

    sql = stage.explain(stage.sql("SELECT count(*) FROM things t JOIN others o ON o.id = t.x"))
    assert sql.sql == "SELECT count(*) FROM things t JOIN others o ON o.id = t.x"
    assert len(sql.plan) == 2
    assert sql.reads == ["others.id", "things.x"]
    assert stage.explain(stage.sql("EXPLAIN QUERY PLAN SELECT t FROM things")).plan == ["SCAN things"]


def test_child_rows_and_counts_are_named_as_queries_name_them(stage: Stage) -> None:
    explained = stage.explain(stage.sql("SELECT count(*) FROM things__parts"))
    assert explained.reads == ["things.parts.*"]


def test_from_the_first_question_on_it_remembers_what_changes_did(stage: Stage) -> None:
    stage.put(*({"id": f"{n}", "x": "o1", "i": n} for n in range(9)))
    plan = stage.plan(where={"x": "o1", "i": {"<": 50}}, order_by=("i",), limit=3, select=("i",))
    client = stage.watch(plan)
    assert stage.explain(plan).decisions == []

    stage.put({"id": "o"}, table="others")
    stage.put({"id": "other", "x": "o2", "i": 1})
    stage.put({"id": "high", "x": "o1", "i": 99})
    stage.put({"id": "2", "x": "o1", "i": 2, "t": "not read"})
    stage.put({"id": "new", "x": "o1", "i": 1})
    stage.put({"id": "spare", "x": "o1", "i": 7})
    explained = stage.explain(plan)

    whys = [(outcome, why) for _, outcome, why in explained.decisions]
    assert whys == [
        ("skipped", "no row of its collections changed"),
        ("skipped", "no changed row has what its guard asks for"),
        ("skipped", "no changed row meets its filter, before or after"),
        ("skipped", "what changed lies behind the rows that it keeps, or is not shown"),
        ("sent", "the result changed"),
        ("silent", "the result is the same"),
    ]
    assert [seq for seq, _, _ in explained.decisions] == [2, 3, 4, 5, 6, 7]
    assert explained.live["pushes"] == len(client.kinds) == 2
    assert (explained.live["rows"], explained.live["rowsKept"], explained.live["reads"]) == (3, 11, 1)


def test_reads_are_remembered_with_their_reason(stage: Stage) -> None:
    stage.put(*({"id": f"{n:02}", "i": n} for n in range(40)))
    page = stage.plan(order_by=("i",), limit=1)
    least = stage.plan(aggregates={"least": {"min": "i"}})
    sql = stage.sql("SELECT count(*) FROM things WHERE i > 5")
    for n, plan in enumerate((page, least, sql)):
        stage.watch(plan, f"{n}")
        stage.explain(plan)

    stage.world.delete("things", *(f"{n:02}" for n in range(11)))
    stage.hear()

    latest = [stage.explain(plan).decisions[-1][1:] for plan in (page, least, sql)]
    assert latest == [
        ("refilled", "too few rows were left behind the visible ones; the result changed"),
        ("refilled", "a figure could not be followed from the changed rows alone; the result changed"),
        ("ran", "a row changed in a column that it reads; the result changed"),
    ]


def test_only_the_queries_asked_about_last_are_remembered(stage: Stage) -> None:
    """Verifies: L8."""
    plans = [stage.plan(limit=n + 1) for n in range(20)]
    for n, plan in enumerate(plans):
        stage.watch(plan, f"{n}")
        stage.explain(plan)
    for n in range(100):
        stage.world.put("others", {"id": f"{n}"})
        stage.hear()

    assert stage.explain(plans[0]).decisions == []
    assert len(stage.explain(plans[-1]).decisions) == 32
