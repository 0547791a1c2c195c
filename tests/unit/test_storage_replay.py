"""Roll-forward and rebuild over the materializer's interface: same rows, quarantine, erased bodies."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from keepdb.errors import InvalidRequest, InvariantBroken, StorageError
from keepdb.schema.materialize import MaterialEvent
from keepdb.storage import (
    EventLog,
    LogDamaged,
    LogEntry,
    LogEvent,
    NewLogEvent,
    StateFile,
    pack_clear,
    pack_sealed,
)
from keepdb.storage.digest import table_digest
from keepdb.storage.rollforward import replay

KEY, DB, SCHEMA = b"k" * 32, b"d" * 16, "ab" * 32
COLUMNS = ("id", "title", "n", "text", "_subject")
DDL = (
    'CREATE TABLE "notes" ("id" TEXT PRIMARY KEY, "title" TEXT, "n" INTEGER, "text" BLOB, "_subject" TEXT)',
)


class Notes:
    """A small materializer: creates, updates (an unknown id is refused), and one event that always fails."""

    def apply(self, connection: apsw.Connection, event: MaterialEvent) -> None:
        values = event.values
        match event.type:
            case "notes.created":
                row = (event.id, values.get("title"), values.get("n"), values.get("text"), event.subject)
                connection.execute("INSERT INTO notes VALUES (?, ?, ?, ?, ?)", row)
            case "notes.updated":
                connection.execute("UPDATE notes SET n = ? WHERE id = ?", (values["n"], event.id))
                if not connection.changes():
                    raise InvalidRequest("not_found", f"There is no note {event.id}.", fix="Create it first.")
            case _:
                connection.execute("UPDATE notes SET n = -1")
                raise ZeroDivisionError("canary content")


def sealed_body(**values: Any) -> bytes:
    """Stands for the real seal: bytes that only open_bodies can turn back."""
    return b"!" + msgspec.msgpack.encode(values)


def open_bodies(events: list[LogEvent]) -> list[bytes | None]:
    return [event.body[1:] if event.body else None for event in events]


def created(name: str, n: int) -> NewLogEvent:
    return NewLogEvent(
        "notes.created",
        7,
        name,
        pack_clear({"n": n}),
        f"s-{name}",
        1,
        sealed_body(title=f"title {name}"),
        pack_sealed([("text", b"sealed " + name.encode())]),
    )


def updated(name: str, n: int) -> NewLogEvent:
    return NewLogEvent("notes.updated", 7, name, pack_clear({"n": n}))


def broken(name: str) -> NewLogEvent:
    return NewLogEvent("notes.exploded", 7, name, pack_clear({}))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = EventLog.create(tmp_path, 1, KEY, DB, b"v" * 16)
    yield opened
    opened.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFile]:
    opened = StateFile.create(tmp_path, SCHEMA, 1, KEY, DDL, 1)
    yield opened
    opened.close()


def commit(log: EventLog, *events: NewLogEvent) -> None:
    number = log.last_number(b"c") + 1
    with log.transaction(True):
        log.append([LogEntry(b"c", number, sha256(b"").digest(), 1, events, tuple(e.entity for e in events))])


def catch_up(log: EventLog, state: StateFile, limit: int = 500) -> int:
    """Slices until nothing is left; returns how many there were."""
    slices = 0
    while replay(log, state, Notes(), open_bodies, after_seq=state.position.seq, limit=limit):
        slices += 1
    return slices


def rows(state: StateFile) -> list[tuple[Any, ...]]:
    return state.connection.execute("SELECT id, title, n, text FROM notes ORDER BY id").fetchall()


def test_a_state_rolls_forward_to_the_head_with_opened_and_sealed_values_in_place(
    log: EventLog, state: StateFile
) -> None:
    """Verifies: L2"""
    commit(log, created("a", 1), created("b", 2))
    commit(log, updated("a", 5))

    assert catch_up(log, state) == 1

    assert rows(state) == [("a", "title a", 5, b"sealed a"), ("b", "title b", 2, b"sealed b")]
    assert state.position[:2] == log.head
    assert state.position.durable_seq == 3
    assert state.quarantined == 0


def test_slices_of_any_size_give_the_same_rows(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L2"""
    for n in range(20):
        commit(log, created(f"a{n}", n), updated(f"a{n // 2}", n))
    digests, slices = set(), []
    for generation, limit in enumerate((1, 7, 500), start=1):
        state = StateFile.create(tmp_path, SCHEMA, generation, KEY, DDL, 1)
        slices.append(catch_up(log, state, limit))
        digests.add(table_digest(state.connection, "notes", COLUMNS))
        state.close()

    assert slices == [40, 6, 1]
    assert len(digests) == 1


