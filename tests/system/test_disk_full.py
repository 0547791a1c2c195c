"""A full disk: commits are refused at once and by name, reads go on, and writing goes on when there is room."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import PASSPHRASE
from hosting import actors, all_running, wait_until

from keepdb.client import Database, KeepError, Sidecar

#: A typed refusal must not take longer.
REFUSED_S = 1.0
PERSONA = {"name": "Ada", "description": "x" * 4_000}

Fill = Callable[[], None]
#: Mounting a small file system takes root; limiting the size of the writer's files works for everybody.
WAYS = ("limit", "tmpfs") if os.geteuid() == 0 and sys.platform == "linux" else ("limit",)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 16 MiB of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder; for the way "tmpfs" on a small file system."""
    folder = tmp_path / "disk"
    if "tmpfs" in WAYS:
        with small_disk(folder):
            yield folder
    else:
        folder.mkdir()
        yield folder


def full_by(way: str, db: Database, disk: Path) -> tuple[Fill, Fill]:
    """How to fill the disk (or what the writer sees of it), and how to make room again."""
    ballast, pid = disk / "ballast", actors(db)["writer"].pid

    def fill() -> None:
        if way == "limit":
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
            return
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4_096)):
                    pass
            except OSError:
                return

    def free() -> None:
        if way == "limit":
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            ballast.unlink()

    return fill, free


@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_refuses_commits_by_name_and_reads_go_on(disk: Path, way: str) -> None:
    """Verifies: L1 L6 L9."""
    with Sidecar.start(disk / "db", passphrase=PASSPHRASE) as sidecar, sidecar.connect() as db:
        wait_until(lambda: all_running(db), 10)
        acknowledged = [db.commit("personas.created", PERSONA).ids[0] for _ in range(20)]
        pids = {actor.pid for actor in db.status().actors}
        fill, free = full_by(way, db, disk)
        fill()

        refusals: list[str] = []
        slowest = 0.0
        for _ in range(40):
            began = time.monotonic()
            try:
                acknowledged.append(db.commit("personas.created", PERSONA, timeout=5.0).ids[0])
            except KeepError as error:
                refusals.append(error.code)
                slowest = max(slowest, time.monotonic() - began)
            assert db.get("personas", acknowledged[0]) is not None
        assert set(refusals) <= {
            "disk_full",
            "disk_error",
            "storage_failed",
            "commit_failed",
            "keyring_not_written",
        }
        assert len(refusals) > 5
        assert slowest < REFUSED_S
        assert db.writer_status().seq >= 20

        free()
        wait_until(lambda: commits(db, acknowledged), 10)
        assert all(db.get("personas", kept) is not None for kept in acknowledged)
        assert {actor.pid for actor in db.status().actors} == pids


def commits(db: Database, acknowledged: list[str]) -> bool:
    """Whether a commit works again."""
    try:
        acknowledged.append(db.commit("personas.created", PERSONA, timeout=2.0).ids[0])
    except KeepError:
        return False
    return True
