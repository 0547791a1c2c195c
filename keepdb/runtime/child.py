"""Child specs and the handle of one child process, in OTP's words."""

import contextlib
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Literal

import msgspec
import psutil

from keepdb.clock import Clock
from messages.control import Service

#: A killed process that has not gone after this long is stuck in the kernel; nothing more can be done.
KILL_WAIT_S = 2.0
#: How often it is looked whether a process has gone that we are no longer the parent of.
LOOK_S = 0.01

State = Literal["waiting", "starting", "ready", "backoff", "failed", "stopping", "stopped"]


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one actor and what it gets.

    name: also its service name. needs: peers whose endpoints must be known before it starts (start order
    follows). secrets: labels of the derived keys it gets. feed: it publishes. clients: keys of apps and
    operators are admitted. core: the database is ready only when this actor is.
    restart is always permanent: every actor belongs to the tree for as long as it runs. When restarting does
    not help, a core actor takes everything down with it; another one is tried again at long intervals.
    """

    name: str
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    feed: bool = False
    clients: bool = True
    core: bool = False


class Child:
    """A child's process and what the supervisor knows of it. Times are monotonic seconds.

    starting_s: how long it has been starting; what it announced and what it waited for others is not counted.
    """

    def __init__(self, spec: ChildSpec, clock: Clock) -> None:
        self.spec = spec
        self._clock = clock
        self.state: State = "waiting"
        self.process: BaseProcess | None = None
        self._identity: psutil.Process | None = None
        self.incarnation = 0
        self.service: Service | None = None
        self.route = b""
        self.restarts: list[float] = []
        self.restarts_total = 0
        self.started_at = 0.0
        self.starting_s = 0.0
        self.ready_at = 0.0
        self.heard_at = 0.0
        self.reason = ""

    @property
    def pid(self) -> int:
        return (self.process.pid or 0) if self.process is not None else 0

    def began(self, process: BaseProcess, on_exit: Callable[[], None]) -> None:
        """A process was started; on_exit is called once, from another thread, when it ends."""
        self.process = process
        # multiprocessing takes every child for ended when the forkserver has; pid and start time do not lie.
        self._identity = None
        with contextlib.suppress(psutil.Error):
            self._identity = psutil.Process(process.pid)
        self.state = "starting"
        self.route = b""
        self.started_at = self.heard_at = self._clock.monotonic()
        self.starting_s = 0.0
        sentinel = process.sentinel

        def wait() -> None:
            connection.wait([sentinel])
            # The context of a supervisor that is itself ending may be gone.
            with contextlib.suppress(Exception):
                on_exit()

        threading.Thread(target=wait, name=f"watch-{self.spec.name}", daemon=True).start()

    def is_alive(self) -> bool:
        """Whether its process runs; one that has ended and was not reaped yet does not."""
        known = self._identity
        try:
            return known is not None and known.is_running() and known.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def wait(self, seconds: float) -> bool:
        """Wait for the end of its process; False when it still runs after that time."""
        deadline = self._clock.monotonic() + seconds
        if self.process is not None:
            self.process.join(seconds)
        while self.is_alive():
            if self._clock.monotonic() >= deadline:
                return False
            threading.Event().wait(LOOK_S)
        return True

    def terminate(self) -> None:
        """SIGTERM: an actor takes it as the order to stop."""
        if self._identity is not None:
            with contextlib.suppress(psutil.Error):
                self._identity.terminate()

    def kill(self, wait_s: float = KILL_WAIT_S) -> None:
        """SIGKILL, because a stopped process ignores SIGTERM; wait for the end, as a successor must find it gone."""
        if self._identity is not None:
            with contextlib.suppress(psutil.Error):
                self._identity.kill()
            self.wait(wait_s)
