"""The tree when things go wrong with it: a supervisor that fails, actors that never start or never stop, strangers.

Run as a program, this file is a database like any other, but for defects that files in its directory ask for.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from hosting import FRAME, PASSPHRASE, Host, actors, all_running, hosting, wait_until
from leftovers import holders_after, mode_of, run_directory, run_files

from actors.registry import REGISTRY
from keepdb.client import Database, Sidecar, connect
from keepdb.errors import StorageError
from keepdb.fabric.actor import ProcessActor
from keepdb.runtime import rundir
from keepdb.runtime.host_frame import HostFrame
from keepdb.runtime.main import Options, run_supervisor
from keepdb.runtime.start import Registry
from messages.base import Done
from messages.control import Shutdown

#: A host waits no longer for us, see keepdb/client/sidecar.py.
STOP_S = 15.0
IMPATIENT = ("--set", "supervisor.restarts_max=3", "--set", "supervisor.backoff_ms=10")


# -- a supervisor that fails -------------------------------------------------------------------------------


def test_a_supervisor_that_fails_takes_its_children_along_before_it_lets_go_of_the_lock(
    tmp_path: Path,
) -> None:
    """Verifies: L6 L7."""
    run = rundir.default_run_directory(tmp_path / "db")
    (run / "connection.json").mkdir(mode=0o700, parents=True)
    for folder in (run, run.parent):
        folder.chmod(0o700)

    status, lines, _, _ = Host(tmp_path / "db").outcome()

    assert (status, [line["code"] for line in lines]) == (1, ["supervisor_crashed"])
    assert "connection.json" in lines[0]["message"]
    assert holders_after(tmp_path, 0.0) == []
    (run / "connection.json").rmdir()


def test_a_lock_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "db" / "lock").mkdir(parents=True)

    status, lines, errors, _ = Host(tmp_path / "db").outcome()

    assert (status, [line["code"] for line in lines], errors) == (1, ["data_unusable"], "")


def test_an_unforeseen_refusal_of_the_system_at_the_start_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "logs").touch()

    status, lines, _, _ = Host(tmp_path / "db").outcome()

    assert (status, [line["code"] for line in lines]) == (1, ["start_crashed"])
    assert "logs" in lines[0]["message"]
    assert lines[0]["fix"]


# -- actors that fail --------------------------------------------------------------------------------------


def test_an_actor_the_database_can_do_without_fails_alone_and_is_tried_again(tmp_path: Path) -> None:
    """Verifies: L6."""
    options = (*IMPATIENT, "--set", "supervisor.backoff_ms_max=200")
    with hosting(tmp_path / "db", FRAME, *options), connect(tmp_path / "db") as db:
        wait_until(lambda: all_running(db), 10)
        kill_again_and_again(db, "health", 4)

        wait_until(lambda: actors(db)["health"].state == "failed", 10)
        assert db.status().state == "degraded"
        assert db.commit("personas.created", {"name": "Ada"}).seq_first == 1
        wait_until(lambda: all_running(db), 15)
        assert db.status().state == "ready"


def test_a_core_actor_that_fails_again_and_again_ends_everything_with_the_reason(tmp_path: Path) -> None:
    """Verifies: L6."""
    with hosting(tmp_path / "db", FRAME, *IMPATIENT) as host, connect(tmp_path / "db") as db:
        wait_until(lambda: all_running(db), 10)
        kill_again_and_again(db, "query-2", 4)
        status, lines, _, _ = host.outcome()

    assert (status, [line["code"] for line in lines]) == (69, ["restarts_exhausted"])
    assert "query-2" in lines[0]["message"]


def test_what_a_query_actor_takes_for_permanent_does_not_end_the_database(tmp_path: Path) -> None:
    """Everything it reads can be derived anew, and the writer may be about to."""
    defect(tmp_path / "db", "fail-once", "query-1")

    host = DefectiveHost(tmp_path / "db")
    try:
        assert host.line()["event"] == "ready"
        with connect(tmp_path / "db") as db:
            assert actors(db)["query-1"].restarts == 1
    finally:
        host.close()


def test_what_the_encryption_actor_takes_for_permanent_ends_everything_at_once(tmp_path: Path) -> None:
    defect(tmp_path / "db", "fail-once", "encryption")

    status, lines, _, _ = DefectiveHost(tmp_path / "db").outcome()

    assert (status, [line["code"] for line in lines]) == (1, ["file_unreadable"])


def test_an_actor_that_lives_but_never_becomes_ready_is_not_waited_for_forever(tmp_path: Path) -> None:
    """Verifies: L6. Its loop beats all the time."""
    defect(tmp_path / "db", "never-ready", "query-1")
    options = ("--set", "supervisor.ready_timeout_ms=4000", "--set", "supervisor.restarts_max=1")

    status, lines, _, _ = DefectiveHost(tmp_path / "db", *options).outcome()

    assert (status, [line["code"] for line in lines]) == (69, ["restarts_exhausted"])
    assert "query-1" in lines[0]["message"]
    assert "not ready after" in lines[0]["message"]


# -- stopping ----------------------------------------------------------------------------------------------


def test_actors_that_are_stuck_hold_up_the_stop_for_fifteen_seconds_at_most(tmp_path: Path) -> None:
    """Verifies: L6. Meanwhile the supervisor says what it is doing."""
    with hosting(tmp_path / "db") as host, connect(tmp_path / "db") as db:
        wait_until(lambda: all_running(db), 10)
        for actor in db.status().actors:
            os.kill(actor.pid, signal.SIGSTOP)
        began = time.monotonic()

        db.ask("supervisor", Shutdown(), Done)

        status = db.status()
        assert status.state == "stopping"
        assert status.actors[-1].state == "stopping"
        assert host.process.wait(STOP_S + 5) == 0
        assert time.monotonic() - began < STOP_S
        assert holders_after(tmp_path, 0.0) == []


# -- the run directory -------------------------------------------------------------------------------------


def test_two_databases_and_a_strangers_files_share_a_place_for_sockets(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Verifies: L7."""
    place = tmp_path_factory.mktemp("r")
    place.chmod(0o700)
    strangers = [place / name for name in ("settings.json", "writer.sock", "x.feed")]
    for path in strangers:
        path.touch()
    settings = {"transport.run_dir": str(place)}

    with start(tmp_path / "a", settings) as first, start(tmp_path / "b", settings) as second:
        assert run_directory(tmp_path / "a") != run_directory(tmp_path / "b")
        for sidecar in (first, second):
            assert mode_of(run_directory(sidecar.data)) == 0o700
            with sidecar.connect() as db:
                assert db.commit("personas.created", {"name": "Ada"}).seq_first == 1

    assert all(path.exists() for path in strangers)
    assert run_files(tmp_path / "a") == run_files(tmp_path / "b") == []


