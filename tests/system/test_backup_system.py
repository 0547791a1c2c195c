"""Backups of a running database, with real processes that are really killed."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from keepdb.backup import restore, unlock
from keepdb.client import Database, Sidecar
from keepdb.clock import SystemClock
from keepdb.crypto.slots import Secrets
from keepdb.errors import KeepError
from messages.backups import Backups, GetJob, Job, JobStarted, ListBackups, MakeBackup, VerifyBackup
from messages.base import Request
from messages.commits import NewEvent

PASSPHRASE = "correct horse battery"
CANARY = "CANARY-19be"
CLOCK = SystemClock()
#: Longest time a job of these small databases may take.
JOB_S = 30.0
PERSONAS = "SELECT id, name, usageCount, isActive, createdAt, updatedAt FROM personas ORDER BY id"
MESSAGES = "SELECT id, parent, position, role FROM conversations__messages ORDER BY id"


def begin(db: Database, request: Request) -> str:
    return db.ask("backup", request, JobStarted, resend=False).job


def wait(db: Database, job: str) -> Job:
    """Ask until it is over; an ask takes its turn between the actor's slices, so this needs no pause."""
    deadline = CLOCK.monotonic() + JOB_S
    while (found := db.ask("backup", GetJob(job=job), Job)).state == "running":
        assert CLOCK.monotonic() < deadline, found
    return found


def made(db: Database, label: str = "") -> dict[str, Any]:
    job = wait(db, begin(db, MakeBackup(label=label)))
    assert job.state == "finished", job
    return job.result


def fill(db: Database, personas: int) -> None:
    for first in range(0, personas, 200):
        db.commit_all(
            [
                NewEvent(
                    type="personas.created",
                    data={
                        "name": f"{CANARY} {n}",
                        "description": CANARY * 20,
                        "privateMemory": {"is": CANARY},
                    },
                )
                for n in range(first, min(first + 200, personas))
            ]
        )


def listed(db: Database) -> tuple[dict[str, Any], ...]:
    return db.ask("backup", ListBackups(), Backups).backups


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar.start(
        tmp_path / "data", passphrase=PASSPHRASE, settings={"backup.chunk_kib": "64"}
    ) as running:
        yield running


