"""Directories under construction: a backup being made, a data directory being restored or rehearsed.

Whoever builds one holds a lock in it that dies with its process, so leftovers of killed runs can be told from
work that somebody else is doing right now.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from keepdb.files import FileLock, Locked, sync_directory
from keepdb.storage.connection import explained

PARTIAL: Final = ".partial"
REHEARSAL: Final = ".rehearsal"
_LOCK: Final = "under-construction.lock"


class Scratch:
    """A new directory of mode 0700. Ends with publish() or discard()."""

    def __init__(self, path: Path) -> None:
        """Make it; StorageError `file_exists` if something is there."""
        self.path = path
        with explained(path):
            path.mkdir(mode=0o700)
            self._lock = FileLock(path / _LOCK)

    def publish(self, final: Path) -> None:
        """Give it its final name. Its files must be synced; after this the name is, too."""
        with explained(final):
            self._lock.release()
            (self.path / _LOCK).unlink()
            sync_directory(self.path)
            os.rename(self.path, final)
            sync_directory(final.parent)

    def discard(self) -> None:
        """Remove what is left of it. Safe to call after publish()."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(parent: Path, *patterns: str) -> list[Path]:
    """Remove the leftovers of killed runs that match; returns what was removed. Work in progress stays."""
    removed = []
    for path in [path for pattern in patterns for path in parent.glob(pattern) if path.is_dir()]:
        with explained(path):
            try:
                FileLock(path / _LOCK).release()
            except Locked:
                continue
            shutil.rmtree(path)
        removed.append(path)
    return removed
