"""Who owns a data directory, and where its sockets may live."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from keepdb.errors import ConfigError, StorageError
from keepdb.runtime.lock import Owner, own_directory, read_owner, write_owner
from keepdb.runtime.rundir import (
    LONGEST_NAME,
    SOCKET_PATH_BYTES_MAX,
    clear_run_directory,
    make_run_directory,
    run_directory,
)

HOLD = """
import sys
from pathlib import Path
from keepdb.runtime.lock import own_directory
lock = own_directory(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def owner(**changes: object) -> Owner:
    me = psutil.Process()
    values: dict[str, object] = {"pid": me.pid, "started": me.create_time(), "run": "/r", "version": "1"}
    return Owner(**(values | changes))  # type: ignore[arg-type]


def test_a_lock_that_another_process_holds_is_refused_and_free_when_it_has_gone(tmp_path: Path) -> None:
    """Verifies: L7."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StorageError) as refused:
            own_directory(tmp_path)
        assert refused.value.code == "already_running"
        holder.kill()

    own_directory(tmp_path).release()


def test_the_lock_file_says_who_owns_the_directory(tmp_path: Path) -> None:
    lock = own_directory(tmp_path)
    write_owner(lock, Path("/r"), "1")

    assert read_owner(tmp_path) == owner()
    assert owner().is_alive()
    lock.release()


def test_a_pid_that_is_somebody_elses_by_now_is_not_the_owner() -> None:
    assert not owner(started=owner().started - 60).is_alive()
    assert not owner(pid=2**22 + 1).is_alive()


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"pid":"x"}', b"[]"])
def test_a_lock_file_full_of_nonsense_names_nobody(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "lock").write_bytes(text)

    assert read_owner(tmp_path) is None


def test_a_directory_without_lock_file_names_nobody(tmp_path: Path) -> None:
    assert read_owner(tmp_path) is None


def test_the_run_directory_is_made_private(tmp_path: Path) -> None:
    made = make_run_directory(tmp_path, str(tmp_path / "r"))

    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_run_directory_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    run = tmp_path / "r"
    run.mkdir()
    run.chmod(mode)

    with pytest.raises(ConfigError) as refused:
        make_run_directory(tmp_path, str(run))
    assert refused.value.code == "run_dir_unsafe"


def test_a_link_is_not_taken_for_a_run_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(ConfigError) as refused:
        make_run_directory(tmp_path, str(tmp_path / "link"))
    assert refused.value.code == "run_dir_unsafe"


def test_a_run_directory_in_a_file_or_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "r", tmp_path / "no" / "r"):
        with pytest.raises(ConfigError) as refused:
            make_run_directory(tmp_path, str(path))
        assert refused.value.code == "run_dir_unusable"


def test_the_longest_path_that_sockets_can_have_is_known(tmp_path: Path) -> None:
    inside = len(os.fsencode(run_directory(tmp_path, str(tmp_path)))) + len(LONGEST_NAME)
    room = SOCKET_PATH_BYTES_MAX - inside - 1
    make_run_directory(tmp_path, str(tmp_path / ("r" * room)))

    with pytest.raises(ConfigError) as refused:
        make_run_directory(tmp_path, str(tmp_path / ("r" * (room + 1))))
    assert refused.value.code == "run_dir_too_long"


def test_clearing_takes_sockets_and_the_connection_file_and_nothing_else(tmp_path: Path) -> None:
    for name in ("writer.sock", "connection.json", "writer.pulse", "somebodys.txt"):
        (tmp_path / name).touch()

    clear_run_directory(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["somebodys.txt"]
