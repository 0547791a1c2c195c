"""Live queries: subscribers that apply what they are sent always hold what a fresh read would give."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_world import ME, YOU, Stage, stage_in
from test_query_world import world_in

from keepdb.errors import InvalidRequest, KeepError
from keepdb.query.limits import QueryLimits


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path, QueryLimits(windows=3, credit_max=100)) as made:
        made.put(*({"id": name, "i": n} for n, name in enumerate("abc")))
        yield made


def test_the_first_push_is_a_snapshot_and_the_next_are_differences(stage: Stage) -> None:
    client = stage.subscribe("s", stage.plan(select=("i",), order_by=("i",), limit=3))
    stage.settle()
    assert (client.rows, client.kinds, client.seq) == ([["a", 0], ["b", 1], ["c", 2]], ["Snapshot"], 1)

    stage.world.put("things", {"id": "d", "i": -1}, {"id": "b", "i": 7})
    stage.hear()

    assert (client.rows, client.kinds, client.seq) == (
        [["d", -1], ["a", 0], ["c", 2]],
        ["Snapshot", "Diff"],
        2,
    )


def test_an_unchanged_result_is_silent(stage: Stage) -> None:
    client = stage.subscribe("s", stage.plan(where={"i": {"<": 2}}, select=("i",)))
    stage.settle()

    stage.world.put("things", {"id": "x", "i": 50})
    stage.hear()

    assert (client.kinds, stage.engine.reads) == (["Snapshot"], 1)


def test_a_change_of_another_table_runs_nothing(stage: Stage) -> None:
    stage.subscribe("s", stage.plan())
    stage.settle()

    stage.world.put("others", {"id": "o"})
    stage.hear()
    stage.hear()

    assert stage.engine.reads == 1


def test_a_change_of_child_rows_reaches_queries_that_show_them(stage: Stage) -> None:
    plain = stage.subscribe("plain", stage.plan(select=("i",)))
    full = stage.subscribe("full", stage.plan(select=("parts",)))
    stage.settle()

    part = {"id": "p", "parent": "b", "position": 1, "label": "new"}
    stage.world.put("things__parts", part)
    stage.hear()

    assert (plain.kinds, full.kinds) == (["Snapshot"], ["Snapshot", "Diff"])
    assert full.rows[1] == ["b", [{"id": "p", "label": "new", "hidden": None, "done": None}]]


def test_identical_queries_share_one_window(stage: Stage) -> None:
    one = stage.subscribe("one", stage.plan(where={"i": 1, "t": None}))
    two = stage.subscribe(
        "two", stage.plan(where={"and": [{"t": {"isNull": True}}, {"i": {"=": 1}}]}), client=YOU
    )
    stage.settle()

    assert (stage.engine.windows, stage.engine.subscribers, stage.engine.reads) == (1, 2, 1)
    assert one.rows == two.rows

    assert stage.engine.unsubscribe(ME, "one")
    assert stage.engine.windows == 1
    stage.engine.drop_client(YOU)
    assert (stage.engine.windows, stage.engine.subscribers) == (0, 0)
    stage.world.put("things", {"id": "a", "i": 1})
    stage.hear()
    assert stage.engine.reads == 1


def test_a_later_subscriber_gets_the_kept_result_at_the_present_position(stage: Stage) -> None:
    stage.subscribe("one", stage.plan())
    stage.settle()
    stage.world.put("others", {"id": "o"})
    stage.hear()

    late = stage.subscribe("two", stage.plan(), at_least=2)
    stage.settle()

    assert (stage.engine.reads, late.seq, len(late.rows)) == (1, 2, 3)


def test_a_subscriber_that_has_written_sees_its_own_write(stage: Stage) -> None:
    stage.subscribe("one", stage.plan())
    stage.settle()
    stage.world.put("things", {"id": "mine", "i": 9})

    late = stage.subscribe("two", stage.plan(), at_least=2)
    stage.settle()

    assert (late.seq, len(late.rows)) == (2, 4)


def test_a_subscriber_without_credit_is_passed_over_and_then_gets_one_push(stage: Stage) -> None:
    plan = stage.plan(select=("i",), order_by=("-i",))
    slow = stage.subscribe("slow", plan, credit=1)
    quick = stage.subscribe("quick", plan, client=YOU)
    stage.settle()

    for n in range(10):
        stage.world.put("things", {"id": "a", "i": 10 + n})
        stage.hear()
    assert (len(slow.kinds), len(quick.kinds)) == (1, 11)

    stage.engine.ack(ME, "slow", 1)
    stage.settle()
    assert len(slow.kinds) == 2
    assert slow.rows == quick.rows

    stage.engine.ack(ME, "slow", 1)
    stage.settle()
    assert len(slow.kinds) == 2


def test_changes_that_cancel_out_before_there_is_credit_are_silent(stage: Stage) -> None:
    slow = stage.subscribe("slow", stage.plan(select=("i",)), credit=1)
    stage.settle()
    for value in (5, 0):
        stage.world.put("things", {"id": "a", "i": value})
        stage.hear()

    stage.engine.ack(ME, "slow", 1)
    stage.settle()

    assert slow.kinds == ["Snapshot"]


def test_results_without_a_key_come_whole(stage: Stage) -> None:
    sums = stage.subscribe("sums", stage.plan(aggregates={"n": {"sum": "i"}}))
    sql = stage.subscribe("sql", stage.sql("SELECT max(i) AS m FROM things"))
    stage.settle()

    stage.world.put("things", {"id": "a", "i": 10})
    stage.hear()
    stage.world.put("things", {"id": "a", "i": 10, "t": "same figures"})
    stage.hear()

    assert (sums.rows, sums.kinds) == ([[13]], ["Snapshot", "Snapshot"])
    assert (sql.rows, sql.kinds) == ([[10]], ["Snapshot", "Snapshot"])


def test_a_difference_larger_than_the_result_comes_as_a_snapshot(stage: Stage) -> None:
    client = stage.subscribe("s", stage.plan(where={"i": {">": 0}}, select=("i",)))
    stage.settle()

    stage.world.put("things", *({"id": name, "i": -1} for name in "bc"), {"id": "z", "i": 1})
    stage.hear()

    assert (client.kinds, client.rows) == (["Snapshot", "Snapshot"], [["z", 1]])


def test_many_new_windows_are_read_in_slices(tmp_path: Path) -> None:
    """Verifies: L8."""
    with stage_in(tmp_path, QueryLimits(turn_windows=2)) as stage:
        for n in range(3):
            stage.subscribe(str(n), stage.plan(limit=n + 1))

        assert (stage.turn(), stage.engine.waiting) == (2, True)
        assert (stage.turn(), stage.engine.waiting) == (1, False)


def test_another_state_file_makes_everything_come_as_a_snapshot(stage: Stage) -> None:
    client = stage.subscribe("s", stage.plan())
    stage.settle()

    stage.engine.restart()
    client.seq = -1
    stage.settle()

    assert client.kinds == ["Snapshot", "Snapshot"]


def test_limits_are_refused_by_name(stage: Stage) -> None:
    def refused(sub: str, client: bytes = ME, limit: int = 1, credit: int = 1) -> str:
        with pytest.raises(KeepError) as caught:
            stage.subscribe(sub, stage.plan(limit=limit), client, credit)
        return caught.value.code

    for n in range(3):
        stage.subscribe(str(n), stage.plan(limit=n + 1))
    assert refused("x", limit=4) == "live_too_many_windows"
    assert refused("0") == "live_duplicate"
    assert refused("x", credit=0) == "query_bad_value"
    assert refused("x", credit=101) == "query_bad_value"
    assert (stage.engine.windows, stage.engine.subscribers) == (3, 3)
    assert not stage.engine.unsubscribe(ME, "3")
    assert stage.engine.has(ME, "2")


SEALED = {"id": "s", "i": 9, "secret": "hush"}


def test_rows_that_cannot_be_opened_now_are_tried_again(stage: Stage) -> None:
    stage.world.put("things", SEALED)
    client = stage.subscribe("s", stage.plan(where={"i": 9}, select=("secret",)))

    stage.vault_is_down = True
    assert stage.turn() == 0
    assert not stage.engine.waiting
    stage.vault_is_down = False
    stage.hear()
    assert client.kinds == []
    stage.engine.retry()
    stage.settle()

    assert client.rows == [["s", "hush"]]


def test_changes_while_rows_cannot_be_opened_are_not_lost(stage: Stage) -> None:
    """Verifies: L3."""
    stage.world.put("things", SEALED)
    client = stage.subscribe("s", stage.plan(where={"i": 9}, select=("secret",)))
    stage.settle()
    stage.vault_is_down = True
    stage.world.put("things", {**SEALED, "secret": "louder"})
    stage.hear()
    stage.world.put("things", {**SEALED, "id": "t"})
    stage.hear()
    late = stage.subscribe("late", stage.plan(where={"i": 9}, select=("secret",)))
    stage.settle()
    assert (client.kinds, late.kinds) == (["Snapshot"], [])

    stage.vault_is_down = False
    stage.engine.retry()
    stage.settle()

    assert client.rows == late.rows == [["s", "louder"], ["t", "hush"]]
    assert (client.kinds, stage.engine.reads) == (["Snapshot", "Diff"], 1)


def test_a_query_that_can_never_run_again_ends_at_once(stage: Stage) -> None:
    client = stage.subscribe("s", stage.sql("SELECT json_extract(t, '$') FROM things"))
    stage.settle()
    stage.world.put("things", {"id": "bad", "t": "{"})

    stage.hear()

    assert client.kinds == ["Snapshot", "LiveFailed"]
    assert stage.engine.windows == 0


CHANGES = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("abcdefgh"),
            "i": st.one_of(st.none(), st.integers(-1, 4)),
            "t": st.sampled_from(["x", "y", "é", None]),
            "r": st.sampled_from([None, 0.1, 0.2, 1e16, -1e16]),
            "e": st.sampled_from(["low", "top", None]),
            "deletedAt": st.sampled_from([None, None, 5]),
        }
    ),
    min_size=1,
    max_size=4,
)
STEPS = st.lists(st.one_of(CHANGES, st.sampled_from(["ack", "delete", "others"])), min_size=1, max_size=12)
COUNT = {"n": {"count": "*"}}
QUERIES: list[dict[str, Any]] = [
    {"order_by": ("-i",), "limit": 3, "select": ("i", "t")},
    {"order_by": ("t", "i"), "limit": 1, "select": ("b",)},
    {"where": {"i": {">": 1}}, "order_by": ("t", "-i"), "select": ("t",)},
    {"where": {"not": {"t": "x"}}, "order_by": ("-t",), "limit": 2},
    {"where": {"e": "low"}, "order_by": ("-r",), "limit": 2, "with_deleted": True},
    {"where": {"i": {"in": [0, None]}, "t": {"contains": "x"}}},
    {"select": ("parts",), "limit": 3},
    {"group_by": ("t",), "aggregates": COUNT},
    {"group_by": ("e", "t"), "aggregates": {"m": {"max": "i"}, "s": {"sum": "i"}, "a": {"avg": "i"}}},
    {"group_by": ("e",), "aggregates": COUNT, "having": {"n": {">": 1}}, "order_by": ("-n",), "limit": 2},
    {"aggregates": {"a": {"avg": "r"}, "s": {"sum": "r"}, "m": {"min": "t"}, "n": {"count": "i"}}},
    {"where": {"e": "top"}, "aggregates": {"m": {"max": "r"}, **COUNT}, "having": {"n": {">": 0}}},
    {"select": ("t", "i"), "distinct": True, "order_by": ("-i",), "limit": 3},
    {"select": ("t",), "distinct": True},
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_after_any_changes_each_client_holds_what_a_fresh_read_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """Verifies: L3, L9"""
    with world_in(tmp_path_factory.mktemp("state")) as world:
        stage = Stage(world, QueryLimits())
        plans = [stage.plan(**query) for query in QUERIES]
        plans.append(stage.sql("SELECT t, count(*) FROM things WHERE e = ? GROUP BY t ORDER BY t", "low"))
        quick = [stage.subscribe(str(n), plan, YOU) for n, plan in enumerate(plans)]
        slow = [stage.subscribe(str(n), plan, ME, credit=1) for n, plan in enumerate(plans)]
        for step in steps:
            match step:
                case "ack":
                    for n in range(len(plans)):
                        stage.engine.ack(ME, str(n), 1)
                case "delete":
                    world.delete("things", "a", "b")
                case "others":
                    world.put("others", {"id": "o"})
                case _:
                    world.put("things", *step)
            stage.hear()
            for client, plan in zip(quick, plans, strict=True):
                stage.assert_holds(client, plan)
        for n in range(len(plans)):
            stage.engine.ack(ME, str(n), 1)
        stage.settle()

        for client, plan in zip(slow, plans, strict=True):
            stage.assert_holds(client, plan)


def test_an_ack_for_nothing_is_ignored(stage: Stage) -> None:
    stage.engine.ack(ME, "nobody", 1)
    stage.subscribe("s", stage.plan(), credit=1)
    for count in (-5, 0):
        stage.engine.ack(ME, "s", count)
    stage.settle()

    stage.world.put("things", {"id": "n"})
    stage.hear()

    assert stage.clients[ME, "s"].kinds == ["Snapshot"]


def test_an_invalid_query_never_becomes_a_window(stage: Stage) -> None:
    with pytest.raises(InvalidRequest):
        stage.plan(where={"nothing": 1})
    assert stage.engine.windows == 0
