"""Load: clients that commit at a steady rate and write down what they asked for and what they were told."""

import threading
import time
from collections import deque
from itertools import cycle, pairwise

from keepdb.client import Database, NewEvent, PendingCommit, Sidecar
from keepdb.errors import KeepError
from messages.commits import Durability

from .history import Request

#: Kinds of commits, taken in turn: how durable, how many events.
KINDS: tuple[tuple[Durability, int], ...] = (("disk", 1), ("os", 1), ("disk", 3), ("os", 2), ("disk", 1))
#: Longer than any restart: a request is only given up when the database is.
TIMEOUT_S = 60.0
#: Requests one client has under way at most; past that it waits, as an app would.
UNDERWAY_MAX = 200


class Acks:
    """Acknowledgements of all clients, for whoever waits for the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._times: deque[float] = deque(maxlen=100_000)
        self.count = 0
        self.first_after: dict[float, float] = {}

    def note(self, sent_at: float, acked_at: float) -> None:
        """A request sent at one time was acknowledged at the other."""
        with self._changed:
            self.count += 1
            self._times.append(acked_at)
            for mark in self.first_after:
                if sent_at > mark and not self.first_after[mark]:
                    self.first_after[mark] = acked_at
            self._changed.notify_all()

    def wait_more(self, more: int, timeout: float) -> bool:
        """Wait for that many further acknowledgements; False when time is up."""
        with self._changed:
            goal = self.count + more
            return self._changed.wait_for(lambda: self.count >= goal, timeout)

    def mark(self, at: float) -> None:
        """From now on remember the first acknowledgement of a request that was sent after `at`."""
        with self._changed:
            self.first_after[at] = 0.0

    def wait_mark(self, at: float, timeout: float) -> float:
        """When it came, 0.0 if it did not within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.first_after[at] > 0.0, timeout)
            return self.first_after.pop(at)

    def longest_silence(self, start: float, end: float) -> float:
        """Longest time without an acknowledgement between two moments."""
        with self._changed:
            inside = sorted(at for at in self._times if start < at < end)
        return max(after - before for before, after in pairwise([start, *inside, end]))


class Client(threading.Thread):
    """One client in a thread of its own. credulous: takes sending for being acknowledged (a negative control)."""

    def __init__(
        self, name: str, sidecar: Sidecar, rate: float, acks: Acks, *, credulous: bool = False
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.requests: list[Request] = []
        self.error: BaseException | None = None
        self._sidecar = sidecar
        self._pause = 1.0 / rate
        self._acks = acks
        self._credulous = credulous
        self._ending = threading.Event()
        self._abandoned = threading.Event()
        self._underway: deque[tuple[Request, PendingCommit]] = deque()

    def end(self, *, abandon: bool = False) -> None:
        """Send no more; wait for what is under way, unless it is abandoned."""
        if abandon:
            self._abandoned.set()
        self._ending.set()
        self.join(TIMEOUT_S)

    def run(self) -> None:
        try:
            with self._sidecar.connect() as db:
                self._commit_until_the_end(db)
        except BaseException as error:
            self.error = error

    def _commit_until_the_end(self, db: Database) -> None:
        kinds = cycle(KINDS)
        due = time.monotonic()
        while not self._ending.is_set():
            now = time.monotonic()
            if now >= due and len(self._underway) < UNDERWAY_MAX:
                self._commit(db, *next(kinds))
                due = max(due + self._pause, now - 10 * self._pause)
            db.link.pump(max(0.001, min(due - time.monotonic(), self._pause)))
            self._harvest()
        while self._underway and not self._abandoned.is_set():
            db.link.pump(0.05)
            self._harvest()

    def _commit(self, db: Database, durability: Durability, events: int) -> None:
        number = len(self.requests) + 1
        ids = tuple(f"{self.name}-{number}-{place}" for place in range(events))
        request = Request(
            client=db.client_id.hex(), number=number, ids=ids, durability=durability, sent_at=time.monotonic()
        )
        self.requests.append(request)
        new = [NewEvent(type="memoryEntities.created", id=name, data=_entity(name)) for name in ids]
        self._underway.append((request, db.submit(new, durability=durability, timeout=TIMEOUT_S)))
        if self._credulous:
            request.acked_at = request.sent_at

    def _harvest(self) -> None:
        now = time.monotonic()
        for request, pending in [one for one in self._underway if one[1].answered]:
            self._underway.remove((request, pending))
            try:
                receipt = pending.receipt()
            except KeepError as error:
                request.refused = error.code
                continue
            request.acked_at, request.seq_first, request.seq_last = now, receipt.seq_first, receipt.seq_last
            self._acks.note(request.sent_at, now)


def _entity(name: str) -> dict[str, object]:
    return {"type": "knowledge", "name": name, "content": f"the sealed content of {name}", "tags": ["chaos"]}
