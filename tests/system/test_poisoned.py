"""W8 on the whole stack: a request that is being carried out whenever its writer dies is refused in the end."""

import os
import signal
from pathlib import Path

import pytest
from conftest import Start
from hosting import actors, all_running, wait_until
from leftovers import run_directory

from keepdb.client import Database, KeepError, NewEvent, PendingCommit

#: So many events keep a writer busy for some 100 ms, long enough to be hit.
LARGE = 1_000


def large_commit(db: Database) -> PendingCommit:
    data = {"type": "knowledge", "name": "n", "content": "c" * 500, "tags": ["a", "b"]}
    return db.submit([NewEvent(type="memoryEntities.created", data=data) for _ in range(LARGE)], timeout=30.0)


def mentions(note: Path, client: bytes) -> int:
    """How often the writer's note names this client: once in flight, once more as a suspect."""
    raw = note.read_bytes() if note.exists() else b""
    size = int.from_bytes(raw[:4], "little")
    return raw[4 : 4 + size].count(client)


def kill_in_flight(db: Database, note: Path, times: int) -> int:
    """Kill the writer as soon as its note names the client that often; returns the pid it had."""

    def is_there() -> bool:
        db.link.pump(0.0)
        return mentions(note, db.client_id) >= times

    wait_until(is_there, 10)
    pid = actors(db)["writer"].pid
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_request_that_was_in_flight_when_its_writer_died_twice_is_refused(
    start: Start, tmp_path: Path
) -> None:
    """Verifies: L6. Others are carried out afterwards, this client's next ones too."""
    sidecar = start()
    with sidecar.connect() as db, sidecar.connect() as other:
        wait_until(lambda: all_running(db), 10)
        note = run_directory(tmp_path / "db") / "writer.inflight"
        pending = large_commit(db)
        kill_in_flight(db, note, 1)
        kill_in_flight(db, note, 2)

        with pytest.raises(KeepError) as refused:
            pending.receipt()
        assert refused.value.code == "poisoned"
        assert not refused.value.retryable
        assert other.commit("personas.created", {"name": "Ada"}).ids
        assert db.commit("personas.created", {"name": "Eve"}).ids
        assert db.sql("SELECT count(*) FROM memoryEntities").rows == [[0]]
