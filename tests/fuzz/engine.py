"""Drives the live engine as the query actor does. The only module here that knows the engine's interface."""

from collections.abc import Iterator
from contextlib import contextmanager

from keepdb.clock import SystemClock
from keepdb.live import horizon
from keepdb.live.buffer import weigh
from keepdb.live.buffered import BufferedWindow
from keepdb.live.engine import LiveEngine
from keepdb.query.limits import QueryLimits
from keepdb.query.plan import Plan
from keepdb.storage.changes import ChangeBatch
from messages.queries import Push

from .holder import Wrong
from .world import CATALOG, World


@contextmanager
def spare_rows(count: int) -> Iterator[None]:
    """Windows keep so many rows behind the visible ones, 1 or more. With their 10 they hardly ever run out."""
    before, horizon._SLACK_MIN = horizon._SLACK_MIN, count
    try:
        yield
    finally:
        horizon._SLACK_MIN = before


class Clock(SystemClock):
    """Goes on by `step` seconds whenever somebody looks at it, so that an episode can be played again."""

    step = seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += self.step
        return self.seconds


class Live:
    """One engine on one world."""

    def __init__(self, world: World, limits: QueryLimits) -> None:
        self._world = world
        self.clock = Clock()
        self.engine = LiveEngine(CATALOG, limits, self.clock, world.open_values)

    def subscribe(self, client: bytes, sub: str, plan: Plan, credit: int, at_least: int) -> None:
        self.engine.subscribe(client, sub, plan, credit, at_least)

    def unsubscribe(self, client: bytes, sub: str) -> None:
        self.engine.unsubscribe(client, sub)

    def drop_client(self, client: bytes) -> None:
        self.engine.drop_client(client)

    def ack(self, client: bytes, sub: str, count: int) -> None:
        self.engine.ack(client, sub, count)

    def restart(self) -> None:
        """The world has another state file."""
        self.engine.restart()

    def retry(self) -> None:
        """What failed for a while is tried again."""
        self.engine.retry()

    @property
    def waiting(self) -> bool:
        """Whether another turn has something to do although nothing more was written."""
        return self.engine.waiting

    @property
    def reads(self) -> int:
        """How often a live query has read its tables."""
        return self.engine.reads

    def rests(self) -> bool:
        """Whether a query rests; then its time has come now."""
        rest_s = self.engine.rest_s
        self.clock.seconds += rest_s or 0.0
        return rest_s is not None

    def assert_counts_are_right(self) -> None:
        """What is counted along is what counting anew gives."""
        registry = self.engine._registry
        if registry.size != sum(window.counted for window in registry.windows.values()):
            raise Wrong("the sizes of all windows do not add up", None, registry.size)
        for window in registry.windows.values():
            if isinstance(window, BufferedWindow):
                packed = sum(weigh(entry.raw) for entry in window.buffer.entries)
                if packed != window.buffer.size:
                    raise Wrong(f"a window counts wrongly: {window.plan}", packed, window.buffer.size)

    def assert_nothing_is_left(self) -> None:
        """Nobody is subscribed any more."""
        engine, registry = self.engine, self.engine._registry
        left = [
            registry.windows,
            registry.router._tables,
            engine._unread,
            engine._resting,
            engine._retry,
            engine._behind,
        ]
        if any(left) or registry.size or registry.subscribers:
            raise Wrong("something stays behind when everybody has gone", None, left)

    def turn(self) -> list[tuple[bytes, Push]]:
        """What is sent to whom."""
        return [*self.engine.turn(self._world.reader, self._changes_after)]

    def _changes_after(self, seq: int, limit_bytes: int) -> list[ChangeBatch] | None:
        return self._world.seen.changes_after(seq, limit_bytes)


class Deaf(Live):
    """Is not told of every tenth batch of changes: the harness must see that."""

    batches = 0

    def _changes_after(self, seq: int, limit_bytes: int) -> list[ChangeBatch] | None:
        given = super()._changes_after(seq, limit_bytes)
        if given is None:
            return None
        self.batches += len(given)
        if given and self.batches % 10 < len(given):
            given[-1] = ChangeBatch(given[-1].seq_first, given[-1].seq_last, [])
        return given
