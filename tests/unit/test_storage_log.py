"""The event log: append, chain, look-ups, and how damage and failing commits show."""

import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from keepdb.errors import InvariantBroken, StorageError
from keepdb.storage import (
    CommitFailed,
    EventLog,
    Head,
    LogDamaged,
    LogEntry,
    NewLogEvent,
    pack_clear,
    pack_sealed,
)
from keepdb.storage.connection import explained
from keepdb.storage.entries import genesis, link

KEY, DB, DEVICE, CLIENT = b"k" * 32, b"d" * 16, b"v" * 16, b"c" * 16


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = EventLog.create(tmp_path, 1, KEY, DB, DEVICE)
    yield opened
    opened.close()


def entry(
    number: int, *, events: int = 1, key: str | None = None, body: bytes | None = b"sealed body"
) -> LogEntry:
    ids = tuple(f"e{number}-{i}" for i in range(events))
    made = [
        NewLogEvent(
            "notes.created", 7, i, pack_clear({"n": number}), "s1", 3, body, pack_sealed([("text", b"seal")])
        )
        for i in ids
    ]
    return LogEntry(
        CLIENT, number, sha256(str(number).encode()).digest(), 1_700_000_000_000 + number, made, ids, key
    )


def append(log: EventLog, *numbers: int, sync: bool = True) -> None:
    with log.transaction(sync):
        log.append([entry(number) for number in numbers])


def test_a_new_log_is_found_again_and_empty(tmp_path: Path) -> None:
    EventLog.create(tmp_path, 1, KEY, DB, DEVICE).close()

    log = EventLog.open(tmp_path, KEY, "write")

    assert (log.generation, log.db_id, log.device) == (1, DB, DEVICE)
    assert log.head == log.base == genesis(DB)
    log.close()


