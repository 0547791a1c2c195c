"""Opening encrypted files: what is refused, and that no refusal changes a byte."""

import os
import stat
from pathlib import Path

import apsw
import pytest

from keepdb.errors import StorageError
from keepdb.storage.connection import (
    Access,
    check_library,
    delete_database,
    explained,
    open_database,
    storage_error,
)

KEY = bytes(range(32))


def made(path: Path) -> Path:
    """A closed file with some pages in it."""
    connection = open_database(path, KEY, kind="state", access="create")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    connection.executemany("INSERT INTO t (b) VALUES (?)", [("canary " * 100,) for _ in range(50)])
    connection.close()
    return path


def refused(path: Path, key: bytes = KEY, access: Access = "write") -> StorageError:
    with pytest.raises(StorageError) as caught:
        open_database(path, key, kind="state", access=access)
    return caught.value


def read_all(path: Path) -> None:
    with explained(path):
        connection = open_database(path, KEY, kind="state", access="read")
        try:
            connection.execute("SELECT sum(length(b)) FROM t").fetchall()
        finally:
            connection.close()


def test_the_library_that_is_installed_passes_its_own_check() -> None:
    """Verifies: L7"""
    check_library()


def test_a_created_file_is_private_and_shows_no_content(tmp_path: Path) -> None:
    """Verifies: L4"""
    path = tmp_path / "a.db"
    connection = open_database(path, KEY, kind="log", access="create")
    connection.execute("CREATE TABLE secretplan (a TEXT)")
    connection.execute("INSERT INTO secretplan VALUES ('canary')")
    wal = path.with_name("a.db-wal")

    modes = {stat.S_IMODE(file.stat().st_mode) for file in (path, wal)}
    data = path.read_bytes() + wal.read_bytes()
    connection.close()

    if os.name == "posix":
        assert modes == {0o600}
    assert b"canary" not in data
    assert b"secretplan" not in data
    assert b"SQLite format" not in data


def test_log_and_state_connections_have_the_pragmas_their_promises_need(tmp_path: Path) -> None:
    log = open_database(tmp_path / "a.db", KEY, kind="log", access="create")
    state = open_database(tmp_path / "b.db", KEY, kind="state", access="create")

    assert [log.pragma(name) for name in ("journal_mode", "synchronous", "secure_delete")] == ["wal", 2, 1]
    assert [state.pragma(name) for name in ("journal_mode", "synchronous", "secure_delete")] == ["wal", 1, 1]
    assert log.pragma("wal_autocheckpoint") == state.pragma("wal_autocheckpoint") == 0
    log.close()
    state.close()


def test_another_key_is_told_and_the_file_stays_as_it_was(tmp_path: Path) -> None:
    """Verifies: L10"""
    path = made(tmp_path / "a.db")
    before = path.read_bytes()

    error = refused(path, key=b"x" * 32)

    assert error.code == "file_unreadable"
    assert "another key" in error.message
    assert path.read_bytes() == before


def test_a_flipped_bit_on_any_page_is_noticed(tmp_path: Path) -> None:
    """Verifies: L10"""
    path = made(tmp_path / "a.db")
    data = path.read_bytes()
    assert len(data) >= 4 * 4096

    for position in range(300, len(data), 4096):
        copy = tmp_path / f"flip{position}.db"
        copy.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(StorageError) as caught:
            read_all(copy)
        assert caught.value.code == "file_unreadable"


@pytest.mark.parametrize("access", ["write", "read"])
def test_missing_and_empty_files_never_become_fresh_databases(tmp_path: Path, access: Access) -> None:
    """Verifies: L10"""
    empty = tmp_path / "empty.db"
    empty.touch()

    assert refused(tmp_path / "none.db", access=access).code == "file_missing"
    assert refused(empty, access=access).code == "file_unreadable"
    assert empty.read_bytes() == b""
    assert not (tmp_path / "none.db").exists()


def test_what_is_wrong_with_the_first_page_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain.db"
    database = apsw.Connection(str(plain))
    database.execute("CREATE TABLE t (a)")
    database.close()
    noise = tmp_path / "noise.db"
    noise.write_bytes(b"not a database at all " * 1000)

    assert "without encryption" in refused(plain).message
    assert "not a database" in refused(noise).message


def test_creating_over_an_existing_file_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db")

    assert refused(path, access="create").code == "file_exists"


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """Verifies: L7"""
    reader = open_database(made(tmp_path / "a.db"), KEY, kind="state", access="read")

    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM t")
    reader.close()


def test_errors_of_the_disk_become_refusals_with_a_fix(tmp_path: Path) -> None:
    codes = [
        storage_error(error, tmp_path / "a.db").code
        for error in (
            apsw.FullError(),
            OSError(28, "full"),
            apsw.BusyError(),
            apsw.IOError(),
            apsw.CorruptError(),
        )
    ]

    assert codes == ["disk_full", "disk_full", "file_busy", "disk_error", "file_unreadable"]


def test_deleting_a_database_takes_its_companions_along(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "a.db", KEY, kind="state", access="create")
    connection.execute("CREATE TABLE t (a)")
    assert len(list(tmp_path.iterdir())) == 3
    connection.close()

    assert delete_database(tmp_path / "a.db")
    assert not list(tmp_path.iterdir())
