"""A query actor: reads, live queries and change streams, in as many processes as `query.workers` says.

*Owns* one read-only connection to the state, the windows of its live queries, the position of its streams.
*Handles* Read, Explain, Describe, Subscribe, SubscribeChanges, Unsubscribe, Ack, Ping, QueryStatus; CacheAt from the
cache.
*Emits* Snapshot, Diff, Changes, Rehydrate and LiveFailed pushes; CachePut to the cache.
*After a crash* its clients notice the new epoch and subscribe again from where they were.
"""

import logging
import secrets
import threading
from functools import partial
from pathlib import Path
from zlib import crc32

from keepdb.cache.reader import CacheReader
from keepdb.crypto import kdf
from keepdb.errors import StorageError, Unavailable
from keepdb.fabric.actor import DEFERRED, Deferred, ProcessActor, handles
from keepdb.fabric.vault import Vault
from keepdb.live.outbox import Outbox
from keepdb.live.subscriptions import Subscriptions
from keepdb.query.catalog import make_catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import SealedItem
from keepdb.query.plan import CompiledQuery, Plan
from keepdb.query.run import RawResult, Reader
from keepdb.query.waiting import WaitingList, answer, not_there_yet
from keepdb.schema.describe import describe
from keepdb.storage.state import StateFile
from messages.base import Done, Request
from messages.caching import CacheAt, CacheHello, CachePut
from messages.control import Service
from messages.feed import Advanced, StateSwitched
from messages.queries import (
    Ack,
    Describe,
    Description,
    Explain,
    Explanation,
    Moved,
    Ping,
    Pong,
    QueryFigures,
    QueryStatus,
    Read,
    Rows,
    Subscribe,
    SubscribeChanges,
    Subscribed,
    Unsubscribe,
)
from messages.sealing import Opened

logger = logging.getLogger("keepdb.query")

KIB, MIB = 1024, 1024 * 1024
#: How long opening the sealed values of one result may take.
ENCRYPTION_S = 2.0
#: At start the writer may still be building the state.
STATE_POLL_S = 0.02


