"""Opens every SQLite file of KeepDB, so that cipher, pragmas and the meaning of errors are decided once.

The only SQLite library of the process is apsw's (sqlite3mc build, version floor checked): POSIX locks belong
to the process, and a second library beside this one lets a second writer in (measured: file destroyed 3 of 3
times).
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import apsw

from keepdb.errors import StorageError

Kind = Literal["log", "state"]
Access = Literal["write", "read", "create"]
CheckpointMode = Literal["PASSIVE", "FULL", "RESTART", "TRUNCATE"]

# 3.7.0 to 3.51.2 can corrupt a file when the WAL is reset (sqlite.org, release notes of 3.51.3).
SQLITE_VERSION_MIN = (3, 51, 3)
# AEGIS-256 authenticates every page like ChaCha20-Poly1305 and costs a fifth less per commit (measured).
CIPHER = "aegis"
BUSY_TIMEOUT_MS = 2_000
KEY_BYTES = 32
# The smallest database is one page; anything shorter was cut off.
FILE_BYTES_MIN = 512
# The state's pages that a batch touches stay in memory: 8 MiB, a twentieth of the budget of all processes.
STATE_CACHE_KIB = 8_192

#: Errors of the file or the machine, as opposed to those of the statement that was run.
FILE_FAULTS: tuple[type[apsw.Error], ...] = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
)

_RESTORE = "Run `keepdb doctor` and restore a backup."


def check_library() -> None:
    """Raise StorageError `sqlite_too_old` unless apsw brings SQLite 3.51.3 or later with page encryption."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < SQLITE_VERSION_MIN:
        raise StorageError(
            "sqlite_too_old",
            f"SQLite {apsw.sqlite_lib_version()} is loaded; versions before 3.51.3 can corrupt a WAL file.",
            fix="Install the pinned version of apsw-sqlite3mc.",
        )
    memory = apsw.Connection(":memory:")
    try:
        ciphers = memory.pragma("cipher")
    finally:
        memory.close()
    if not ciphers:
        raise StorageError(
            "sqlite_too_old",
            "The SQLite library that is loaded cannot encrypt pages.",
            fix="Remove the package apsw and install apsw-sqlite3mc in its pinned version.",
        )


def foreign_sqlite_loaded() -> bool:
    """Whether the standard library's own SQLite is loaded in this process, where it could drop our locks."""
    return "_sqlite3" in sys.modules


def open_database(path: Path, key: bytes, *, kind: Kind, access: Access) -> apsw.Connection:
    """Open one encrypted file and prove that the key fits.

    key: 32 bytes, the file's page key. kind: "log" (psow=0, no automatic checkpoints, synchronous FULL) or
    "state" (synchronous NORMAL). access: "create" makes a new file of mode 0600 and refuses an existing one;
    "write" and "read" refuse a missing or empty one, which therefore never turns into a fresh database.
    Raises StorageError: file_missing, file_exists, file_unreadable, file_busy, disk_full, disk_error,
    file_not_permitted.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a page key has {KEY_BYTES} bytes, not {len(key)}")
    with explained(path):
        if access == "create":
            _create_empty(path)
        else:
            _require_content(path)
        connection = apsw.Connection(_uri(path, kind), flags=_flags(access))
        try:
            _unlock(connection, key, path)
            _set_pragmas(connection, kind, access, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise about `path` into a StorageError that says what to do.

    Wraps storage code only: TypeError and UnicodeDecodeError are how damaged pages surface there (measured).
    """
    try:
        yield
    except StorageError:
        raise
    except (apsw.Error, OSError, UnicodeDecodeError, TypeError) as error:
        raise storage_error(error, path) from error


def storage_error(error: Exception, path: Path) -> StorageError:
    """The StorageError for an exception of apsw or the system about the file at `path`."""
    name = path.name
    match error:
        case apsw.NotADBError():
            return _unreadable(name, _why_page_one_fails(path))
        case apsw.CorruptError() | UnicodeDecodeError() | TypeError():
            return _unreadable(name, "the key fits, but a page is damaged or missing")
        case apsw.FullError() | OSError(errno=28):
            return StorageError(
                "disk_full",
                f"There is no space left to write {name}.",
                fix="Free disk space.",
                retryable=True,
            )
        case apsw.BusyError() | apsw.LockedError():
            return StorageError(
                "file_busy",
                f"{name} stayed locked for {BUSY_TIMEOUT_MS} ms by another connection.",
                fix="Try again; if it lasts, `keepdb status` shows who holds it.",
                retryable=True,
            )
        case FileExistsError():
            return StorageError(
                "file_exists", f"{name} is there already and is not overwritten.", fix="Use another name."
            )
        case FileNotFoundError() | apsw.CantOpenError():
            return StorageError("file_missing", f"{name} is missing or cannot be opened.", fix=_RESTORE)
        case PermissionError() | apsw.PermissionsError() | apsw.ReadOnlyError() | apsw.AuthError():
            return StorageError(
                "file_not_permitted",
                f"{name} may not be read or written by this user.",
                fix="Give the user of KeepDB read and write permission on the data directory.",
            )
        case _:
            return StorageError(
                "disk_error",
                f"{name} could not be read or written: {type(error).__name__}: {error}.",
                fix="Check the disk, then run `keepdb doctor`.",
                retryable=True,
            )


