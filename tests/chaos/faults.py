"""Faults: finding a process of the tree, killing it, and waiting until the tree is whole again."""

import os
import signal
import threading
import time

import psutil

from keepdb.client import Database, Sidecar
from messages.control import Status

#: Nothing may take longer to come back.
BACK_S = 30.0
_LOOK_S = 0.01
RUNNING = frozenset({"ready", "stable", "busy", "degraded"})


class Tree:
    """The processes of one running database, as the supervisor and the system see them."""

    def __init__(self, sidecar: Sidecar, db: Database) -> None:
        self._sidecar = sidecar
        self._db = db

    def pids(self) -> dict[str, int]:
        """Actor -> process id."""
        return {actor.name: actor.pid for actor in self._db.status().actors}

    def forkserver(self) -> int:
        """The process that the actors are forked from."""
        for child in psutil.Process(self._sidecar.process.pid).children():
            if any("multiprocessing.forkserver" in word for word in child.cmdline()):
                return child.pid
        raise LookupError("there is no forkserver")

    def wait_whole(self, gone: set[int]) -> float:
        """Wait until every actor runs in a process that is not among `gone`; returns when, in monotonic seconds."""
        deadline = time.monotonic() + BACK_S
        while time.monotonic() < deadline:
            if is_whole(self._db.status(), gone):
                return time.monotonic()
            # The supervisor offers no "tell me when", so it is asked again and again.
            threading.Event().wait(_LOOK_S)
        raise TimeoutError(f"not whole again after {BACK_S} s: {self._db.status().actors}")

    def strangers(self) -> list[int]:
        """Processes that have files of the data directory open and are not the tree's: left-over actors."""
        known = {*self.pids().values(), self._sidecar.process.pid, os.getpid()}
        data = str(self._sidecar.data)
        return [pid for pid in psutil.pids() if pid not in known and _holds(pid, data)]


def is_whole(status: Status, gone: set[int]) -> bool:
    """Whether every actor is ready in a process of its own that is not among `gone`."""
    return all(actor.state in RUNNING and actor.pid not in gone for actor in status.actors)


def kill(pid: int) -> float:
    """SIGKILL; returns a time, in monotonic seconds, from which on the process does nothing more."""
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def _holds(pid: int, data: str) -> bool:
    try:
        return any(file.path.startswith(data) for file in psutil.Process(pid).open_files())
    except psutil.Error:
        return False
