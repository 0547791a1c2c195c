"""Live queries and change streams over the whole stack: nothing missed, nothing twice, whoever dies."""

import os
import signal
from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from conftest import Start
from hosting import actors, all_running, wait_until

from keepdb.client import ChangeStream, Database, KeepError, LiveQuery, NewEvent, connect
from messages.base import Done
from messages.commits import Rebuild
from messages.queries import Changes, Rehydrate, Sql


def memory(db: Database, name: str, window: str) -> str:
    return db.commit("uiState.created", {"windowId": window, "name": name}).ids[0]


def collect(stream: ChangeStream, until: int) -> list[Changes | Rehydrate]:
    """All pushes up to a position."""
    pushes: list[Changes | Rehydrate] = []

    def more() -> bool:
        push = stream.update(0.2)
        if push is not None:
            pushes.append(push)
        return stream.seq >= until

    wait_until(more, 15)
    return pushes


def assert_gap_free(pushes: list[Changes | Rehydrate], start: int, end: int) -> None:
    covered = [(push.seq_first, push.seq_last) for push in pushes if isinstance(push, Changes)]
    assert covered[0][0] == start + 1
    assert covered[-1][1] == end
    assert all(after[0] == before[1] + 1 for before, after in pairwise(covered))


def settle(live: LiveQuery, names: list[str]) -> None:
    """Wait until a live query shows these names in this order."""

    def there() -> bool:
        live.update(0.2)
        return [dict(zip(live.columns, row, strict=True))["name"] for row in live.rows] == names

    wait_until(there, 10)


def test_a_live_query_follows_its_result_row_by_row(shared_db: Database) -> None:
    window = uuid4().hex
    query = {"from": "uiState", "where": {"windowId": window}, "orderBy": ["name"], "limit": 3}
    with shared_db.watch(query) as live:
        first = live.update(5.0)
        assert first is not None
        assert first.rows == []

        ids = {name: memory(shared_db, name, window) for name in ("b", "d", "f", "h")}
        settle(live, ["b", "d", "f"])
        memory(shared_db, "a", window)
        settle(live, ["a", "b", "d"])
        shared_db.commit("uiState.deleted", id=ids["b"])
        settle(live, ["a", "d", "f"])
        shared_db.commit("uiState.updated", {"name": "z"}, id=ids["d"])
        settle(live, ["a", "f", "h"])
        shared_db.commit("uiState.updated", {"document": {"x": 1}}, id=ids["f"])
        result = live.update(5.0)
        assert result is not None
        assert result.diff is not None
        assert [row["document"] for row in result.dicts() if row["name"] == "f"] == [{"x": 1}]


def test_a_live_page_keeps_its_end_and_says_where_to_split_it_when_it_is_full(shared_db: Database) -> None:
    window = uuid4().hex
    for name in ("b", "d", "f"):
        memory(shared_db, name, window)
    query = {"from": "uiState", "where": {"windowId": window}, "orderBy": ["name"], "select": ["name"]}
    end = shared_db.query({**query, "limit": 2}).cursor
    with shared_db.watch({**query, "until": end, "limit": 3}) as live:
        first = live.update(5.0)
        memory(shared_db, "a", window)
        memory(shared_db, "g", window)
        settle(live, ["a", "b", "d"])
        memory(shared_db, "c", window)
        full = live.update(5.0)

    assert first is not None
    assert ([row[1] for row in first.rows], first.cursor) == (["b", "d"], None)
    assert full is not None
    assert [row[1] for row in full.rows] == ["a", "b", "c"]
    rest = shared_db.query({**query, "after": full.cursor, "until": end})
    assert ([row[1] for row in rest.rows], rest.cursor) == (["d"], None)


def test_a_live_query_follows_the_rows_it_includes(shared_db: Database) -> None:
    (persona,) = shared_db.commit("personas.created", {"name": "Ada"}).ids
    tasks = {"from": "memoryEntities", "via": "personaId", "where": {"type": "task"}, "select": ["name"]}
    query = {"from": "personas", "where": {"id": persona}, "select": ["name"], "include": {"tasks": tasks}}
    with shared_db.watch(query) as live:
        assert live.update(5.0) is not None
        (task,) = shared_db.commit(
            "memoryEntities.created", {"personaId": persona, "type": "task", "name": "Bread"}
        ).ids
        added = live.update(5.0)
        shared_db.commit("memoryEntities.updated", {"type": "event"}, id=task)
        gone = live.update(5.0)

    assert added is not None
    assert added.rows == [[persona, "Ada", [{"id": task, "name": "Bread"}]]]
    assert gone is not None
    assert gone.rows == [[persona, "Ada", []]]


def test_explain_is_answered_by_whoever_keeps_the_live_query(shared_db: Database) -> None:
    query = {"from": "uiState", "where": {"windowId": uuid4().hex}}
    before = [shared_db.explain(query) for _ in range(4)]
    with shared_db.watch(query) as live:
        assert live.update(5.0) is not None
        during = [shared_db.explain(query) for _ in range(4)]

    assert {found.strategy for found in before} == {"window"}
    assert not any(found.live for found in before)
    assert all(found.live for found in during)
    assert shared_db.explain(Sql(sql="SELECT count(*) FROM personas")).strategy == "rerun"


def test_a_change_that_leaves_the_result_alone_is_silent(shared_db: Database) -> None:
    mine, other = uuid4().hex, uuid4().hex
    with shared_db.watch({"from": "uiState", "where": {"windowId": mine}}) as live:
        assert live.update(5.0) is not None
        memory(shared_db, "x", other)
        assert live.update(0.5) is None
        memory(shared_db, "y", mine)
        assert live.update(5.0) is not None


