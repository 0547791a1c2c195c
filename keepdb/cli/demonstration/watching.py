"""A second window: a live query in a thread of its own while the documents come in."""

import threading
from typing import Any

from keepdb.client.database import Database
from keepdb.client.sidecar import Sidecar
from keepdb.clock import Clock
from keepdb.errors import KeepError

#: The list of personas, as an app shows it: packages come in one by one, before the kill and after it.
PERSONAS: dict[str, Any] = {"from": "personas", "orderBy": ["name"], "limit": 1_000, "select": ["name"]}
POLL_S = 0.2
SETTLE_S = 15.0


class Watcher:
    """diffs, snapshots: pushes received. error: why it ended, if it did not end when told to."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.diffs = 0
        self.snapshots = 0
        self.rows: list[Any] = []
        self.error: KeepError | None = None
        self.opened = threading.Event()
        self._sidecar = sidecar
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="demo-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.opened.wait(SETTLE_S)

    def agrees_with(self, db: Database, clock: Clock) -> bool:
        """Whether the live result becomes what a query says now. Nothing is written meanwhile."""
        wanted = db.query(PERSONAS, timeout=SETTLE_S).rows
        deadline = clock.monotonic() + SETTLE_S
        pause = threading.Event()
        while clock.monotonic() < deadline and self.error is None:
            with self._lock:
                if self.rows == wanted:
                    return True
            pause.wait(POLL_S / 4)
        return False

    def stop(self) -> None:
        self._end.set()
        self._thread.join(SETTLE_S)

    def _run(self) -> None:
        try:
            # A connection of its own: a Database belongs to one thread.
            with self._sidecar.connect() as db, db.watch(PERSONAS) as live:
                while not self._end.is_set():
                    result = live.update(POLL_S)
                    self.opened.set()
                    if result is None:
                        continue
                    with self._lock:
                        self.rows = list(result.rows)
                        self.diffs += result.diff is not None
                        self.snapshots += result.diff is None
        except KeepError as error:
            self.error = error
        finally:
            self.opened.set()
