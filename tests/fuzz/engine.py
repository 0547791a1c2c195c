"""Drives the live engine as the query actor does. The only module here that knows the engine's interface."""

from collections.abc import Iterator
from contextlib import contextmanager

from keepdb.clock import SystemClock
from keepdb.live import horizon
from keepdb.live.engine import LiveEngine
from keepdb.query.limits import QueryLimits
from keepdb.query.plan import Plan
from keepdb.storage.changes import ChangeBatch
from messages.queries import Push

from .world import CATALOG, World


@contextmanager
def spare_rows(count: int) -> Iterator[None]:
    """Windows keep so many rows behind the visible ones, 1 or more. With their 10 they hardly ever run out."""
    before, horizon._SLACK_MIN = horizon._SLACK_MIN, count
    try:
        yield
    finally:
        horizon._SLACK_MIN = before


class Live:
    """One engine on one world."""

    def __init__(self, world: World, limits: QueryLimits) -> None:
        self._world = world
        self._engine = LiveEngine(CATALOG, limits, SystemClock(), world.open_values)

    def subscribe(self, client: bytes, sub: str, plan: Plan, credit: int, at_least: int) -> None:
        self._engine.subscribe(client, sub, plan, credit, at_least)

    def unsubscribe(self, client: bytes, sub: str) -> None:
        self._engine.unsubscribe(client, sub)

    def drop_client(self, client: bytes) -> None:
        self._engine.drop_client(client)

    def ack(self, client: bytes, sub: str, count: int) -> None:
        self._engine.ack(client, sub, count)

    def restart(self) -> None:
        """The world has another state file."""
        self._engine.restart()

    def retry(self) -> None:
        """What failed for a while is tried again."""
        self._engine.retry()

    @property
    def waiting(self) -> bool:
        """Whether another turn has something to do although nothing more was written."""
        return self._engine.waiting

    @property
    def reads(self) -> int:
        """How often a live query has read its tables."""
        return self._engine.reads

    def turn(self) -> list[tuple[bytes, Push]]:
        """What is sent to whom."""
        return [*self._engine.turn(self._world.reader, self._changes_after)]

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