class QueryActor(ProcessActor):
    """Everything it shows comes from snapshots of the state, so it can be killed at any time."""

    answers = (Opened,)

    def on_ready(self) -> None:
        config = self.seat.config
        self._limits = QueryLimits(
            limit_default=config.query.rows_default,
            limit_max=config.query.rows_max,
            time_s=config.query.time_ms_max / 1000,
            subscriptions=config.query.subscriptions_max,
            subscriptions_per_client=config.query.subscriptions_per_client_max,
            live_bytes=config.query.live_mib_max * MIB,
        )
        self._epoch = secrets.token_hex(8)
        self._vault = Vault(lambda: self.ref("encryption"))
        self._catalog = make_catalog(self.seat.schema)
        self._subscriptions = Subscriptions(self._catalog, self._limits, self.clock, self._open_values)
        self._engine, self._streams = self._subscriptions.live, self._subscriptions.streams
        self._outbox = Outbox(self.router, self.inbox.after, self._drop_client, self._subscriptions.end)
        self._cache = CacheReader(
            self.seat.secrets[kdf.CACHE], config.cache.size_mib * MIB, config.cache.entry_kib_max * KIB
        )
        self._waiting = WaitingList(self._limits)
        self._turn_due = self._look_due = False
        self._reads = self._slowest_us = 0
        self._workers = [f"query-{number}" for number in range(1, config.query.workers + 1)]
        self._open_state(self._find_state())
        self._feed = self.subscribe("writer", Advanced, StateSwitched)
        self._feed.hear(StateSwitched)
        self.inbox.every(1.0, self._tick)
        self._greet_cache()

    def _find_state(self) -> StateFile:
        """The current state; waits for the writer to build one. Its ready timeout bounds the wait."""
        problem = ""
        while True:
            try:
                state = StateFile.open_current(
                    Path(self.seat.data), self.seat.schema.hash, self.seat.secrets[kdf.FILE_STATE], "read"
                )
            except StorageError as error:
                if error.code == "file_newer":
                    raise
                # The writer finds it as we do, at its own start, and builds another one.
                if problem != error.code:
                    logger.warning("the state cannot be opened (%s); waiting for another", error.code)
                state, problem = None, error.code
            if state is not None:
                return state
            self._beat()
            threading.Event().wait(STATE_POLL_S)

    def _open_state(self, state: StateFile) -> None:
        self._state = state
        self._reader = Reader(
            state.connection,
            self._catalog,
            clock=self.clock,
            open_values=self._open_values,
            limits=self._limits,
        )

    # -- reading -----------------------------------------------------------------------------------------

    @handles(Read)
    def read(self, message: Read) -> Rows | Deferred:
        started = self.clock.monotonic()
        plan = self._reader.plan(message.query, message.sql)
        with self._reader.snapshot() as seq:
            if seq < message.at_least:
                return self._wait_for(message.at_least, message)
            result, cached = self._result(plan, seq)
        self._reads += 1
        self._slowest_us = max(self._slowest_us, int((self.clock.monotonic() - started) * 1_000_000))
        return Rows(
            columns=result.columns, rows=result.rows, seq=result.seq, cursor=result.cursor, cached=cached
        )

    def _result(self, plan: Plan, seq: int) -> tuple[RawResult, bool]:
        """The result inside the current snapshot, from the cache if it is there and worth it."""
        if not self._cache.is_open or plan.volatile or self._is_cheap(plan):
            return self._reader.run(plan), False
        versions = self._reader.versions()
        name = self._cache.name_of(plan.canonical, self._state.generation, plan.tables, versions)
        kept = self._cache.get(name, seq)
        if kept is not None:
            return kept, True
        started = self.clock.monotonic()
        result = self._reader.run(plan)
        cost_us = int((self.clock.monotonic() - started) * 1_000_000)
        if cost_us >= self.seat.config.query.cache_above_us:
            sealed = self._cache.seal(name, result)
            if sealed is not None:
                self.ref("cache").tell(CachePut(key=name, value=sealed))
        return result, False

    @staticmethod
    def _is_cheap(plan: Plan) -> bool:
        """A few rows in order cost less than asking the cache."""
        return isinstance(plan, CompiledQuery) and plan.groups is None and plan.limit <= 1

    def _wait_for(self, at_least: int, message: Request) -> Deferred:
        assert self.inbox.reply is not None
        self._waiting.add(at_least, message, self.inbox.reply, self.clock.monotonic())
        self.defer()
        self._take_turn()
        return DEFERRED

    @handles(Explain)
    def explain(self, message: Explain) -> Explanation | Moved:
        plan = self._reader.plan(message.query, message.sql)
        owner = self._owner(plan)
        return (
            self._engine.explain(plan, self._reader)
            if owner == self.seat.name
            else Moved(sub="", service=owner)
        )

    @handles(Describe)
    def describe(self, message: Describe) -> Description:
        return Description(schema_hash=self.seat.schema.hash, schema=describe(self.seat.schema))

    @handles(QueryStatus)
    def query_status(self, message: QueryStatus) -> QueryFigures:
        return QueryFigures(
            seq=self._state.position.seq,
            reads=self._reads,
            live_queries=self._engine.windows,
            subscribers=len(self._subscriptions),
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
            slowest_us=self._slowest_us,
        )

    # -- subscriptions -----------------------------------------------------------------------------------

    @handles(Subscribe)
    def subscribe_query(self, message: Subscribe) -> Subscribed | Moved | Deferred:
        plan = self._reader.plan(message.query, message.sql)
        owner = self._owner(plan)
        client = self._client()
        self._waiting.drop(client, message.sub)
        if owner != self.seat.name:
            self._subscriptions.end(client, message.sub)
            return Moved(sub=message.sub, service=owner)
        seq = self._reader.position()
        if seq < message.at_least:
            return self._wait_for(message.at_least, message)
        self._subscriptions.make_room(client, message.sub)
        self._engine.subscribe(client, message.sub, plan, message.credit, message.at_least)
        self._take_turn()
        return self._subscribed(message.sub, seq)

    def _owner(self, plan: Plan) -> str:
        """The query actor that keeps live queries of this plan, so that identical ones share a window."""
        return self._workers[crc32(plan.canonical) % len(self._workers)]

    @handles(SubscribeChanges)
    def subscribe_changes(self, message: SubscribeChanges) -> Subscribed:
        client = self._client()
        self._waiting.drop(client, message.sub)
        self._subscriptions.make_room(client, message.sub)
        seq = self._streams.subscribe(client, message, self._state)
        self._take_turn()
        return self._subscribed(message.sub, seq)

    @handles(Unsubscribe)
    def unsubscribe(self, message: Unsubscribe) -> Done:
        client = self._client()
        self._waiting.drop(client, message.sub)
        self._subscriptions.end(client, message.sub)
        self._feed.hear(Advanced, self._is_following())
        return Done()

    @handles(Ack)
    def ack(self, message: Ack) -> None:
        # Most find their subscriber up to date; what is new is told by hints.
        if self._subscriptions.ack(self.told.peer, message.sub, message.count):
            self._take_turn()

    @handles(Ping)
    def ping(self, message: Ping) -> Pong:
        return Pong(epoch=self._epoch, subscriptions=self._subscriptions.count(self._client()))

    def _subscribed(self, sub: str, seq: int) -> Subscribed:
        return Subscribed(sub=sub, seq=seq, generation=self._state.log_generation, epoch=self._epoch)

    def _drop_client(self, client: bytes) -> None:
        self._waiting.drop(client)
        self._subscriptions.drop_client(client)

    def _client(self) -> bytes:
        assert self.inbox.reply is not None
        return self.inbox.reply.peer

    # -- following the writer ------------------------------------------------------------------------------

    @handles(Advanced)
    def advanced(self, message: Advanced) -> None:
        if self.inbox.empty() and not self._turn_due:
            # Nothing else waits: 40 µs sooner than by way of the inbox.
            self._turn()
        else:
            self._take_turn()

    def _is_following(self) -> bool:
        """Whether anything here depends on what the writer does next."""
        return bool(len(self._subscriptions) or len(self._waiting))

    @handles(StateSwitched)
    def state_switched(self, message: StateSwitched) -> None:
        if message.path == self._state.path.name:
            return  # repeated every second, for those who missed it
        path = Path(self.seat.data) / message.path
        fresh = StateFile.open(path, self.seat.secrets[kdf.FILE_STATE], "read")
        self._state.close()
        self._open_state(fresh)
        self._subscriptions.restart()
        self._take_turn()
        logger.info("reading state generation %d", message.generation)

    def _take_turn(self) -> None:
        """Do live work after what is already waiting in the inbox."""
        # Hints wake this process and cost the writer 50 µs per commit: only while somebody wants them.
        self._feed.hear(Advanced, self._is_following())
        if not self._turn_due:
            self._turn_due = True
            self.inbox.after(0.0, self._turn)

    def _turn(self) -> None:
        """Answer who waited for a position, then push what changed: one slice, then the inbox again."""
        self._turn_due = False
        self._answer_waiting()
        if self._engine.windows:
            # What changed comes from the ring, not from the hint: a hint may have been lost.
            for client, push in self._engine.turn(self._reader, self._state.changes_after):
                self._outbox.push(client, push)
        sent = self._push_changes() if len(self._streams) else 0
        if sent or self._engine.waiting:
            self._take_turn()
        self._look_again()

    def _push_changes(self) -> int:
        """One push for each change stream that is behind; returns how many there were."""
        pushes = list(self._streams.pushes(self._state))
        for client, push in pushes:
            self._outbox.push(client, push)
        return len(pushes)

    def _answer_waiting(self) -> None:
        if not len(self._waiting):
            return
        seq = self._reader.position()
        for wait in self._waiting.take(seq, self.clock.monotonic()):
            if wait.at_least > seq:
                wait.reply.fail(not_there_yet(seq, wait.at_least))
            else:
                handler = self.handlers[type(wait.request)]
                answer(self.inbox, wait.reply, partial(handler, self, wait.request))

    def _look_again(self) -> None:
        """Hints may be lost, whoever waits in vain must be told before it gives up, and windows rest for a time."""
        rest_s = self._engine.rest_s
        if not self._look_due and (len(self._waiting) or rest_s is not None):
            self._look_due = True
            pause = self._waiting.pause(self.clock.monotonic())
            self.inbox.after(pause if rest_s is None else min(pause, rest_s), self._look)

    def _look(self) -> None:
        self._look_due = False
        self._take_turn()

    def _tick(self) -> None:
        self._engine.retry()
        if self._is_following():
            self._take_turn()

    # -- peers -------------------------------------------------------------------------------------------

    @handles(CacheAt)
    def cache_at(self, message: CacheAt) -> None:
        self._cache.open(message.path)

    def on_peer_up(self, service: Service, restarts: int) -> None:
        if service.name == "cache":
            self._greet_cache()
        elif service.name == "encryption":
            self._engine.retry()
            self._take_turn()

    def on_peer_down(self, name: str) -> None:
        if name == "cache":
            self._cache.close()

    def _greet_cache(self) -> None:
        try:
            self.ref("cache").tell(CacheHello(name=self.seat.name))
        except Unavailable:
            logger.debug("no cache yet")

    def _open_values(self, items: list[SealedItem]) -> tuple[bytes | None, ...]:
        opened = self._vault.open(items, self.time_left(ENCRYPTION_S))
        if opened.damaged:
            collection, field, _, _ = items[opened.damaged[0]]
            raise StorageError(
                "value_unreadable",
                f"An encrypted value (collection {collection}, field {field}) does not open under its key.",
                fix="Run `keepdb rebuild`; if it stays so, restore a backup.",
            )
        return opened.values

    def on_stop(self) -> None:
        self._cache.close()
        self._state.close()

    def figures(self) -> dict[str, float]:
        return {
            "reads": self._reads,
            "live_queries": self._engine.windows,
            "live_bytes": self._engine.size,
            "subscribers": len(self._subscriptions),
            "slow_clients": len(self._outbox),
            "cache_hits": self._cache.hits,
            "cache_misses": self._cache.misses,
            "slowest_us": self._slowest_us,
        }
