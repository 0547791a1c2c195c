"""One owner per data directory (L7): the supervisor holds the lock on `<data>/lock`, whose text says who it is.

The writer holds a lock of its own on the log: a supervisor that was killed is gone at once, but its writer may
live for up to two seconds more, and the next writer has to wait for it.
"""

import contextlib
from pathlib import Path

import msgspec
import psutil

from keepdb.errors import StorageError
from keepdb.files import FileLock, Locked

NAME = "lock"


class Owner(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the lock file says. started: the owner's start time in seconds since the epoch: a pid alone can be
    somebody else's by now. run: the run directory with sockets and connection file."""

    pid: int
    started: float
    run: str
    version: str

    def is_alive(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1.0
        except psutil.Error:
            return False


def own_directory(data: Path) -> FileLock:
    """Become the owner at once. Raises StorageError (`already_running`, `data_unusable`); nothing is written then."""
    try:
        return FileLock(data / NAME)
    except Locked:
        owner = read_owner(data)
        who = f"pid {owner.pid}" if owner else "another process"
        raise StorageError(
            "already_running",
            f"{data} is in use by {who}.",
            fix="Use that one (`keepdb status`), stop it (`keepdb stop`), or choose another directory.",
            retryable=True,
        ) from None
    except OSError as error:
        raise StorageError(
            "data_unusable",
            f"{data / NAME} cannot be opened: {error.strerror}.",
            fix="Choose a directory that you may write to; the lock must be a plain file.",
        ) from error


def write_owner(lock: FileLock, run: Path, version: str) -> None:
    """Say who holds the lock."""
    me = psutil.Process()
    lock.write(
        msgspec.json.encode(Owner(pid=me.pid, started=me.create_time(), run=str(run), version=version))
    )


def read_owner(data: Path) -> Owner | None:
    """Who last owned the directory; None when nobody ever did or the file says nothing sensible."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((data / NAME).read_bytes(), type=Owner)
    return None
