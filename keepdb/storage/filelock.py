"""One writer per log. The lock is a file of its own: locks on the database itself would mix with SQLite's."""

from pathlib import Path

from keepdb.errors import StorageError
from keepdb.files import FileLock, Locked


def lock_for_writing(path: Path) -> FileLock:
    """Take the writer's lock at once. Raises StorageError `second_writer`."""
    try:
        return FileLock(path)
    except Locked:
        raise StorageError(
            "second_writer",
            f"Another process is writing {path.with_suffix('.db').name}.",
            fix="Stop the other KeepDB on this data directory first.",
            retryable=True,
        ) from None
