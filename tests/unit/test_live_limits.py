"""What live queries may keep in memory: each as much as a read may return, all of them together a limit."""

from pathlib import Path
from typing import Any

import pytest
from live_world import ME, YOU, Stage, numbered, stage_in

from keepdb.errors import Unavailable
from keepdb.query.limits import QueryLimits

KIB = 1024
LONG = "x" * 10 * KIB


def long_rows(first: int, last: int) -> list[dict[str, Any]]:
    return [row | {"t": LONG} for row in numbered(first, last)]


def assert_counts_are_right(stage: Stage) -> None:
    """The running totals are what counting anew gives."""
    windows = stage.engine._registry.windows.values()
    assert stage.engine.size == sum(window.counted for window in windows)
    assert all(window.counted == window.size for window in windows)


def rows_kept(stage: Stage, plan: Any) -> int:
    return stage.explain(plan).live["rowsKept"]


def test_a_page_does_not_grow_without_bound(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path) as stage:
        client = stage.watch(page := stage.plan(order_by=("-i",), limit=10))

        for n in range(200):
            stage.world.put("things", {"id": f"{n}", "i": n})
        stage.hear()

        assert rows_kept(stage, page) <= 10 + 2 * 10
        stage.assert_holds(client, page)


@pytest.mark.parametrize(
    ("query", "last"),
    [
        ({"select": ("t",)}, 20),
        ({"select": ("t",), "order_by": ("-i",), "limit": 25}, 20),
        ({"select": ("t", "parts")}, 20),
        # What groups keep is known once they are shown.
        ({"group_by": ("t", "i"), "aggregates": {"n": {"count": "*"}}}, 21),
        ({"group_by": ("id",), "aggregates": {"t": {"max": "t"}}}, 21),
    ],
)
def test_a_live_query_that_outgrows_what_a_read_may_return_ends_as_the_read_does(
    tmp_path: Path, query: dict[str, Any], last: int
) -> None:
    """Verifies: L8."""
    limits = QueryLimits(result_bytes=200 * KIB)
    with stage_in(tmp_path, limits) as stage:
        client = stage.watch(plan := stage.plan(**query))
        ended = ""
        for n in range(1, 25):
            stage.put(*long_rows(n, n))
            if not ended and client.failed.code:
                ended = f"{n} rows"
        assert (client.failed.code, ended) == ("query_too_large", f"{last} rows")
        assert (stage.engine.windows, stage.engine.size) == (0, 0)
        again = stage.watch(plan, "again")

        assert again.failed.code == "query_too_large"


def test_a_page_of_long_rows_gives_up_its_spare_rows_first(tmp_path: Path) -> None:
    limits = QueryLimits(result_bytes=200 * KIB)
    with stage_in(tmp_path, limits) as stage:
        client = stage.watch(page := stage.plan(select=("t",), order_by=("-i",), limit=15))

        for n in range(1, 60):
            stage.put(*long_rows(n, n))

        assert "LiveFailed" not in client.kinds
        assert rows_kept(stage, page) < 20
        assert_counts_are_right(stage)
        stage.assert_holds(client, page)


QUERIES: list[dict[str, Any]] = [
    {"order_by": ("i",), "limit": 3},
    {"where": {"i": {">": 12}}},
    {"group_by": ("t", "e"), "aggregates": {"m": {"max": "i"}}, "having": {"m": {">": 5}}},
    {"select": ("parts",)},
]


def test_what_is_kept_is_counted_by_size_and_given_back(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path) as stage:
        for n, query in enumerate(QUERIES):
            stage.watch(stage.plan(**query), f"{n}")
        empty = stage.engine.size
        stage.put(*numbered(1, 30))
        assert_counts_are_right(stage)
        short = stage.engine.size - empty
        stage.put(*long_rows(1, 30))
        assert_counts_are_right(stage)
        assert stage.engine.size - empty > short + 60 * len(LONG)
        stage.delete(*(row["id"] for row in numbered(1, 30)))
        assert_counts_are_right(stage)
        assert stage.engine.size < 8 * KIB

        stage.engine.drop_client(ME)

        assert (stage.engine.size, stage.engine.windows) == (0, 0)


def test_results_that_slow_subscribers_still_have_are_counted(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path) as stage:
        stage.put(*long_rows(1, 10))
        plan = stage.sql("SELECT id, i, t FROM things ORDER BY id")
        for n in range(5):
            stage.subscribe(f"{n}", plan, credit=1)
            stage.settle()
            stage.put({"id": "001", "i": n, "t": LONG})

        assert stage.engine.size > 5 * 10 * len(LONG)
        assert_counts_are_right(stage)


def test_at_the_limit_the_largest_query_ends_and_small_ones_go_on(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path, QueryLimits(live_bytes=1_000 * KIB)) as stage:
        small = stage.watch(small_plan := stage.plan(select=("i",), order_by=("-i",), limit=3), "small")
        large = stage.watch(stage.plan(select=("t",)), "large")
        for n in range(1, 80):
            stage.put(*long_rows(n, n))
            stage.assert_holds(small, small_plan)

        assert (large.failed.code, large.failed.retryable) == ("live_too_large", False)
        assert stage.engine.windows == 1
        assert_counts_are_right(stage)


def test_a_small_query_that_grows_at_the_limit_does_not_end_for_a_large_one(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path, QueryLimits(live_bytes=1_000 * KIB)) as stage:
        stage.put(*long_rows(1, 41))
        large = stage.watch(stage.plan(where={"e": None}, select=("t",)), "large")
        small = stage.watch(small_plan := stage.plan(where={"e": "low"}, select=("i",)), "small")
        assert large.kinds == ["Snapshot"]

        for n in range(50):
            stage.put(*({"id": f"s{n}.{m}", "i": m, "e": "low"} for m in range(7)))

        assert (large.failed.code, "LiveFailed" in small.kinds) == ("live_too_large", False)
        stage.assert_holds(small, small_plan)


def test_a_new_query_that_does_not_fit_ends_instead_of_those_that_run(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path, QueryLimits(live_bytes=1_000 * KIB)) as stage:
        stage.put(*long_rows(1, 45))
        first = stage.watch(stage.plan(select=("t",), limit=25), "first")
        second = stage.watch(stage.plan(select=("t", "i"), limit=24), "second")
        assert (first.kinds, second.kinds) == (["Snapshot"], ["LiveFailed"])
        assert second.failed.code == "live_too_large"

        stage.engine.unsubscribe(ME, "first")
        stage.watch(stage.plan(select=("t",)), "most")

        with pytest.raises(Unavailable) as caught:
            stage.subscribe("one more", stage.plan(limit=1), YOU)
        assert caught.value.code == "live_too_large"


def test_at_the_limit_slow_subscribers_lose_their_old_results_before_any_query_ends(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path, QueryLimits(live_bytes=1_000 * KIB)) as stage:
        stage.put(*long_rows(1, 10))
        plan = stage.plan(select=("t", "i"))
        slow = []
        for n in range(12):
            slow.append(stage.subscribe(f"{n}", plan, credit=1))
            stage.settle()
            stage.put({"id": "001", "i": 100 + n, "t": LONG})
        assert all(client.kinds == ["Snapshot"] for client in slow)
        assert stage.engine.size < 1_000 * KIB

        for n in range(12):
            stage.engine.ack(ME, f"{n}", 1)
        stage.settle()

        assert {kind for client in slow for kind in client.kinds[1:]} == {"Snapshot", "Diff"}
        for client in slow:
            stage.assert_holds(client, plan)
