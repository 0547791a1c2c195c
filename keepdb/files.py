"""Small files and locks, done once: replacing a file whole, making it durable, and one holder at a time.

Locks are the system's own and go when their holder dies, however it dies. They lie on a byte far behind any
text, because on Windows a locked byte cannot be read.
"""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from keepdb.clock import Clock

_RETRY_S: Final = 0.005
_LOCKED_BYTE: Final = 1 << 30
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)


class Locked(Exception):
    """Another holder has the lock."""


class FileLock:
    """An exclusive lock, held until release() or the end of the process. The file stays; only its lock counts."""

    def __init__(self, path: Path, clock: Clock | None = None, wait_s: float = 0.0) -> None:
        """Take the lock, trying for `wait_s` seconds. Raises Locked, or OSError where the file cannot be made."""
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | _NOFOLLOW | _BINARY, 0o600)
        deadline = clock.monotonic() + wait_s if clock is not None else 0.0
        while not _try_lock(self._descriptor):
            if clock is None or clock.monotonic() >= deadline:
                self.release()
                raise Locked(path)
            # No system has a portable wait with a time limit for locks, hence the polling.
            threading.Event().wait(_RETRY_S)

    def write(self, text: bytes) -> None:
        """Replace the file's content. Never open the file a second time for that: it could cost the lock."""
        assert self._descriptor is not None, "the lock was released"
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, text)

    def release(self) -> None:
        """Let go. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def replace_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path`; on return it is on disk, after a crash it is the old file or the new one.

    The temporary file has one fixed name (`<name>.tmp`), so what a crash left behind is gone after the next write.
    mode: who may read it; the process's umask takes away from it. One caller at a time. Raises OSError.
    """
    temporary = path.with_name(path.name + ".tmp")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make names created, renamed or deleted in `directory` survive a power cut (a no-op on Windows)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def sync_file(descriptor: int) -> None:
    """fsync that reaches the disk on macOS too, where the plain one stops at the drive's cache."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # flock, not lockf: it belongs to the descriptor, so a second open in this process is refused too.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
