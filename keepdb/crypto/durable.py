"""Writing the keyring: one process at a time, whole or not at all. A data key that is lost takes its subject's
data with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keepdb.clock import Clock
from keepdb.errors import KeyringError
from keepdb.files import FileLock, Locked, replace_durably

# Under the four missed heartbeats (2 s) after which the supervisor ends an actor. A rewrite takes
# milliseconds.
_LOCK_WAIT_S: Final = 1.5


@contextmanager
def exclusive(path: Path, clock: Clock) -> Iterator[None]:
    """Hold the write lock of `path`: the file `<path>.lock` beside it.

    KeyringError `keyring_busy` (retryable) after 1.5 s, `keyring_not_written` where the lock file cannot be
    made.
    """
    try:
        lock = FileLock(path.with_name(path.name + ".lock"), clock, _LOCK_WAIT_S)
    except Locked:
        raise KeyringError(
            "keyring_busy",
            f"Another process has held the lock of {path} for {_LOCK_WAIT_S} s.",
            fix="Try again; if it stays, find the process that holds the lock file beside it.",
            retryable=True,
        ) from None
    except OSError as error:
        raise not_written(path, error) from error
    try:
        yield
    finally:
        lock.release()


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600; on return it is on disk. KeyringError `keyring_not_written`.

    Call it under `exclusive`.
    """
    try:
        replace_durably(path, data)
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError) -> KeyringError:
    """The refusal of the file system, said in our words."""
    return KeyringError(
        "keyring_not_written",
        f"{path} could not be written: {error.strerror or error}.",
        fix="Free space on the disk or repair the permissions of the directory, then try again.",
        retryable=True,
    )
