"""Positions: a live query holds the changes up to a seq, each once, whatever lands while it reads or is lost."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_world import YOU, Stage, numbered, stage_in

from keepdb.errors import StorageError
from keepdb.query.limits import QueryLimits
from keepdb.storage.changes import ChangeBatch, RingLimits


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as made:
        yield made


def test_a_write_that_lands_while_a_page_is_read_is_neither_lost_nor_doubled(stage: Stage) -> None:
    """Verifies: L3. Either way round: the snapshot was taken before the write."""
    page = stage.plan(order_by=("i",), limit=2)
    client = stage.subscribe("s", page)
    stage.reader.meanwhile = lambda: stage.world.put("things", {"id": "late", "i": 1})
    stage.turn()
    assert (client.ids, client.seq) == ([], 0)

    stage.hear()

    assert (client.ids, client.seq) == (["late"], 1)
    assert stage.engine.reads == 1


def test_a_page_read_ahead_of_the_changes_takes_none_of_them_twice(tmp_path: Path) -> None:
    """Verifies: L3. With slices of one batch, a new page is read long before the older one has caught up."""
    with stage_in(tmp_path, QueryLimits(turn_bytes=1)) as stage:
        old = stage.watch(plan := stage.plan(order_by=("i",), limit=3))
        for n in range(10):
            stage.world.put("things", {"id": f"{n}", "i": -n})
        counts = stage.plan(aggregates={"n": {"count": "*"}})
        new = stage.subscribe("new", counts)
        stage.turn()
        assert (new.rows, old.seq, new.seq) == ([[10]], 1, 10)
        stage.settle()

        stage.assert_holds(old, plan)
        assert (new.rows, new.kinds, old.seq) == ([[10]], ["Snapshot"], 10)


def test_whoever_has_written_is_not_shown_less_than_that(tmp_path: Path) -> None:
    """Verifies: L9."""
    with stage_in(tmp_path, QueryLimits(turn_bytes=1)) as stage:
        stage.watch(plan := stage.plan())
        for n in range(5):
            stage.world.put("things", {"id": f"{n}"})

        late = stage.subscribe("late", plan, YOU, at_least=5)
        while not late.kinds:
            stage.turn()

        assert (late.seq, len(late.rows)) == (5, 5)


def test_a_gap_in_the_ring_makes_everything_read_anew_and_tells_the_difference(tmp_path: Path) -> None:
    """Verifies: L3."""
    with stage_in(tmp_path) as stage:
        stage.world.state.limits = RingLimits(max_seqs=5)
        stage.put(*numbered(1, 3))
        plans = [stage.plan(order_by=("i",)), stage.plan(aggregates={"n": {"count": "*"}})]
        clients = [stage.watch(plan, f"{n}") for n, plan in enumerate(plans)]

        for n in range(20):
            stage.world.put("things", {"id": f"{n}"})
        stage.hear()

        assert [client.kinds for client in clients] == [["Snapshot", "Diff"], ["Snapshot", "Snapshot"]]
        assert stage.engine.reads == 4
        for client, plan in zip(clients, plans, strict=True):
            stage.assert_holds(client, plan)


def test_a_ring_that_cannot_be_read_makes_everything_read_anew(stage: Stage) -> None:
    """Verifies: L3, L10."""
    client = stage.watch(plan := stage.plan())
    whole = stage.changes_after

    def damaged(_seq: int, _limit: int) -> list[ChangeBatch]:
        raise StorageError("state_damaged", "A page does not open.", fix="Wait.")

    stage.changes_after = damaged
    stage.put({"id": "a"})
    stage.assert_holds(client, plan)
    stage.changes_after = whole
    stage.put({"id": "b"})

    stage.assert_holds(client, plan)
    assert stage.engine.reads == 2


def test_a_gap_in_the_ring_serves_also_those_who_wait_for_their_first_push(tmp_path: Path) -> None:
    """Verifies: L3."""
    with stage_in(tmp_path) as stage:
        stage.world.state.limits = RingLimits(max_seqs=5)
        stage.watch(plan := stage.plan())
        for _ in range(20):
            stage.world.put("others", {"id": "o"})
            stage.world.delete("others", "o")

        late = stage.subscribe("late", plan)
        stage.hear()

        assert late.kinds == ["Snapshot"]


def test_changes_that_contradict_a_page_are_noticed_and_healed(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Verifies: L3, L10. A change that never came: the next one of that row cannot be true."""
    stage.put(*numbered(1, 3))
    client = stage.watch(plan := stage.plan(order_by=("i",)))
    stage.world.put("things", {"id": "002", "i": 7})
    whole = stage.changes_after
    with caplog.at_level(logging.ERROR, "keepdb.query"):
        stage.changes_after = lambda _seq, _limit: [ChangeBatch(2, 3, [])]
        stage.world.put("things", {"id": "002", "i": 8})
        stage.turn()
        stage.changes_after = whole
        stage.put({"id": "002", "i": 9})

    assert "did not agree" in caplog.text
    stage.assert_holds(client, plan)
