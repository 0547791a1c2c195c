"""The session `kills`: under steady load each target is killed again and again; then everything is checked."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from keepdb.client import Sidecar

from .evidence import gather, open_vault
from .faults import BACK_S, Tree, kill
from .history import History, Request, check
from .load import Acks, Client
from .watchers import LiveWatcher, StreamWatcher, Watcher

ACTORS = ("encryption", "writer", "query-1", "query-2", "cache", "backup", "health")
FORKSERVER = "forkserver"
PASSPHRASE = "four plain words suffice"
CLIENTS = 4

#: Every kill is an accident of its own here, not one of a crash loop: the intensity that would end the tree is
#: lifted, and a second counts as a new period, so that back-off is not what is measured.
SETTINGS = {"supervisor.restarts_max": "1000000", "supervisor.restarts_period_s": "1"}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """rounds: kills of each target. rate: commits per second of all clients together."""

    targets: tuple[str, ...]
    rounds: int
    seed: int
    rate: float = 200.0


class Kill(msgspec.Struct, frozen=True):
    """One kill, in seconds. ack: until a request sent after it was acknowledged. whole: until all actors were
    ready. silent: the longest time without any acknowledgement until then."""

    target: str
    ack_s: float
    whole_s: float
    silent_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a session showed. seconds: of load."""

    plan: Plan
    kills: list[Kill]
    requests: list[Request]
    events: int
    seconds: float
    violations: list[str]


def run(plan: Plan, scratch: Path, progress: Callable[[str], None] = lambda _: None) -> Outcome:
    """One whole session in `scratch`, which is empty and exists."""
    data = scratch / "data"
    with Sidecar.start(data, passphrase=PASSPHRASE, settings=SETTINGS) as sidecar:
        session = Session(plan, sidecar)
        session.start()
        for number, target in enumerate(session.order(), 1):
            done = session.kill_one(target)
            progress(
                f"{number}/{plan.rounds * len(plan.targets)} {target}: next acknowledgement after "
                f"{done.ack_s * 1000:.0f} ms, whole after {done.whole_s * 1000:.0f} ms"
            )
        session.finish()
        status = sidecar.stop()
    rebuilt = scratch / "rebuilt"
    rebuilt.mkdir()
    history = History(
        requests=session.requests,
        streams=[watcher.stream for watcher in session.streams],
        live=[session.live.live],
        evidence=gather(open_vault(data, PASSPHRASE), rebuilt),
    )
    violations = [*session.violations, *check(history)]
    if status != 0:
        violations.append(f"stop: the supervisor ended with status {status}")
    return Outcome(
        plan=plan, kills=session.kills, requests=session.requests, events=len(history.evidence.log),
        seconds=session.seconds, violations=violations,
    )  # fmt: skip


class Session:
    """Load, watchers and kills on one running database."""

    def __init__(self, plan: Plan, sidecar: Sidecar) -> None:
        self.kills: list[Kill] = []
        self.violations: list[str] = []
        self.seconds = 0.0
        self.streams = [StreamWatcher(name, sidecar) for name in ("query-1", "query-2")]
        self.live = LiveWatcher(sidecar)
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._acks = Acks()
        self._clients = [
            Client(f"c{number}", sidecar, plan.rate / CLIENTS, self._acks) for number in range(1, CLIENTS + 1)
        ]
        self._db = sidecar.connect()
        self._tree = Tree(sidecar, self._db)
        self._began = 0.0

    @property
    def requests(self) -> list[Request]:
        return [request for client in self._clients for request in client.requests]

    def order(self) -> list[str]:
        """Which target is killed when: every round kills each once, in an order of the seed's."""
        rounds = [
            self._random.sample(self._plan.targets, len(self._plan.targets)) for _ in range(self._plan.rounds)
        ]
        return [target for one in rounds for target in one]

    def start(self) -> None:
        self._tree.wait_whole(set())
        for watcher in (*self.streams, self.live):
            watcher.start()
            watcher.subscribed.wait(BACK_S)
        self._began = time.monotonic()
        for client in self._clients:
            client.start()

    def kill_one(self, target: str) -> Kill:
        """Kill one target at a moment of the seed's, and wait until all is well again."""
        self._acks.wait_more(self._random.randint(20, 80), BACK_S)
        before = self._tree.pids()
        pid = self._tree.forkserver() if target == FORKSERVER else before[target]
        at = kill(pid)
        self._acks.mark(at)
        acked_at = self._acks.wait_mark(at, BACK_S)
        gone = set(before.values()) if target == FORKSERVER else {pid}
        whole_at = self._tree.wait_whole(gone)
        if not acked_at:
            self.violations.append(f"stuck: no acknowledgement within {BACK_S} s after {target} was killed")
        if left := self._tree.strangers():
            self.violations.append(f"orphan: {left} still hold files after {target} was killed")
        done = Kill(
            target, (acked_at or at + BACK_S) - at, whole_at - at, self._acks.longest_silence(at, whole_at)
        )
        self.kills.append(done)
        return done

    def finish(self) -> None:
        """End the load, let the watchers catch up, and close."""
        for client in self._clients:
            client.end()
        self.seconds = time.monotonic() - self._began
        seq = self._db.writer_status().seq
        for watcher in (*self.streams, self.live):
            watcher.end(seq)
        threads: list[Client | Watcher] = [*self._clients, *self.streams, self.live]
        for thread in threads:
            if thread.error is not None or thread.is_alive():
                self.violations.append(f"client: {thread.name} failed with {thread.error!r}")
        for request in self.requests:
            if request.refused:
                self.violations.append(
                    f"refused: request {request.number} of {request.client}: {request.refused}"
                )
            elif not request.acked_at:
                self.violations.append(f"unanswered: request {request.number} of {request.client}")
        self._db.close()
