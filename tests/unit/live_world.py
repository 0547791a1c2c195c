"""A world with a live engine on it, and clients that only ever apply what they are sent."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from test_query_world import CATALOG, World, world_in

from keepdb.clock import SystemClock
from keepdb.errors import Unavailable
from keepdb.live.diff import apply_diff, same_value
from keepdb.live.engine import ChangesAfter, LiveEngine
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import SealedItem
from keepdb.query.plan import Plan
from keepdb.query.run import RawResult, Reader
from messages.queries import Diff, Explanation, LiveFailed, Query, Snapshot, Sql

ME, YOU = b"client 1", b"client 2"


class Client:
    """What a client does with its pushes: it only ever applies them."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.key = -1
        self.seq = -1
        self.cursor: str | None = None
        self.kinds: list[str] = []
        self.diff = Diff(sub="", seq=-1)
        self.failed = LiveFailed(sub="", code="", message="", fix="")

    def take(self, push: Snapshot | Diff | LiveFailed) -> None:
        self.kinds.append(type(push).__name__)
        if isinstance(push, LiveFailed):
            self.failed = push
            return
        assert push.seq >= self.seq
        self.seq, self.cursor = push.seq, push.cursor
        if isinstance(push, Snapshot):
            self.rows, self.key = push.rows, push.key
        else:
            self.diff = push
            self.rows = apply_diff(self.rows, self.key, push)

    @property
    def ids(self) -> list[Any]:
        return [row[self.key] for row in self.rows]


class HandClock(SystemClock):
    """Stands still until a test moves it. seconds: the time."""

    seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


class InterruptedReader(Reader):
    """meanwhile: runs once, as soon as a snapshot is taken, such as a write that lands during a read. before_run: runs
    before each query that is run as a whole."""

    meanwhile: Callable[[], None] | None = None
    before_run: Callable[[], None] | None = None

    def run(self, plan: Plan) -> RawResult:
        if self.before_run is not None:
            self.before_run()
        return super().run(plan)

    def position(self) -> int:
        seq = super().position()
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return seq


class Stage:
    """vault_is_down: nothing can be opened for a while. changes_after: where the engine reads of changes."""

    def __init__(self, world: World, limits: QueryLimits) -> None:
        self.world = world
        self.reader = InterruptedReader(
            world.connection, CATALOG, clock=SystemClock(), open_values=self.open_values, limits=limits
        )
        self.clock = HandClock()
        self.engine = LiveEngine(CATALOG, limits, self.clock, self.open_values)
        self.clients: dict[tuple[bytes, str], Client] = {}
        self.changes_after: ChangesAfter = world.file.changes_after
        self.vault_is_down = False

    def open_values(self, items: list[SealedItem]) -> Sequence[bytes | None]:
        if self.vault_is_down:
            raise Unavailable("encryption_down", "Not there.", fix="Wait.")
        return self.world.open_values(items)

    def plan(self, source: str = "things", **parts: Any) -> Plan:
        return self.reader.plan(Query(source=source, **parts), None)

    def sql(self, text: str, *params: Any, **named: Any) -> Plan:
        return self.reader.plan(None, Sql(sql=text, params=named or list(params)))

    def subscribe(
        self, sub: str, plan: Plan, client: bytes = ME, credit: int = 100, at_least: int = 0
    ) -> Client:
        self.engine.subscribe(client, sub, plan, credit, at_least)
        return self.clients.setdefault((client, sub), Client())

    def watch(self, plan: Plan, sub: str = "s") -> Client:
        """Subscribe, and take the first push."""
        client = self.subscribe(sub, plan)
        self.settle()
        return client

    def turn(self) -> int:
        """One turn of the actor; returns how many pushes it gave."""
        pushes = self.engine.turn(self.reader, self.changes_after)
        for client, push in pushes:
            self.clients[client, push.sub].take(push)
        return len(pushes)

    def hear(self) -> None:
        """What the actor does when the feed says that something changed."""
        self.turn()
        self.settle()

    def settle(self) -> None:
        while self.engine.waiting:
            self.turn()

    def put(self, *rows: dict[str, Any], table: str = "things") -> None:
        """Write rows in one transaction, and hear of it."""
        self.world.put(table, *rows)
        self.hear()

    def delete(self, *ids: str, table: str = "things") -> None:
        self.world.delete(table, *ids)
        self.hear()

    def explain(self, plan: Plan) -> Explanation:
        return self.engine.explain(plan, self.reader)

    def assert_holds(self, client: Client, plan: Plan) -> None:
        """The client has what a fresh read gives."""
        fresh = self.reader.run(plan)
        assert same_value(client.rows, fresh.rows), (client.rows, fresh.rows)
        assert client.cursor == fresh.cursor


@contextmanager
def stage_in(folder: Path, limits: QueryLimits | None = None) -> Iterator[Stage]:
    with world_in(folder) as world:
        yield Stage(world, limits or QueryLimits(credit_max=100))


def numbered(first: int, last: int) -> list[dict[str, Any]]:
    """Rows whose id and `i` are the same number."""
    return [{"id": f"{n:03}", "i": n} for n in range(first, last + 1)]