def checkpoint(connection: apsw.Connection, mode: CheckpointMode) -> tuple[int, int]:
    """Move pages from the write-ahead log into the main file; returns (frames in the WAL, frames moved)."""
    return connection.wal_checkpoint(mode=getattr(apsw, f"SQLITE_CHECKPOINT_{mode}"))


class WalBacklog:
    """How many bytes of a write-ahead log are waiting to be moved into the main file.

    The file's size would not do: a log that was moved completely is written again from its beginning, and keeps
    its size.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._page_bytes = int(connection.pragma("page_size"))
        self.bytes = file_bytes(wal_path(path))
        connection.set_wal_hook(self._on_commit)

    def _on_commit(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self.bytes = pages * self._page_bytes
        return apsw.SQLITE_OK

    def moved(self, frames: int, moved: int) -> None:
        """A checkpoint found so many frames and moved so many."""
        self.bytes = max(0, frames - moved) * self._page_bytes


def rows(
    connection: apsw.Connection, sql: str, parameters: Sequence[int | str | bytes] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a query whose column types the caller knows."""
    return connection.execute(sql, parameters).fetchall()


def wal_path(path: Path) -> Path:
    """The write-ahead log beside a database file."""
    return path.with_name(path.name + "-wal")


def file_bytes(path: Path) -> int:
    """Size of a file; 0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def delete_database(path: Path) -> bool:
    """Delete a database with its -wal and -shm; False if something still holds it (Windows) and it stays."""
    try:
        for part in (path, wal_path(path), path.with_name(path.name + "-shm")):
            part.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True


def _create_empty(path: Path) -> None:
    # SQLite gives -wal and -shm the mode of the main file, so 0600 from the first moment covers all three.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _require_content(path: Path) -> None:
    size = path.stat().st_size
    if size < FILE_BYTES_MIN:
        raise _unreadable(path.name, f"it has only {size} bytes, its content is gone")


def _uri(path: Path, kind: Kind) -> str:
    # psow=0 pads each commit to whole sectors, against disks that damage what lies beside a torn write.
    return path.absolute().as_uri() + ("?psow=0" if kind == "log" else "")


def _flags(access: Access) -> int:
    mode = apsw.SQLITE_OPEN_READONLY if access == "read" else apsw.SQLITE_OPEN_READWRITE
    return mode | apsw.SQLITE_OPEN_URI


def _unlock(connection: apsw.Connection, key: bytes, path: Path) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # Without the prefix "raw:" sqlite3mc would take the key for a passphrase and derive slowly.
    hexkey = (b"raw:" + key.hex().encode()).hex()
    if connection.pragma("cipher", CIPHER) != CIPHER or connection.pragma("hexkey", hexkey) != "ok":
        raise StorageError(
            "sqlite_too_old",
            f"{path.name} could not be opened: the SQLite library refused the page cipher {CIPHER}.",
            fix="Install the pinned version of apsw-sqlite3mc.",
        )
    connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


def _set_pragmas(connection: apsw.Connection, kind: Kind, access: Access, path: Path) -> None:
    connection.pragma("mmap_size", 0)
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("trusted_schema", False)
    connection.pragma("foreign_keys", False)
    if access == "read":
        connection.pragma("query_only", True)
        # Checkpoints belong to the writer; a reader that closes last must not start one.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return
    if connection.pragma("journal_mode", "WAL") != "wal":
        raise StorageError(
            "disk_error",
            f"{path.name} cannot use a write-ahead log on this file system.",
            fix="Put the data directory on a local disk.",
        )
    connection.pragma("secure_delete", True)
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("synchronous", "FULL" if kind == "log" else "NORMAL")
    if kind == "state":
        connection.pragma("cache_size", -STATE_CACHE_KIB)
    if sys.platform == "darwin":
        # There fsync leaves the data in the drive's cache.
        connection.pragma("fullfsync", True)
        connection.pragma("checkpoint_fullfsync", True)


def _unreadable(name: str, why: str) -> StorageError:
    return StorageError(
        "file_unreadable", f"{name} cannot be read: {why}. It was left as it is.", fix=_RESTORE
    )


def _why_page_one_fails(path: Path) -> str:
    """Bytes 16 to 23 of an encrypted file stay readable (page size and fractions, SQLite file format 1.3)."""
    # Read through SQLite: closing a file of our own would drop every lock this process holds on it.
    try:
        file = apsw.VFSFile("", str(path), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
        try:
            header = file.xRead(24, 0)
        finally:
            file.xClose()
    except apsw.Error:
        return "its first page does not open"
    if header.startswith(b"SQLite format 3\x00"):
        return "it is a database without encryption"
    if header[21:24] != b"\x40\x20\x20":
        return "it is damaged or not a database of KeepDB, its header is not one"
    return "it was written with another key, or its first page is damaged"
