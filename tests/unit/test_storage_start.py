"""The anchor and the start-up rule: which contradictions of log, state and anchor are refused by name."""

import json
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from keepdb.errors import StorageError
from keepdb.storage import Anchor, EventLog, LogEntry, NewLogEvent, Position, anchor, check_start, pack_clear

KEY, MAC_KEY, DB = b"k" * 32, b"m" * 32, b"d" * 16


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = filled(tmp_path, 1)
    yield opened
    opened.close()


def filled(directory: Path, generation: int, *, events: int = 5, marker: int = 0, db: bytes = DB) -> EventLog:
    log = EventLog.create(directory, generation, KEY, db, b"v" * 16)
    for number in range(1, events + 1):
        with log.transaction(True):
            append(log, number, marker)
    return log


def append(log: EventLog, number: int, marker: int = 0) -> None:
    event = NewLogEvent("notes.created", 7, f"e{number}", pack_clear({"n": marker}))
    log.append([LogEntry(b"c" * 16, number, sha256(b"").digest(), number, [event], (f"e{number}",))])


def at(log: EventLog, seq: int) -> bytes:
    found = log.hash_at(seq)
    assert found is not None
    return found


def anchored(log: EventLog, seq: int) -> Anchor:
    return Anchor(log.db_id, log.generation, seq, at(log, seq), 1_700_000_000_000)


def refusal(log: EventLog, state: Position | None, known: Anchor | None) -> str:
    with pytest.raises(StorageError) as caught:
        check_start(log, state, known)
    return caught.value.code


def test_an_anchor_comes_back_as_it_was_written(log: EventLog, tmp_path: Path) -> None:
    path = tmp_path / "anchor.json"
    assert anchor.read(path, MAC_KEY) is None

    anchor.write(path, MAC_KEY, anchored(log, 3))
    anchor.write(path, MAC_KEY, anchored(log, 5))

    assert anchor.read(path, MAC_KEY) == anchored(log, 5)
    assert not path.with_name("anchor.json.new").exists()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_changed_value_of_an_anchor_is_noticed(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L10"""
    path = tmp_path / "anchor.json"
    anchor.write(path, MAC_KEY, anchored(log, 5))
    page = json.loads(path.read_text())

    for name, value in page.items():
        changed = value - 1 if isinstance(value, int) else ("0" if value[0] != "0" else "1") + value[1:]
        path.write_text(json.dumps(page | {name: changed}))
        with pytest.raises(StorageError) as caught:
            anchor.read(path, MAC_KEY)
        assert caught.value.code == "anchor_damaged", name


def test_an_anchor_that_is_no_anchor_is_told(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L10"""
    path = tmp_path / "anchor.json"

    def code(data: bytes) -> str:
        path.write_bytes(data)
        with pytest.raises(StorageError) as caught:
            anchor.read(path, MAC_KEY)
        return caught.value.code

    assert (
        code(b"")
        == code(b"{")
        == code(b"[]")
        == code(b'{"format":1}')
        == code(b"\xff\xfe")
        == "anchor_damaged"
    )
    assert code(b'{"format": 2, "shape": "unknown"}') == "file_newer"
    anchor.write(path, MAC_KEY, anchored(log, 5))
    with pytest.raises(StorageError) as caught:
        anchor.read(path, b"x" * 32)
    assert caught.value.code == "anchor_damaged"


def test_a_start_where_all_agree_is_let_through(log: EventLog) -> None:
    check_start(log, None, None)
    check_start(log, Position(0, b"", 0), None)
    check_start(log, Position(3, at(log, 3), 3), anchored(log, 4))
    check_start(log, Position(5, at(log, 5), 5), anchored(log, 5))


def test_a_log_that_ends_before_what_others_know_has_lost_its_tail(log: EventLog) -> None:
    """Verifies: L10"""
    assert refusal(log, Position(6, b"h" * 32, 6), None) == "log_tail_missing"
    assert refusal(log, None, Anchor(DB, 1, 6, b"h" * 32, 0)) == "log_tail_missing"


def test_only_unsynced_events_missing_asks_for_a_new_state(log: EventLog) -> None:
    """Verifies: L6"""
    assert refusal(log, Position(8, b"h" * 32, 5), anchored(log, 5)) == "state_ahead"
    assert refusal(log, Position(8, b"h" * 32, 6), anchored(log, 5)) == "log_tail_missing"


def test_another_history_at_the_same_position_is_a_replaced_log(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L10"""
    (tmp_path / "other").mkdir()
    other = filled(tmp_path / "other", 1, marker=1)

    assert refusal(other, Position(4, at(log, 4), 4), None) == "log_replaced"
    assert refusal(other, None, anchored(log, 4)) == "log_replaced"
    other.close()


def test_a_log_of_another_database_or_an_older_generation_is_refused(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L10"""
    (tmp_path / "other").mkdir()
    other = filled(tmp_path / "other", 1, db=b"e" * 16)

    assert refusal(other, None, anchored(log, 4)) == "log_foreign"
    assert refusal(log, None, Anchor(DB, 2, 5, at(log, 5), 0)) == "log_generation_old"
    other.close()


def test_a_newer_generation_than_the_anchor_knows_is_let_through(log: EventLog, tmp_path: Path) -> None:
    known = anchored(log, 5)
    newer = filled(tmp_path, 2, events=5, marker=9)

    check_start(newer, None, known)
    newer.close()


def test_one_flipped_bit_in_the_write_ahead_log_is_noticed_through_state_or_anchor(tmp_path: Path) -> None:
    """Verifies: L10"""
    log = filled(tmp_path, 1, events=1)
    log.checkpoint("TRUNCATE")
    for number in range(2, 21):
        with log.transaction(True):
            append(log, number)
    head, position = anchored(log, 20), Position(20, at(log, 20), 20)
    main, wal = log.path.read_bytes(), log.path.with_name("events.0001.db-wal").read_bytes()
    log.close()
    directory = tmp_path / "copy"
    directory.mkdir()

    for offset in range(100, len(wal), len(wal) // 40):
        for old in directory.iterdir():
            old.unlink()
        (directory / "events.0001.db").write_bytes(main)
        damaged = wal[:offset] + bytes([wal[offset] ^ 16]) + wal[offset + 1 :]
        (directory / "events.0001.db-wal").write_bytes(damaged)
        copy = EventLog.open(directory, KEY, "write")
        try:
            copy.verify(1, copy.head.seq)
            if copy.head.seq == 20:
                # The bit lies in padding after the last commit or was never part of a page.
                assert offset > len(wal) - 2 * 4096
                continue
            assert refusal(copy, position, None) == refusal(copy, None, head) == "log_tail_missing"
        finally:
            copy.close()
        assert (directory / "events.0001.db-wal").read_bytes() == damaged, (
            "closing must not destroy what is left"
        )