def test_a_complete_state_keeps_changes_for_its_subscribers_and_one_being_built_does_not(
    log: EventLog, state: StateFile
) -> None:
    """Verifies: L3"""
    commit(log, created("a", 1))
    catch_up(log, state)
    assert state.changes_after(0, 1) is None
    state.mark_complete()

    commit(log, updated("a", 2))
    catch_up(log, state)

    (batch,) = state.changes_after(1, 1) or []
    assert [(one.seq, one.op, one.id) for one in batch.changes] == [(2, "update", "a")]


def test_an_event_that_cannot_be_materialized_is_set_aside_with_the_later_ones_of_its_entity(
    log: EventLog, state: StateFile
) -> None:
    """Verifies: L6"""
    commit(log, created("a", 1), created("b", 2), broken("a"))
    commit(log, updated("a", 9), updated("b", 3), updated("zz", 1))
    catch_up(log, state, limit=4)
    commit(log, updated("a", 10), updated("b", 4))
    catch_up(log, state)

    assert [(row[0], row[2]) for row in rows(state)] == [("a", 1), ("b", 4)]
    found = state.connection.execute(
        "SELECT seq, type, collection, entity, error FROM _quarantine"
    ).fetchall()
    assert found == [
        (3, "notes.exploded", 7, "a", "ZeroDivisionError"),
        (4, "notes.updated", 7, "a", "earlier_event_quarantined"),
        (6, "notes.updated", 7, "zz", "not_found"),
        (7, "notes.updated", 7, "a", "earlier_event_quarantined"),
    ]
    assert state.quarantined == 4
    assert state.quarantined_entities() == {(7, "a"), (7, "zz")}


def test_an_erased_body_gives_empty_values_and_no_quarantine(log: EventLog, state: StateFile) -> None:
    commit(log, created("a", 1), created("b", 2))

    replay(
        log,
        state,
        Notes(),
        lambda events: [
            None if event.entity == "a" else opened
            for event, opened in zip(events, open_bodies(events), strict=True)
        ],
        after_seq=0,
        limit=10,
    )

    assert rows(state) == [("a", None, 1, b"sealed a"), ("b", "title b", 2, b"sealed b")]
    assert state.quarantined == 0
    assert log.verify(1, 2) == log.head


def test_bodies_are_opened_once_for_the_whole_slice(log: EventLog, state: StateFile) -> None:
    commit(log, created("a", 1), updated("a", 2), created("b", 3))
    asked: list[list[int]] = []

    def opener(events: list[LogEvent]) -> list[bytes | None]:
        asked.append([event.seq for event in events])
        return open_bodies(events)

    replay(log, state, Notes(), opener, after_seq=0, limit=10)

    assert asked == [[1, 3]]


def test_a_slice_whose_bodies_cannot_be_opened_changes_nothing(log: EventLog, state: StateFile) -> None:
    commit(log, created("a", 1))

    def unreachable(events: list[LogEvent]) -> list[bytes | None]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        replay(log, state, Notes(), unreachable, after_seq=0, limit=10)
    with pytest.raises(InvariantBroken):
        replay(log, state, Notes(), lambda _: [], after_seq=0, limit=10)

    assert state.position.seq == 0
    assert rows(state) == []


def test_a_log_that_breaks_its_chain_is_not_applied(log: EventLog, state: StateFile) -> None:
    """Verifies: L10"""
    commit(log, created("a", 1), created("b", 2), created("c", 3))
    log.connection.execute("UPDATE events SET entity = 'x' WHERE seq = 2")

    with pytest.raises(LogDamaged) as caught:
        replay(log, state, Notes(), open_bodies, after_seq=0, limit=10)

    assert caught.value.seq == 2
    assert state.position.seq == 0
    assert rows(state) == []


def test_a_state_of_another_history_is_not_continued(log: EventLog, state: StateFile) -> None:
    """Verifies: L10"""
    commit(log, created("a", 1), created("b", 2))
    with state.batch() as batch:
        batch.finish(1, b"other" * 6)
        batch.commit()

    with pytest.raises(LogDamaged):
        replay(log, state, Notes(), open_bodies, after_seq=1, limit=10)


def test_replay_only_continues_where_the_state_is(log: EventLog, state: StateFile) -> None:
    with pytest.raises(InvariantBroken):
        replay(log, state, Notes(), open_bodies, after_seq=3, limit=10)
    assert replay(log, state, Notes(), open_bodies, after_seq=0, limit=10) == 0


def test_a_full_disk_stops_replay_and_quarantines_nothing(log: EventLog, state: StateFile) -> None:
    commit(log, created("a", 1))

    class Full:
        def apply(self, connection: apsw.Connection, event: MaterialEvent) -> None:
            raise apsw.FullError("as SQLite raises it")

    with pytest.raises(StorageError) as caught:
        replay(log, state, Full(), open_bodies, after_seq=0, limit=10)

    assert caught.value.code == "disk_full"
    assert state.quarantined == 0
    assert state.position.seq == 0