def test_a_live_aggregate_counts(shared_db: Database) -> None:
    window = uuid4().hex
    query = {"from": "uiState", "where": {"windowId": window}, "aggregates": {"n": {"count": "*"}}}
    with shared_db.watch(query) as live:
        assert live.update(5.0) is not None
        assert live.rows == [[0]]
        shared_db.commit_all(
            [NewEvent(type="uiState.created", data={"windowId": window, "name": f"{n}"}) for n in range(7)]
        )
        wait_until(lambda: live.update(0.2) is not None and live.rows == [[7]], 5)


def test_identical_live_queries_of_many_clients_all_hear(shared_db: Database) -> None:
    window = uuid4().hex
    query = {"from": "uiState", "where": {"windowId": window}}
    lives = [shared_db.watch(query) for _ in range(20)]
    memory(shared_db, "a", window)

    for live in lives:
        settle(live, ["a"])
        live.close()


def test_a_live_query_that_cannot_be_is_refused_with_a_reason(shared_db: Database) -> None:
    with pytest.raises(KeepError) as refused:
        shared_db.watch({"from": "dragons"})
    assert "dragons" in refused.value.message


@pytest.mark.parametrize("service", ["query-1", "query-2"])
def test_a_change_stream_from_the_beginning_covers_every_seq_once(shared_db: Database, service: str) -> None:
    """Verifies: L3."""
    for n in range(30):
        memory(shared_db, f"{n}", "w")
    head = shared_db.writer_status().seq
    with ChangeStream(shared_db.link, service, 0, ()) as stream:
        assert_gap_free(collect(stream, head), 0, head)
        memory(shared_db, "new", "w")
        assert_gap_free(collect(stream, head + 1), head, head + 1)


def test_a_filtered_change_stream_still_covers_every_seq(shared_db: Database) -> None:
    """Verifies: L3."""
    start = shared_db.writer_status().seq
    persona = uuid4().hex
    with shared_db.changes(start, ["personas"]) as stream:
        shared_db.commit("personas.created", {"name": "Ada"}, id=persona)
        memory(shared_db, "x", "w")
        pushes = collect(stream, start + 2)

    assert_gap_free(pushes, start, start + 2)
    rows = [row for push in pushes if isinstance(push, Changes) for row in push.rows]
    assert [tuple(row[1:]) for row in rows] == [("personas", "insert", persona)]


def test_a_stream_survives_the_death_of_its_actor_without_gap(start: Start) -> None:
    """Verifies: L3 L6."""
    with start().connect() as db:
        wait_until(lambda: all_running(db), 10)
        with ChangeStream(db.link, "query-1", 0, ()) as stream, db.watch({"from": "uiState"}) as live:
            pushes: list[Changes | Rehydrate] = []
            for round_ in range(3):
                for n in range(10):
                    memory(db, f"{round_}{n}", "w")
                pids = {actors(db)[name].pid for name in ("query-1", "query-2")}
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                for n in range(10, 20):
                    memory(db, f"{round_}{n}", "w")
                pushes += collect(stream, 20 * (round_ + 1))
                wait_until(partial(all_running, db, frozenset(pids)), 10)
            assert_gap_free(pushes, 0, 60)
            wait_until(lambda: live.update(0.2) is None and len(live.rows) == 60, 10)


def test_a_subscriber_that_fell_behind_the_ring_is_told_to_rehydrate(start: Start) -> None:
    """Verifies: L3 L8."""
    with start(settings={"writer.changes_seqs_max": "100"}).connect() as db:
        for n in range(300):
            memory(db, f"{n}", "w")
        with ChangeStream(db.link, "query-1", 5, ()) as stream:
            first = stream.update(5.0)
            assert isinstance(first, Rehydrate)
            assert first.seq == 300
            assert first.reason
            memory(db, "after", "w")
            assert_gap_free(collect(stream, 301), 300, 301)
        with ChangeStream(db.link, "query-2", 250, ()) as stream:
            assert_gap_free(collect(stream, 301), 250, 301)


def test_a_position_from_the_future_is_told_to_rehydrate(shared_db: Database) -> None:
    """Verifies: L3. Such as after a restored backup."""
    memory(shared_db, "x", "w")
    with ChangeStream(shared_db.link, "query-1", 10**9, ()) as stream:
        assert isinstance(stream.update(5.0), Rehydrate)
        assert stream.seq <= shared_db.writer_status().seq


def test_a_rebuild_while_writes_go_on_keeps_every_reader_right(start: Start) -> None:
    """Verifies: L2 L3 L9. Streams hear Rehydrate, live queries show the same, at_least holds."""
    sidecar = start()
    with sidecar.connect() as db, db.watch({"from": "uiState", "aggregates": {"n": {"count": "*"}}}) as live:
        for _ in range(4):
            db.commit_all(
                [NewEvent(type="uiState.created", data={"windowId": "w", "name": "n"}) for _ in range(500)]
            )
        before = db.writer_status()
        with ChangeStream(db.link, "query-1", before.seq, ()) as stream:
            rebuild(sidecar.data)
            written = 0
            while db.writer_status().state_generation == before.state_generation:
                memory(db, f"{written}", "w")
                written += 1
                assert written < 2_000, "the rebuild does not come to an end"
            for n in range(20):
                made = memory(db, f"after {n}", "w")
                assert db.get("uiState", made) is not None
            total = 2_000 + written + 20
            pushes = collect(stream, total)
            assert sum(isinstance(push, Rehydrate) for push in pushes) == 1
        wait_until(lambda: live.update(0.2) is None and live.rows == [[total]], 10)


def rebuild(data: Path) -> None:
    """As an operator would: apps may not."""
    with connect(data) as operator:
        operator.ask("writer", Rebuild(), Done)