def test_a_backup_made_while_writes_go_on_is_proven_and_restores_to_the_same_rows(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    """Verifies: L1, L2, L4"""
    stop = threading.Event()
    committed: list[int] = []

    def write() -> None:
        with sidecar.connect() as db:
            talk = db.commit("conversations.created", {"title": CANARY}).ids[0]
            while not stop.is_set():
                data = {"role": "user", "content": f"{CANARY} {len(committed)}"}
                committed.append(db.commit("messageAdded", data, id=talk).seq_last)

    with sidecar.connect() as db:
        fill(db, 1_000)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            results = [made(db, "first"), made(db)]
            verified = wait(db, begin(db, VerifyBackup(backup=results[0]["backup"])))
        finally:
            stop.set()
            writer.join()
        assert verified.state == "finished", verified
        assert verified.result["digest"] == results[0]["digest"]
        assert 1_000 <= results[0]["seq"] < results[1]["seq"] < committed[-1]
        rows = listed(db)
        assert [(row["id"], row["label"], bool(row["verifiedAt"])) for row in rows] == [
            (results[1]["backup"], "", False),
            (results[0]["backup"], "first", True),
        ]
        last = made(db)
        # Nothing was written after the last one, so its rows are those of the database now.
        expected = [db.sql(sql, []).rows for sql in (PERSONAS, MESSAGES)]
    sidecar.stop()
    backup = tmp_path / "data" / "backups" / last["backup"]

    restore(backup, tmp_path / "new", unlock(backup, Secrets(passphrase=PASSPHRASE)), clock=CLOCK)

    with Sidecar.start(tmp_path / "new", passphrase=PASSPHRASE) as again, again.connect() as db:
        assert [db.sql(sql, []).rows for sql in (PERSONAS, MESSAGES)] == expected
        assert db.writer_status().seq == last["seq"]
        assert made(db)["digest"] == last["digest"]
        db.commit("personas.created", {"name": "goes on"})
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert CANARY.encode() not in path.read_bytes(), path


def test_a_second_job_is_refused_while_one_is_under_way(sidecar: Sidecar) -> None:
    """Verifies: L8"""
    with sidecar.connect() as db:
        fill(db, 5_000)
        # Sent together, so that the second one is there before the first job can be over.
        first, second = (db.link.start("backup", MakeBackup, JOB_S, resend=False) for _ in range(2))
        job = db.link.finish(first, JobStarted).job
        with pytest.raises(KeepError) as caught:
            db.link.finish(second, JobStarted)

        assert caught.value.code == "backup_busy"
        assert caught.value.retryable
        assert wait(db, job).result["events"] == 5_000
        assert begin(db, MakeBackup())


def test_names_that_do_not_exist_are_refused(sidecar: Sidecar) -> None:
    with sidecar.connect() as db:
        for request, code in (
            (VerifyBackup(backup="../data"), "backup_unknown"),
            (VerifyBackup(), "backup_unknown"),
            (GetJob(job="none"), "job_unknown"),
        ):
            with pytest.raises(KeepError) as caught:
                db.ask("backup", request, Job)
            assert caught.value.code == code
        job = wait(db, begin(db, MakeBackup(label="x" * 201)))
        assert (job.state, job.code) == ("failed", "label_too_long")


@pytest.mark.parametrize("kind", ["make", "verify"])
def test_a_backup_actor_killed_in_the_middle_leaves_nothing_that_looks_finished(
    sidecar: Sidecar, tmp_path: Path, kind: str
) -> None:
    """Verifies: L6"""
    backups = tmp_path / "data" / "backups"
    with sidecar.connect() as db:
        fill(db, 3_000)
        before = [made(db)["backup"]]
        (pid,) = (row.pid for row in db.status().actors if row.name == "backup")
        job = begin(db, MakeBackup() if kind == "make" else VerifyBackup())
        stop_in_the_middle(psutil.Process(pid), backups)

        # The next actor answers once it has removed the leftovers.
        with pytest.raises(KeepError) as caught:
            wait(db, job)

        assert caught.value.code == "job_unknown"
        assert [path.name for path in backups.iterdir()] == before
        assert [row["id"] for row in listed(db)] == before
        again = made(db)
        assert wait(db, begin(db, VerifyBackup(backup=again["backup"]))).state == "finished"
        assert db.writer_status().mode == "serving"


def stop_in_the_middle(actor: psutil.Process, backups: Path) -> None:
    """Kill it while something unfinished lies there, and make sure that it was so."""
    deadline = CLOCK.monotonic() + JOB_S
    while not unfinished(backups):
        assert CLOCK.monotonic() < deadline
    actor.suspend()
    left = unfinished(backups)
    actor.kill()
    assert left


def unfinished(backups: Path) -> list[Path]:
    return [path for path in backups.iterdir() if path.suffix in (".partial", ".rehearsal")]


def test_a_damaged_backup_is_refused_by_verify_and_named_in_the_list(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    """Verifies: L10"""
    with sidecar.connect() as db:
        fill(db, 200)
        name = made(db)["backup"]
        piece = tmp_path / "data" / "backups" / name / "log-0001.piece"
        raw = bytearray(piece.read_bytes())
        raw[len(raw) // 2] ^= 1
        piece.write_bytes(raw)
        job = wait(db, begin(db, VerifyBackup(backup=name)))
        assert (job.state, job.code) == ("failed", "backup_damaged")
        assert job.fix
        manifest = piece.with_name("manifest.json")
        manifest.write_bytes(manifest.read_bytes().replace(b'"events": 200', b'"events": 201'))
        assert listed(db)[0]["error"] == "backup_damaged"
        with pytest.raises(KeepError) as caught:
            begin(db, VerifyBackup(backup=name))
        assert caught.value.code == "backup_damaged"
        assert [path.name for path in manifest.parent.parent.iterdir()] == [name]


def test_a_running_database_is_not_replaced(sidecar: Sidecar, tmp_path: Path) -> None:
    """Verifies: L7"""
    with sidecar.connect() as db:
        fill(db, 10)
        backup = tmp_path / "data" / "backups" / made(db)["backup"]
        keys = unlock(backup, Secrets(passphrase=PASSPHRASE))
        with pytest.raises(KeepError) as caught:
            restore(backup, tmp_path / "data", keys, replace=True, clock=CLOCK)
        assert caught.value.code == "already_running"
        assert len(db.query({"from": "personas"}).rows) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
