"""Child specs and the handle of one child process, in OTP's words."""

import contextlib
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Literal

import msgspec

from messages.control import Service

#: A killed process that has not gone after this long is stuck in the kernel; nothing more can be done.
KILL_WAIT_S = 5.0

State = Literal["waiting", "starting", "ready", "backoff", "stopped"]


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one actor and what it gets.

    name: also its service name. needs: peers whose endpoints must be known before it starts (start order
    follows). secrets: labels of the derived keys it gets. feed: it publishes. clients: keys of apps and
    operators are admitted. core: the database is ready only when this actor is.
    restart is always permanent: every actor belongs to the tree for as long as it runs.
    """

    name: str
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    feed: bool = False
    clients: bool = True
    core: bool = False


class Child:
    """A child's process and what the supervisor knows of it. Times are monotonic seconds."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.state: State = "waiting"
        self.process: BaseProcess | None = None
        self.incarnation = 0
        self.service: Service | None = None
        self.route = b""
        self.restarts: list[float] = []
        self.restarts_total = 0
        self.started_at = 0.0
        self.ready_at = 0.0
        self.heard_at = 0.0
        self.degraded = ""
        self.reason = ""

    @property
    def pid(self) -> int:
        return (self.process.pid or 0) if self.process is not None else 0

    def began(self, process: BaseProcess, now: float, on_exit: Callable[[], None]) -> None:
        """A process was started; on_exit is called once, from another thread, when it ends."""
        self.process = process
        self.state = "starting"
        self.started_at = self.heard_at = now
        self.degraded = ""
        sentinel = process.sentinel

        def wait() -> None:
            connection.wait([sentinel])
            # The context of a supervisor that is itself ending may be gone.
            with contextlib.suppress(Exception):
                on_exit()

        threading.Thread(target=wait, name=f"watch-{self.spec.name}", daemon=True).start()

    def kill(self) -> None:
        """SIGKILL and wait: a stopped process ignores SIGTERM, and its successor must find it gone."""
        if self.process is not None:
            self.process.kill()
            self.process.join(KILL_WAIT_S)
