"""Writing the keyring through crashes, a full disk and a second writer: real files, killed processes."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keepdb.clock import SystemClock
from keepdb.crypto import durable, kdf, keyring
from keepdb.crypto.slots import Secrets
from keepdb.errors import KeyringError

ROOT_OF_REPOSITORY = Path(__file__).parents[2]
SECRETS = Secrets(keychain=b"k" * 32)

# The profile hook sees every call into the operating system just before it is made: it records the calls, or
# kills this process with SIGKILL before the n-th.
CHILD = """
import fcntl, os, signal, sys
from pathlib import Path
from keepdb.crypto import kdf, keyring
from keepdb.crypto.slots import Secrets

path, stop_at = Path(sys.argv[1]), int(sys.argv[2])
root = keyring.unlock_root(path, Secrets(keychain=b"k" * 32))
store = keyring.open_keys(path, kdf.derive(root, kdf.KEYRING_KEK), kdf.derive(root, kdf.KEYRING_MAC))
watched = {os.open, os.write, os.fsync, fcntl.fcntl, os.replace, os.unlink, os.close}
seen = []

def hook(frame, event, what):
    if event == "c_call" and what in watched:
        seen.append(what.__name__)
        if len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(hook)
store.extend(10)
sys.setprofile(None)
print(" ".join(seen))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    keyring.create(path, SECRETS, SystemClock(), os.urandom, pool_keys=3)
    return path


def extend_in_a_child(path: Path, stop_at: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(stop_at)],
        cwd=ROOT_OF_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_new_file_is_synced_before_it_takes_the_name_and_the_directory_after(path: Path) -> None:
    """Verifies: L1. In this order a power cut leaves the old keyring or the whole new one."""
    done = extend_in_a_child(path, 0)

    assert done.returncode == 0, done.stderr
    # macOS syncs through fcntl(F_FULLFSYNC).
    calls = done.stdout.replace("fcntl", "fsync").split()
    # The lock, the leftover's removal, the new file, the rename, the directory, the lock.
    assert " ".join(calls) == "open unlink open write fsync close replace open fsync close close"


def test_a_writer_killed_before_any_of_its_calls_leaves_the_old_or_the_new_keyring(path: Path) -> None:
    """Verifies: L6"""
    pool_ends = []
    old = path.read_bytes()
    for stop_at in range(1, 12):
        path.write_bytes(old)
        done = extend_in_a_child(path, stop_at)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert keyring.unlock_root(path, SECRETS)
        pool_ends.append(keyring.read_header(path).pool_end)

    assert pool_ends == [4] * 7 + [260] * 4

    # What the killed writers left behind stops nobody.
    root = keyring.unlock_root(path, SECRETS)
    store = keyring.open_keys(path, kdf.derive(root, kdf.KEYRING_KEK), kdf.derive(root, kdf.KEYRING_MAC))
    assert store.extend(300) == 516
    assert {file.name for file in path.parent.iterdir()} == {"keyring.json", "keyring.json.lock"}


def test_a_full_disk_leaves_the_old_keyring_and_the_old_pool(path: Path) -> None:
    old = path.read_bytes()
    root = keyring.unlock_root(path, SECRETS)
    store = keyring.open_keys(path, kdf.derive(root, kdf.KEYRING_KEK), kdf.derive(root, kdf.KEYRING_MAC))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) + 100, hard))
    try:
        with pytest.raises(KeyringError) as caught:
            store.extend(10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)

    assert (caught.value.code, caught.value.retryable) == ("keyring_not_written", True)
    assert path.read_bytes() == old
    assert store.pool_end == 4
    assert store.extend(10) == 260


def test_a_second_writer_is_told_that_the_keyring_is_busy(path: Path) -> None:
    root = keyring.unlock_root(path, SECRETS)

    with (
        durable.exclusive(path, SystemClock()),
        pytest.raises(KeyringError) as caught,
        durable.exclusive(path, SteppingClock()),
    ):
        pass

    assert (caught.value.code, caught.value.retryable) == ("keyring_busy", True)
    keyring.add_slots(path, root, SECRETS, SystemClock(), os.urandom)


def test_four_processes_that_extend_at_once_lose_no_growth(path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), "0"],
            cwd=ROOT_OF_REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outcomes = [child.communicate(timeout=30) for child in children]

    assert [child.returncode for child in children] == [0] * 4, outcomes
    # Whoever opened the keyring after another had grown it had nothing to do.
    assert (keyring.read_header(path).pool_end - 4) % 256 == 0
    assert keyring.unlock_root(path, SECRETS)


def test_a_directory_that_is_gone_is_reported_as_not_written(tmp_path: Path) -> None:
    with pytest.raises(KeyringError) as caught:
        keyring.create(tmp_path / "gone" / "keyring.json", SECRETS, SystemClock(), os.urandom)

    assert caught.value.code == "keyring_not_written"
    assert os.strerror(errno.ENOENT) in caught.value.message


def test_a_symlink_planted_under_the_name_of_the_temporary_file_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"untouched")
    path.with_name("keyring.json.tmp").symlink_to(victim)
    root = keyring.unlock_root(path, SECRETS)

    keyring.add_slots(path, root, SECRETS, SystemClock(), os.urandom)

    assert victim.read_bytes() == b"untouched"
    assert not path.is_symlink()


class SteppingClock:
    """A clock on which each look takes a second, so that deadlines pass without waiting."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        self._seconds += 1.0
        return self._seconds