def test_events_come_back_as_they_were_written_under_gapless_positions(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L1"""
    with log.transaction(True):
        recorded = log.append([entry(1, events=2), entry(2)])
    log.close()

    reader = EventLog.open(tmp_path, KEY, "read")
    events = reader.read(0, 10)

    assert [(one.seq_first, one.seq_last) for one in recorded] == [(1, 2), (3, 3)]
    assert [(one.seq, one.device, one.n, one.entity) for one in events] == [
        (1, DEVICE, 1, "e1-0"),
        (2, DEVICE, 2, "e1-1"),
        (3, DEVICE, 3, "e2-0"),
    ]
    assert events[0].clear_values() == {"n": 1}
    assert events[0].sealed_values() == {"text": b"seal"}
    assert events[0].body == b"sealed body"
    assert reader.head == Head(3, events[2].hash)
    assert reader.read(1, 1) == [events[1]]
    reader.close()


def test_a_request_is_found_by_client_and_number_with_its_first_receipt(log: EventLog) -> None:
    """Verifies: L5"""
    with log.transaction(True):
        (first, _) = log.append([entry(1, events=2, key="mine"), entry(2)])

    assert log.find_request(CLIENT, 1) == first == log.find_idempotency("mine")
    assert first.ids == ("e1-0", "e1-1")
    assert first.digest == entry(1).digest
    assert log.find_request(CLIENT, 3) is None
    assert log.find_idempotency("other") is None
    assert (log.last_number(CLIENT), log.last_number(b"nobody")) == (2, 0)


def test_the_same_request_cannot_be_stored_twice(log: EventLog) -> None:
    """Verifies: L5"""
    append(log, 1)

    with pytest.raises(InvariantBroken) as caught:
        append(log, 1)

    assert caught.value.code == "request_stored_twice"
    assert log.head.seq == 1
    append(log, 2)
    assert [one.n for one in log.read(0, 9)] == [1, 2]


def test_a_batch_that_raises_leaves_nothing_behind(log: EventLog) -> None:
    append(log, 1)
    before = log.head

    def fail() -> None:
        log.append([entry(2)])
        log.assign_subjects([("s9", 9)])
        assert log.head.seq == 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), log.transaction(True):
        fail()

    assert log.head == before
    assert log.find_request(CLIENT, 2) is None
    assert log.subject_keys() == {}
    append(log, 2)
    assert log.verify(1, 2) == log.head


def test_appending_needs_a_transaction(log: EventLog) -> None:
    with pytest.raises(InvariantBroken):
        log.append([entry(1)])


def test_subjects_keep_their_key_and_no_key_serves_two(log: EventLog) -> None:
    with log.transaction(True):
        log.assign_subjects([("a", 1), ("b", 2)])
    assert log.subject_keys() == {"a": 1, "b": 2}

    with pytest.raises(StorageError), log.transaction(True):
        log.assign_subjects([("c", 2)])

    assert log.subject_keys() == {"a": 1, "b": 2}


def test_unsynced_commits_are_known_until_a_sync(log: EventLog) -> None:
    """Verifies: L1"""

    def known() -> tuple[bool, object]:
        return log.unsynced, log.connection.pragma("synchronous")

    append(log, 1)
    assert known() == (False, 2)
    append(log, 2, sync=False)
    assert known() == (True, 1)

    log.sync()

    assert known() == (False, 2)
    append(log, 3, sync=False)
    append(log, 4)
    assert known() == (False, 2)


def test_a_commit_that_raises_is_told_apart_and_rolled_back(log: EventLog) -> None:
    append(log, 1)
    log.connection.set_commit_hook(lambda: True)

    with pytest.raises(CommitFailed) as caught:
        append(log, 2)

    assert caught.value.code == "outcome_unknown"
    log.connection.set_commit_hook(None)
    assert not log.connection.in_transaction
    assert log.head.seq == 1
    assert log.find_request(CLIENT, 2) is None
    append(log, 2)
    assert log.verify(1, 2) == log.head


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_storage_log import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = EventLog.open(Path(sys.argv[1]), KEY, "write")
limit = log.wal_bytes + 20_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
number = 1
try:
    while number < 100:
        append(log, number)
        number += 1
except StorageError as error:
    assert log.head.seq == number - 1, (log.head.seq, number)
    print("refused", number, type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
append(log, number)
assert log.verify(1, number) == log.head
print("resumed")
log.close()
"""


def test_a_disk_that_is_full_refuses_and_writing_resumes_when_space_returns(tmp_path: Path) -> None:
    EventLog.create(tmp_path, 1, KEY, DB, DEVICE).close()

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout
    assert "resumed" in done.stdout


def test_a_second_writer_is_refused_and_a_reader_is_not(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L7"""
    with pytest.raises(StorageError) as caught:
        EventLog.open(tmp_path, KEY, "write")
    assert caught.value.code == "second_writer"

    script = (
        "import sys; from pathlib import Path; from keepdb.storage import EventLog\n"
        "EventLog.open(Path(sys.argv[1]), b'k' * 32, 'write')"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert other.returncode != 0
    assert "second_writer" in other.stderr

    reader = EventLog.open(tmp_path, KEY, "read")
    append(log, 1)
    assert reader.head.seq == 1
    reader.close()


def test_a_writer_that_went_around_the_lock_is_noticed(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L7"""
    append(log, 1)
    (tmp_path / "events.0001.lock").unlink()
    intruder = EventLog.open(tmp_path, KEY, "write")
    append(intruder, 2)
    intruder.close()

    with pytest.raises(StorageError) as caught:
        append(log, 3)

    assert caught.value.code == "second_writer"


def test_the_chain_names_the_first_event_that_was_altered(log: EventLog) -> None:
    """Verifies: L10"""
    append(log, *range(1, 21))
    assert log.verify(1, 20) == log.head
    assert log.verify(8, 9).seq == 9

    log.connection.execute("UPDATE events SET at = at + 1 WHERE seq IN (7, 9)")
    with pytest.raises(LogDamaged) as caught:
        log.verify(1, 20)

    assert (caught.value.code, caught.value.seq) == ("log_damaged", 7)


def test_the_chain_names_an_event_that_is_missing(log: EventLog) -> None:
    """Verifies: L10"""
    append(log, *range(1, 11))

    log.connection.execute("DELETE FROM events WHERE seq = 4")
    with pytest.raises(LogDamaged) as caught:
        log.verify(1, 10)
    assert caught.value.seq == 4

    with pytest.raises(LogDamaged) as caught:
        log.verify(9, 12)
    assert caught.value.seq == 11


def test_every_column_is_under_the_chain(log: EventLog) -> None:
    """Verifies: L10"""
    append(log, 1, 2)
    changes = {
        "device": b"w" * 16,
        "n": 5,
        "type": "x",
        "collection": 8,
        "entity": "x",
        "subject": None,
        "key_id": 4,
        "at": 1,
        "clear": b"\x80",
        "body": None,
        "sealed": b"\x90",
        "request_client": b"x",
        "request_number": 9,
        "hash": b"h" * 32,
    }

    for column, value in changes.items():
        log.connection.execute("SAVEPOINT try")
        log.connection.execute(f"UPDATE events SET {column} = ? WHERE seq = 1", (value,))
        with pytest.raises(LogDamaged):
            log.verify(1, 2)
        log.connection.execute("ROLLBACK TO try; RELEASE try")
    log.verify(1, 2)


def read_all(directory: Path) -> None:
    """The chain covers the events; SQLite's walk reads the pages of the other tables."""
    log = EventLog.open(directory, KEY, "read")
    try:
        log.verify(1, 100)
        with explained(log.path):
            log.connection.pragma("integrity_check")
    finally:
        log.close()


def test_a_flipped_bit_in_the_file_is_named_by_position(tmp_path: Path) -> None:
    """Verifies: L10"""
    log = EventLog.create(tmp_path, 1, KEY, DB, DEVICE)
    with log.transaction(True):
        log.append([entry(number, body=b"b" * 900) for number in range(1, 101)])
    log.close()
    path = tmp_path / "events.0001.db"
    data = path.read_bytes()
    codes = []

    for position in range(100, len(data), 4096):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(StorageError) as caught:
            read_all(tmp_path)
        codes.append(caught.value.code)

    assert set(codes) == {"log_damaged", "file_unreadable"}
    path.write_bytes(data)
    read_all(tmp_path)


def test_a_log_that_is_missing_unreadable_or_newer_is_told_apart(tmp_path: Path) -> None:
    def code(key: bytes = KEY) -> str:
        with pytest.raises(StorageError) as caught:
            EventLog.open(tmp_path, key, "write")
        return caught.value.code

    assert code() == "log_missing"
    log = EventLog.create(tmp_path, 1, KEY, DB, DEVICE)
    log.connection.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    log.close()
    assert code() == "file_newer"
    assert code(b"x" * 32) == "file_unreadable"
    (tmp_path / "events.0001.db").write_bytes(b"")
    assert code() == "file_unreadable"


def test_an_unreadable_newest_generation_is_never_passed_over(tmp_path: Path) -> None:
    """Verifies: L10"""
    EventLog.create(tmp_path, 1, KEY, DB, DEVICE).close()
    (tmp_path / "events.0002.db").write_bytes(b"x" * 8192)

    with pytest.raises(StorageError) as caught:
        EventLog.open(tmp_path, KEY, "write")

    assert caught.value.code == "file_unreadable"


def test_the_highest_complete_generation_is_the_current_one(tmp_path: Path) -> None:
    first = EventLog.create(tmp_path, 1, KEY, DB, DEVICE)
    append(first, 1)
    second = EventLog.create(tmp_path, 2, KEY, DB, DEVICE, base=first.head, complete=False)
    append(second, 2)
    old_head = first.head
    first.close()

    second.close()
    unfinished = EventLog.open(tmp_path, KEY, "read")
    assert unfinished.generation == 1
    unfinished.close()

    second = EventLog._open(tmp_path / "events.0002.db", KEY, "write")
    second.mark_complete()
    second.close()
    current = EventLog.open(tmp_path, KEY, "read")
    assert (current.generation, current.base, current.head.seq) == (2, old_head, 2)
    assert current.verify(2, 2) == current.head
    current.close()


def test_a_half_made_log_of_a_crash_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """Verifies: L6"""
    (tmp_path / "events.0001.db.new").write_bytes(b"half")

    EventLog.create(tmp_path, 1, KEY, DB, DEVICE).close()

    assert not list(tmp_path.glob("*.new*"))
    assert (tmp_path / "events.0001.db").stat().st_size > 0
    with pytest.raises(StorageError) as caught:
        EventLog.create(tmp_path, 1, KEY, DB, DEVICE)
    assert caught.value.code == "file_exists"


def test_the_write_ahead_log_grows_until_the_writer_checkpoints(log: EventLog) -> None:
    """Verifies: L8"""
    for number in range(1, 30):
        append(log, number, sync=False)
    grown = log.wal_bytes

    frames, moved = log.checkpoint("TRUNCATE")

    assert grown > 100_000
    assert log.wal_bytes == 0
    assert frames == moved == 0
    assert log.verify(1, 29) == log.head


def test_a_locked_log_says_busy(log: EventLog, tmp_path: Path) -> None:
    """Verifies: L8"""
    append(log, 1)
    log.connection.set_busy_timeout(10)
    reader = EventLog.open(tmp_path, KEY, "read")
    reader.connection.execute("BEGIN")
    assert reader.head.seq == 1
    append(log, 2)

    with pytest.raises(StorageError) as caught:
        log.checkpoint("TRUNCATE")

    assert caught.value.code == "file_busy"
    assert caught.value.retryable
    reader.close()


def test_the_chain_gives_the_hash_of_the_worked_example_in_the_formats_page() -> None:
    row = (1, b"\xee" * 16, 1, "notes.created", 7, "row-1", "s1", 3, 1_700_000_000_000, b"\x81\xa1n\x01")
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")

    base = genesis(b"\xdd" * 16).hash
    chained = link(base, (*row, None, None, b"\xcc" * 16, 1))

    assert base.hex() in page
    assert chained.hex() in page
