"""One writer per log: a lock that the system lets go when its process dies, however it dies.

It is a file of its own, because locks on the database file itself would mix with those of SQLite.
"""

import os
import sys
from pathlib import Path

from keepdb.errors import StorageError


class FileLock:
    """Holds an exclusive lock on `path` until release() or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Take the lock at once or raise StorageError `second_writer`. The file itself stays."""
        self._descriptor: int | None = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            _lock(self._descriptor)
        except OSError as error:
            self.release()
            raise StorageError(
                "second_writer",
                f"Another process is writing {path.with_suffix('.db').name}.",
                fix="Stop the other KeepDB on this data directory first.",
            ) from error

    def release(self) -> None:
        """Let go. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        # flock, not lockf: it belongs to the descriptor, so a second open in this process is refused too.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
