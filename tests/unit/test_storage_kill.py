"""The write path under kill -9, with a real process killed between any two of its steps.

The child does what the writer does with log and state and says on stdout what it has acknowledged; the parent
kills it, opens the files and rolls forward.
"""

import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from keepdb.schema.materialize import MaterialEvent
from keepdb.storage import EventLog, LogEntry, LogEvent, NewLogEvent, StateFile, check_start, pack_clear
from keepdb.storage.digest import table_digest
from keepdb.storage.rollforward import material_event, replay

KEY, DB, SCHEMA, CLIENT = b"k" * 32, b"d" * 16, "ab" * 32, b"c" * 16
COLUMNS = ("id", "n")
DDL = ('CREATE TABLE "notes" ("id" TEXT PRIMARY KEY, "n" INTEGER) STRICT',)
STEPS = ("begun", "materialized", "appended", "finished", "logged", "committed")


class Counts:
    """Inserts a row, or adds to it: applying an event twice or not at all gives another sum."""

    def apply(self, connection: apsw.Connection, event: MaterialEvent) -> None:
        connection.execute(
            "INSERT INTO notes VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET n = n + excluded.n",
            (event.id, event.values["n"]),
        )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def no_bodies(events: list[LogEvent]) -> list[bytes | None]:
    return [None for _ in events]


def write_batch(
    log: EventLog, state: StateFile, first: int, count: int, *, sync: bool, stop_at: str = ""
) -> None:
    """Requests first … first+count-1 in one group, in the order of the write path; waits for ever at
    `stop_at`.
    """

    def step(name: str) -> None:
        if name == stop_at:
            say(f"at {name}")
            sys.stdin.read()

    new = [
        NewLogEvent("notes.counted", 7, f"e{n % 5}", pack_clear({"n": n}))
        for n in range(first, first + count)
    ]
    entries = [
        LogEntry(CLIENT, number, sha256(b"").digest(), 1, (one,), (one.entity,))
        for number, one in enumerate(new, first)
    ]
    with state.batch() as batch:
        step("begun")
        for seq, one in enumerate(new, log.head.seq + 1):
            batch.begin(seq)
            with batch.request():
                values = {"n": one_value(one)}
                Counts().apply(state.connection, MaterialEvent(one.type, one.entity, 1, "", values))
        step("materialized")
        with log.transaction(sync):
            log.append(entries)
            step("appended")
            batch.finish(*log.head, durable=sync)
            step("finished")
        step("logged")
        batch.commit()
    step("committed")
    say(f"ack {first + count - 1}")


def one_value(new: NewLogEvent) -> int:
    event = LogEvent(1, b"", 1, new.type, 7, new.entity, None, None, 1, new.clear, None, None, b"", 1, b"")
    return int(material_event(event, None).values["n"])


def child(directory: str, stop_at: str, stop_after: str) -> None:
    """Runs in the process that is killed: groups of growing size, every third one not synced."""
    log = EventLog.open(Path(directory), KEY, "write")
    state = StateFile.open_current(Path(directory), SCHEMA, KEY, "write")
    assert state
    number = log.last_number(CLIENT) + 1
    group = 0
    while True:
        group += 1
        count = 1 + group % 7
        stop = stop_at if group == int(stop_after) else ""
        write_batch(log, state, number, count, sync=group % 3 != 0, stop_at=stop)
        number += count
        if group % 10 == 0:
            log.checkpoint("PASSIVE")
            state.checkpoint("PASSIVE")


def run_and_kill(directory: Path, stop_at: str, stop_after: int, acks: int) -> int:
    """Start the child, kill -9 it at its stop or after `acks` acknowledgements; returns the last one."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from test_storage_kill import child; child({str(directory)!r}, {stop_at!r}, '{stop_after}')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdin
    last, seen = 0, 0
    for line in process.stdout:
        word, value = line.split()
        if word == "at":
            break
        last, seen = int(value), seen + 1
        if seen == acks:
            break
    process.kill()
    rest, _ = process.communicate(timeout=10)
    complete = [
        line for line in rest.splitlines(keepends=True) if line.startswith("ack") and line.endswith("\n")
    ]
    return int(complete[-1].split()[1]) if complete else last


def prepare(directory: Path) -> None:
    EventLog.create(directory, 1, KEY, DB, b"v" * 16).close()
    state = StateFile.create(directory, SCHEMA, 1, KEY, DDL, 1)
    state.mark_complete()
    state.close()


def examine(directory: Path, acknowledged: int, generation: int) -> None:
    """After a kill: everything acknowledged is there once, state rolls forward, a rebuild gives the same
    rows.
    """
    log = EventLog.open(directory, KEY, "write")
    state = StateFile.open_current(directory, SCHEMA, KEY, "write")
    assert state
    check_start(log, state.position, None)
    assert log.last_number(CLIENT) >= acknowledged
    assert log.verify(1, log.head.seq) == log.head
    assert [event.request_number for event in log.read(0, 100_000)] == list(range(1, log.head.seq + 1))

    before = state.position.seq
    while replay(log, state, Counts(), no_bodies, after_seq=state.position.seq, limit=50):
        pass
    rebuilt = StateFile.create(directory, SCHEMA, generation, KEY, state.ddl(), 1)
    while replay(log, rebuilt, Counts(), no_bodies, after_seq=rebuilt.position.seq, limit=50):
        pass

    assert state.position[:2] == rebuilt.position[:2] == log.head
    digests = {table_digest(file.connection, "notes", COLUMNS) for file in (state, rebuilt)}
    assert len(digests) == 1
    assert state.versions() == rebuilt.versions()
    caught_up = state.changes_after(before, 1 << 30)
    assert caught_up is not None
    assert [one.seq for batch in caught_up for one in batch.changes] == list(
        range(before + 1, log.head.seq + 1)
    )
    for file in (log, state, rebuilt):
        file.close()


@pytest.mark.parametrize("stop_at", STEPS)
def test_a_writer_killed_between_any_two_steps_loses_and_doubles_nothing(
    tmp_path: Path, stop_at: str
) -> None:
    """Verifies: L1, L2, L5, L6"""
    prepare(tmp_path)

    acknowledged = run_and_kill(tmp_path, stop_at, stop_after=6, acks=1000)

    assert acknowledged == sum(1 + group % 7 for group in range(1, 6))
    examine(tmp_path, acknowledged, generation=2)
    again = run_and_kill(tmp_path, stop_at, stop_after=3, acks=1000)
    assert again > acknowledged
    examine(tmp_path, again, generation=3)


def test_a_writer_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Verifies: L1, L2, L5, L6"""
    chance = random.Random(1)
    prepare(tmp_path)

    acknowledged = 0
    for generation in range(2, 8):
        acknowledged = max(acknowledged, run_and_kill(tmp_path, "", 0, acks=chance.randrange(1, 60)))
        examine(tmp_path, acknowledged, generation)