# -- loopback tcp ------------------------------------------------------------------------------------------


def test_a_writer_whose_ports_were_taken_by_a_stranger_moves_and_is_found(tmp_path: Path) -> None:
    with start(tmp_path / "db", {"transport.kind": "tcp"}) as sidecar, sidecar.connect() as before:
        wait_until(lambda: all_running(before), 10)
        (writer,) = (service for service in before.status().services if service.name == "writer")
        pid = actors(before)["writer"].pid
        os.kill(pid, signal.SIGKILL)
        taken = [taken_port(endpoint) for endpoint in (writer.endpoint, writer.feed)]
        try:
            wait_until(lambda: all_running(before, frozenset({pid})), 10)
            with connect(tmp_path / "db") as db, db.watch({"from": "personas"}) as live:
                assert live.update(5.0) is not None
                began = time.monotonic()
                for number in range(4):
                    db.commit("personas.created", {"name": f"Ada {number}"})
                    assert live.update(5.0) is not None
                # Without its hints the query actor would look once a second only.
                assert time.monotonic() - began < 2.0
        finally:
            for one in taken:
                one.close()


# -- secrets -----------------------------------------------------------------------------------------------


def test_a_running_supervisor_holds_no_secret_it_was_unlocked_with(tmp_path: Path) -> None:
    """Verifies: L4."""
    done = subprocess.run(
        [sys.executable, __file__, "holders", str(tmp_path / "db")],
        capture_output=True,
        env=environment(),
        timeout=30,
    )

    # The list, and the argument of the counting function.
    assert done.stdout.decode().split() == ["frame=2", "passphrase=2"], done.stderr.decode()


def test_neither_a_debugger_nor_a_core_of_the_same_user_sees_memory() -> None:
    """Verifies: L4."""
    if sys.platform != "linux":
        return
    assert seen_by_the_same_user("pass")
    assert not seen_by_the_same_user("from keepdb.runtime.host import prepare_process; prepare_process()")


