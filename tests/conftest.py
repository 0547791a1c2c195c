"""Fixtures for tests with real processes; and the rule that a test leaves nothing behind."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from leftovers import ORPHANS_S, databases, holders_after, remove_run_directory, run_files

from keepdb.client import Database, Sidecar

PASSPHRASE = "four plain words suffice"
#: A stopped database's processes have this long to be gone.
GONE_S = 5.0
#: Processes of the interpreter's own that outlive what they were made for.
_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")

Start = Callable[..., Sidecar]


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path) -> Iterator[None]:
    """Fails the test when a process, a socket, a connection file or a held file stays."""
    before = _processes()
    yield
    fresh = [process for process in _processes() if process not in before]
    _, alive = psutil.wait_procs(fresh, timeout=GONE_S)
    left = [f"process {process.pid}: {_command(process)}" for process in alive]
    left += [f"in the run directory: {path}" for data in databases(tmp_path) for path in run_files(data)]
    left += [f"process {pid} holds files" for pid in holders_after(tmp_path, ORPHANS_S)]
    for process in alive:
        process.kill()
    for data in databases(tmp_path):
        remove_run_directory(data)
    assert not left, "; ".join(left)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a database: start(name="db", passphrase=…, settings={…}, …). It is stopped after the test."""
    running: list[Sidecar] = []

    def run(name: str = "db", **options: Any) -> Sidecar:
        if not {"passphrase", "keychain", "recovery"} & options.keys():
            options["passphrase"] = PASSPHRASE
        sidecar = Sidecar.start(tmp_path / name, **options)
        running.append(sidecar)
        return sidecar

    yield run
    for sidecar in running:
        sidecar.stop()


@pytest.fixture
def db(start: Start) -> Iterator[Database]:
    """A connection to a fresh database with shipped settings."""
    with start().connect() as database:
        yield database


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One database for the tests of a module that do not mind each other's rows."""
    data = tmp_path_factory.mktemp("shared") / "db"
    with Sidecar.start(data, passphrase=PASSPHRASE) as sidecar:
        yield sidecar
    assert run_files(data) == []
    assert holders_after(data, ORPHANS_S) == []
    remove_run_directory(data)


@pytest.fixture
def shared_db(shared: Sidecar) -> Iterator[Database]:
    """A connection of its own to the module's database."""
    with shared.connect() as database:
        yield database


def _processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if not _is_own(child)]


def _is_own(process: psutil.Process) -> bool:
    """Whether it belongs to this interpreter's multiprocessing, as tests without a supervisor use it."""
    return process.ppid() == os.getpid() and any(name in _command(process) for name in _OWN)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
