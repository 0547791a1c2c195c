"""Copying the log into a new generation: the cure when a sync failed and its writer died before it could close.

After a failed fsync the system marks pages as clean that never reached the disk (Rebello et al., USENIX ATC
2020), so a later sync of the same file proves nothing. What the system still has in memory is right: it is
read, written to a new file, synced, verified, and only then made current.
"""

import os
from pathlib import Path

from keepdb.files import sync_directory, sync_file

from .connection import delete_database, explained, open_database
from .generations import log_generations, log_path
from .log import EventLog


def regenerate_log(directory: Path, key: bytes) -> EventLog:
    """Make the next generation from the current one and open it for writing; the old file is deleted.

    Raises StorageError as EventLog.open and verify do; then the old generation is still the current one.
    """
    old = EventLog.open(directory, key, "write")
    generation = max(log_generations(directory)) + 1
    path = log_path(directory, generation)
    draft = path.with_name(path.name + ".new")
    try:
        delete_database(draft)
        _copy(old, draft, key, generation)
        draft.rename(path)
        sync_directory(directory)
        new = EventLog.open(directory, key, "write")
        new.verify(new.base.seq + 1, old.head.seq)
    except BaseException:
        old.close()
        raise
    old.close()
    delete_database(old.path)
    return new


def _copy(old: EventLog, draft: Path, key: bytes, generation: int) -> None:
    """All pages, through SQLite's backup interface: they are opened and sealed anew on the way."""
    copy = open_database(draft, key, kind="log", access="create")
    with explained(draft):
        try:
            with copy.backup("main", old.connection, "main") as backup:
                backup.step(-1)
            with copy:
                copy.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (generation,))
        finally:
            copy.close()
        descriptor = os.open(draft, os.O_RDWR)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
