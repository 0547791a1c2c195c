"""What a stopped database may have left behind, and what the files of a directory look like."""

import os
import shutil
import stat
import threading
import time
from pathlib import Path

import psutil

from keepdb.runtime.lock import read_owner

#: No orphan may live longer (L6).
ORPHANS_S = 2.0
#: Path below the directory -> mode, time of the last change in ns, content.
Fingerprint = dict[str, tuple[int, int, bytes]]


def databases(folder: Path) -> list[Path]:
    """Data directories below a folder."""
    return [lock.parent for lock in folder.rglob("lock") if lock.is_file()]


def run_directory(data: Path) -> Path:
    """Where the last owner of a data directory had its sockets."""
    owner = read_owner(data)
    assert owner is not None, f"{data} was never owned"
    return Path(owner.run)


def run_files(data: Path) -> list[Path]:
    """Sockets and files in a database's run directory, but for what a writer notes for its successor."""
    owner = read_owner(data)
    run = Path(owner.run) if owner else None
    found = run.iterdir() if run and run.exists() else ()
    return [path for path in found if path.suffix != ".inflight"]


def sweep(data: Path) -> None:
    """What the next start would do after a supervisor was killed: it cannot clean up behind itself."""
    left = holders_after(data, ORPHANS_S)
    assert not left, f"{left} outlived their supervisor by {ORPHANS_S} s"
    remove_run_directory(data)


def remove_run_directory(data: Path) -> None:
    """It lies outside of a test's own folder."""
    owner = read_owner(data)
    if owner is not None:
        shutil.rmtree(owner.run, ignore_errors=True)


def holders(folder: Path) -> list[int]:
    """Processes other than this one that have files below a folder open."""
    return [
        process.pid
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _holds(process, folder)
    ]


def holders_after(folder: Path, seconds: float) -> list[int]:
    """Who still holds files after that time at most."""
    deadline = time.monotonic() + seconds
    while (left := holders(folder)) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return left


def mode_of(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def fingerprint(folder: Path) -> Fingerprint:
    """Everything about the files of a folder that somebody who writes would change."""
    return {
        str(path.relative_to(folder)): (
            mode_of(path),
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def _holds(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(file.path.startswith(f"{folder}/") for file in process.open_files())
    except psutil.Error:
        return False