def test_a_client_loads_no_key_code() -> None:
    code = "import keepdb.client, sys; print([name for name in sys.modules if 'keepdb.crypto' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=30)

    assert done.stdout.decode().strip() == "[]", done.stderr.decode()


# -- means -------------------------------------------------------------------------------------------------


def start(data: Path, settings: dict[str, str]) -> Sidecar:
    return Sidecar.start(data, passphrase=PASSPHRASE, settings=settings)


def kill_again_and_again(db: Database, name: str, times: int) -> None:
    killed: set[int] = set()
    for _ in range(times):
        wait_until(lambda: actors(db)[name].pid not in killed and actors(db)[name].state == "ready", 10)
        killed.add(pid := actors(db)[name].pid)
        os.kill(pid, signal.SIGKILL)


def taken_port(endpoint: str) -> socket.socket:
    """The port of an endpoint whose owner has just been killed, bound before its successor is there."""
    port = int(endpoint.rpartition(":")[2])
    deadline = time.monotonic() + 5
    while True:
        mine = socket.socket()
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            mine.bind(("127.0.0.1", port))
            mine.listen()
            return mine
        except OSError:
            mine.close()
            assert time.monotonic() < deadline


def seen_by_the_same_user(preparation: str) -> bool:
    """Whether a process after this preparation can be looked into by another one of its user without privileges."""
    code = f"{preparation}\nprint(flush=True)\nimport sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), preexec_fn=drop_privileges,
    ) as target:  # fmt: skip
        assert target.stdout is not None
        assert target.stdout.readline() == b"\n"
        look = f"open('/proc/{target.pid}/maps').read()"
        return (
            subprocess.run(
                [sys.executable, "-c", look],
                stderr=subprocess.DEVNULL,
                preexec_fn=drop_privileges,
                timeout=30,
            ).returncode
            == 0
        )


def drop_privileges() -> None:
    """What the superuser may do above others is lost with the next program. PR_CAPBSET_DROP of <linux/prctl.h>."""
    for capability in range(64):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


# -- a database with defects -------------------------------------------------------------------------------


def defect(data: Path, kind: str, actor: str) -> None:
    """Ask the database that is started in `data` next for a defect of one of its actors."""
    data.mkdir(exist_ok=True)
    (data / f"{kind}.{actor}").touch()


class DefectiveHost(Host):
    """This file in place of supervisor.py."""

    def __init__(self, data: Path, *options: str) -> None:
        settings = [word for word in options if word != "--set"]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "host", str(data), *settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        self._is_over = False
        self._input = self.process.stdin


def load(name: str) -> type[ProcessActor]:
    """The actor's class, with the defects that files ask for."""
    well = REGISTRY.load(name)

    class Defective(well):  # type: ignore[misc, valid-type]
        def on_ready(self) -> None:
            once = Path(self.seat.data) / f"fail-once.{name}"
            if once.exists():
                once.unlink()
                raise StorageError("file_unreadable", "It does not open.", fix="Try again.")
            while (Path(self.seat.data) / f"never-ready.{name}").exists():
                self._beat()
                threading.Event().wait(0.02)
            super().on_ready()

    return cast("type[ProcessActor]", Defective)


def run_defective(data: Path, settings: list[str]) -> int:
    from keepdb.runtime.main import print_line

    registry = Registry(specs=REGISTRY.specs, load=load, preload=REGISTRY.preload)
    options = Options(data=data, settings=dict(pair.split("=") for pair in settings))
    return run_supervisor(registry, options, lambda: HostFrame(passphrase=PASSPHRASE), print_line)


def count_holders(data: Path) -> int:
    """Run a database that counts, as soon as it is ready, who refers to its secrets, and ends."""
    held = [HostFrame(passphrase="".join(PASSPHRASE))]

    def emit(line: dict[str, Any]) -> None:
        if line["event"] == "ready":
            counted = sys.getrefcount(held[0]), sys.getrefcount(held[0].passphrase)
            sys.stdout.write("frame={} passphrase={}\n".format(*counted))
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGTERM)

    return run_supervisor(REGISTRY, Options(data=data), lambda: held[0], emit)


if __name__ == "__main__":
    how, where, *rest = sys.argv[1:]
    sys.exit(run_defective(Path(where), rest) if how == "host" else count_holders(Path(where)))
