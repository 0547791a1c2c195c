"""Replacing one small file so that a crash or power cut leaves the old one or the new one, and letting one
process at a time do so. The keyring needs both: a data key that is lost takes its subject's data with it.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from keepdb.clock import Clock
from keepdb.errors import KeyringError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Under the four missed heartbeats (2 s) after which the supervisor ends an actor. A rewrite takes
# milliseconds.
_LOCK_WAIT_S: Final = 1.5
_LOCK_RETRY_S: Final = 0.002
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def exclusive(path: Path, clock: Clock) -> Iterator[None]:
    """Hold the write lock of `path`: the file `<path>.lock` beside it, which the system frees when its holder
    dies.

    KeyringError `keyring_busy` (retryable) after 1.5 s, `keyring_not_written` where the lock file cannot be
    made.
    """
    try:
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o600)
    except OSError as error:
        raise not_written(path, error) from error
    try:
        deadline = clock.monotonic() + _LOCK_WAIT_S
        while not _try_lock(fd):
            if clock.monotonic() >= deadline:
                raise KeyringError(
                    "keyring_busy",
                    f"Another process has held the lock of {path} for {_LOCK_WAIT_S} s.",
                    fix="Try again; if it stays, find the process that holds the lock file beside it.",
                    retryable=True,
                )
            time.sleep(_LOCK_RETRY_S)
        yield
    finally:
        os.close(fd)


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600; on return it is on disk. KeyringError `keyring_not_written`.

    Call it under `exclusive`. The temporary file has one fixed name, so a copy left behind by a crash is gone
    after the next write, and with it any data key that this write destroys.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        _write_new(temporary, data)
        os.replace(temporary, path)
        _sync_directory(path.parent)
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


def _write_new(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        _sync(fd)
    finally:
        os.close(fd)


def _sync(fd: int) -> None:
    if sys.platform == "darwin":
        # fsync on macOS stops at the drive's cache; this goes through it.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def _sync_directory(path: Path) -> None:
    # Windows has no handle for this; its file system journals the rename.
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
