"""One owner per data directory (L7): record locks on single bytes of `<data>/lock`.

The supervisor holds SUPERVISOR_BYTE, the writer WRITER_BYTE: a supervisor that was killed frees its byte at
once, but its writer may live for up to two seconds more, and the next writer has to wait for that one. Record
locks go when their process goes. They also go when the process closes any descriptor of the file, so nobody
opens the lock file a second time in a process that holds a lock. The bytes lie far behind the text, because
on Windows a locked byte cannot be read.
"""

import contextlib
import os
import sys
import threading
from pathlib import Path

import msgspec
import psutil

from keepdb.clock import Clock
from keepdb.errors import StorageError

SUPERVISOR_BYTE = 1 << 30
WRITER_BYTE = SUPERVISOR_BYTE + 1

#: How often a lock that another process holds is tried again.
RETRY_S = 0.02


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


class DirectoryLock:
    """A held lock; `release` or the end of the process frees it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write_owner(self, owner: Owner) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, msgspec.json.encode(owner))

    def release(self) -> None:
        os.close(self._descriptor)


def acquire(data: Path, byte: int, clock: Clock, wait_s: float = 0.0) -> DirectoryLock:
    """Lock one byte, waiting up to wait_s. Raises StorageError (`already_running`); writes nothing then."""
    descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = clock.monotonic() + wait_s
    while not _try_lock(descriptor, byte):
        if clock.monotonic() >= deadline:
            os.close(descriptor)
            owner = read_owner(data)
            who = f"pid {owner.pid}" if owner else "another process"
            raise StorageError(
                "already_running",
                f"{data} is in use by {who}.",
                fix="Use that one (`keepdb status`), stop it (`keepdb stop`), or choose another directory.",
                retryable=True,
            )
        # There is no portable wait with a time limit for record locks, hence the polling.
        threading.Event().wait(RETRY_S)
    return DirectoryLock(descriptor)


def read_owner(data: Path) -> Owner | None:
    """Who last owned the directory; None when nobody ever did or the file says nothing sensible."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((data / "lock").read_bytes(), type=Owner)
    return None


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int, byte: int) -> bool:
        os.lseek(descriptor, byte, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, byte: int) -> bool:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True
