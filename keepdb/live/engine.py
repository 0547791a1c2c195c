"""Live queries: from the changes ring to what each subscriber is told.

One turn is one snapshot: the changes since the last turn go to the windows that they concern; windows that cannot go
on from changes alone read their tables; new rows are rendered, all in one ask; and whoever has credit is brought up to
date. Nothing is queued here: what a subscriber has not been sent is the difference of two results, made when it can
take it, however many changes lie between.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from keepdb.clock import Clock
from keepdb.errors import KeepError, StorageError, Unavailable
from keepdb.query.catalog import Catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import OpenValues, SealedItem
from keepdb.query.plan import Plan
from keepdb.query.run import Reader
from keepdb.storage.changes import Change, ChangeBatch
from messages.queries import Diff, Explanation, LiveFailed, Snapshot

from .buffer import Entry
from .explain import explain
from .failures import failure_of, live_failed, may_pass
from .journal import Journal
from .registry import Registry
from .rendering import render
from .result import Differences
from .router import Route
from .window import Subscriber, Window

logger = logging.getLogger("keepdb.query")

#: What is sent to which client.
Addressed = tuple[bytes, Snapshot | Diff | LiveFailed]
#: StateFile.changes_after: batches after a position, in slices of so many bytes; None where the ring has a gap.
ChangesAfter = Callable[[int, int], list[ChangeBatch] | None]

#: A window that took long to read its tables rests for so many times as long; what is quicker costs nobody much.
_RESTS = 2
_QUICK_S = 0.005


class LiveEngine:
    """All windows of one query actor. Not thread-safe."""

    def __init__(self, catalog: Catalog, limits: QueryLimits, clock: Clock, open_values: OpenValues) -> None:
        self._limits = limits
        self._clock = clock
        self._open_values = open_values
        self._registry = Registry(catalog, limits)
        self._journal = Journal()
        #: Windows that must read their tables, in the order in which that came up.
        self._unread: dict[Window, None] = {}
        #: Windows that must read their tables, but not yet: see Window.rests_until.
        self._resting: dict[Window, None] = {}
        #: Windows that failed in a way that may pass, until retry().
        self._retry: dict[Window, None] = {}
        #: Why sealed values cannot be opened, until retry(): one window waits in vain, not each.
        self._closed: Unavailable | None = None
        #: Subscribers that may lack something: of windows that changed, or that just got credit.
        self._behind: dict[Subscriber, None] = {}
        self._out: list[Addressed] = []
        self._reads = 0
        #: All changes up to here have been given to the windows; lagging: there are more in the ring.
        self._seq = -1
        self._lagging = False

    @property
    def windows(self) -> int:
        """Number of live queries that run."""
        return len(self._registry.windows)

    @property
    def subscribers(self) -> int:
        """Number of subscriptions."""
        return self._registry.subscribers

    @property
    def size(self) -> int:
        """Bytes that all windows keep in memory, about."""
        return self._registry.size

    @property
    def reads(self) -> int:
        """How often a window has read its tables."""
        return self._reads

    @property
    def waiting(self) -> bool:
        """Whether turn() has something to do now, other than looking for new changes."""
        return bool(self._unread or self._behind or self._lagging)

    @property
    def rest_s(self) -> float | None:
        """Seconds until turn() has something to do for a window that rests; None if none does."""
        if not self._resting:
            return None
        ends = min(window.rests_until for window in self._resting)
        return max(0.0, ends - self._clock.monotonic())

    # -- subscriptions -----------------------------------------------------------------------------------

    def subscribe(self, client: bytes, sub: str, plan: Plan, credit: int, at_least: int = 0) -> None:
        """Add a subscription; a later turn gives its Snapshot. Raises InvalidRequest and Unavailable.

        at_least: the Snapshot is not older than this seq (wait until the reader is there before calling).
        """
        subscriber = self._registry.add(client, sub, plan, credit, at_least)
        self._behind[subscriber] = None
        if len(subscriber.window.subscribers) == 1:
            self._unread[subscriber.window] = None

    def has(self, client: bytes, sub: str) -> bool:
        """Whether there is such a subscription."""
        return self._registry.find(client, sub) is not None

    def count(self, client: bytes) -> int:
        """Number of subscriptions of one client."""
        return len(self._registry.of_client(client))

    def unsubscribe(self, client: bytes, sub: str) -> bool:
        """End a subscription; False if there was none."""
        subscriber = self._registry.find(client, sub)
        if subscriber is None:
            return False
        self._end(subscriber)
        return True

    def drop_client(self, client: bytes) -> None:
        """End all subscriptions of a client that is gone."""
        for subscriber in list(self._registry.of_client(client)):
            self._end(subscriber)

    def ack(self, client: bytes, sub: str, count: int) -> None:
        """Give credit back. Too much of it is cut off: it bounds what lies in the client's socket."""
        subscriber = self._registry.find(client, sub)
        if subscriber is not None and count > 0:
            subscriber.credit = min(subscriber.credit + count, self._limits.credit_max)
            if subscriber.sent is not subscriber.window.result:
                self._behind[subscriber] = None

    def explain(self, plan: Plan, reader: Reader) -> Explanation:
        """How this query is kept up to date and, from the second time on, what the changes since the first did."""
        window = self._registry.windows.get(plan.canonical)
        return explain(plan, reader, window, [] if window is None else self._journal.open(window))

    def _end(self, subscriber: Subscriber) -> None:
        self._behind.pop(subscriber, None)
        closed = self._registry.remove(subscriber)
        if closed is not None:
            for windows in (self._unread, self._resting, self._retry):
                windows.pop(closed, None)
            self._journal.close(closed)

    # -- one turn ----------------------------------------------------------------------------------------

    def turn(self, reader: Reader, changes_after: ChangesAfter) -> list[Addressed]:
        """Take in what changed, in one snapshot; gives what to send. Bounded: see `waiting`."""
        self._wake()
        with reader.snapshot() as seq:
            touched = self._follow(seq, changes_after)
            self._read(touched, reader, seq)
        differences = Differences()
        self._show(touched, differences)
        self._catch_up(differences)
        out, self._out = self._out, []
        return out

    def retry(self) -> None:
        """Let windows that failed try again with the next turn. Call it about once a second."""
        self._closed = None
        self._unread |= self._retry
        self._retry.clear()

    def restart(self) -> None:
        """Another state file, whose positions may go back: everything is read anew and comes as a Snapshot."""
        self._seq = -1
        self._retry.clear()
        for window in self._registry.windows.values():
            window.result, window.seq = None, -1
            self._outdate(window)
            for subscriber in window.subscribers:
                subscriber.sent, subscriber.at_least = None, 0
                self._behind[subscriber] = None

    def _wake(self) -> None:
        """Let those read that have rested."""
        if self._resting:
            now = self._clock.monotonic()
            for window in [window for window in self._resting if window.rests_until <= now]:
                del self._resting[window]
                self._unread[window] = None

    def _follow(self, seq: int, changes_after: ChangesAfter) -> dict[Window, None]:
        """Give the windows the next changes. Returns those that have something new to show."""
        touched: dict[Window, None] = {}
        self._lagging = False
        if self._seq < 0 or self._all_stale():
            # Nobody has rows that changes could be added to.
            self._seq = seq
        if self._seq == seq:
            return touched
        batches = self._changes(changes_after)
        if not batches:
            self._seq = seq
            for window in self._registry.windows.values():
                self._outdate(window)
            return touched
        for batch in batches:
            for change in batch.changes:
                self._route(change, touched)
            self._seq = batch.seq_last
        self._lagging = self._seq < seq
        self._journal.followed(self._seq, batches, touched)
        return touched

    def _all_stale(self) -> bool:
        return len(self._unread) == self.windows and all(window.stale for window in self._unread)

    def _changes(self, changes_after: ChangesAfter) -> list[ChangeBatch] | None:
        """The next slice of the ring. A damaged ring breaks continuity like a gap; the rows may be intact."""
        try:
            return changes_after(self._seq, self._limits.turn_bytes)
        except StorageError as error:
            logger.error("the changes after %d cannot be read (%s)", self._seq, error.code)
            return None

    def _route(self, change: Change, touched: dict[Window, None]) -> None:
        """Give one changed row to the windows that it concerns."""
        before, after = change.before, change.after
        for route in self._concerned(change):
            window = route.window
            try:
                # A window that read its tables in a later snapshot has this change already.
                if window.stale or change.seq <= window.seq or route.is_silent(before, after):
                    continue
                if not window.apply(before, after):
                    continue
            except Exception as error:
                touched.pop(window, None)
                self._fail(window, failure_of(error))
                continue
            window.changes += 1
            touched[window] = None
            if window.needs_read:
                self._unread[window] = None

    def _concerned(self, change: Change) -> list[Route]:
        router = self._registry.router
        try:
            return router.concerned(change.collection, change.before, change.after)
        except Exception:
            # Whose filter it is that fails comes out when each window looks at the row by itself.
            logger.exception("a change of %s could not be routed", change.collection)
            return router.of_table(change.collection)

    def _read(self, touched: dict[Window, None], reader: Reader, seq: int) -> None:
        """Let windows read their tables, as many as one turn has time for."""
        if not self._unread:
            return
        now = self._clock.monotonic()
        ends = now + self._limits.turn_s
        for number, window in enumerate(list(self._unread)):
            if number == self._limits.turn_windows or (number and now > ends):
                break
            del self._unread[window]
            if window.stale or window.needs_read:
                touched.pop(window, None)
                if window.rests_until > now:
                    self._outdate(window, self._resting)
                    continue
                failed = self._read_one(window, reader, seq)
                began, now = now, self._clock.monotonic()
                # Having waited for somebody who was away is no reason to come back late.
                if now - began > _QUICK_S and not (failed is not None and failed.retryable):
                    window.rests_until = now + _RESTS * (now - began)
                if failed is not None:
                    self._fail(window, failed)
                    continue
            # Else its rows are there and could not be rendered before.
            touched[window] = None
        for window in [window for window in touched if window in self._unread]:
            # Its turn comes later; until then changes pass it by.
            self._outdate(window)
            del touched[window]

    def _read_one(self, window: Window, reader: Reader, seq: int) -> KeepError | None:
        if self._closed is not None and window.plan.opens:
            window.stale = True
            return self._closed
        self._reads += 1
        window.reads += 1
        self._journal.reads(window)
        try:
            window.read(reader, at_head=self._seq == seq and not window.stale)
        except Exception as error:
            window.stale = True
            return failure_of(error)
        window.seq, window.stale = seq, False
        return None

    def _show(self, touched: Iterable[Window], differences: Differences) -> None:
        """Make the results of windows that changed, and note who has not been sent them."""
        windows: dict[Window, list[Entry]] = {}
        for window in (window for window in touched if window not in self._retry):
            try:
                windows[window] = window.prepare()
            except Exception as error:
                self._fail(window, failure_of(error))
        fresh = [(window, entries) for window, entries in windows.items() if entries]
        for window, failed in render(fresh, self._open):
            del windows[window]
            self._fail(window, failed)
        for window in windows:
            # One before it may have ended it, to make room.
            if window.subscribers:
                self._finish(window, differences)

    def _finish(self, window: Window, differences: Differences) -> None:
        try:
            changed = window.finish(differences)
        except Exception as error:
            self._fail(window, failure_of(error))
            return
        window.pending, window.failures = False, 0
        self._journal.shown(window, max(window.seq, self._seq), changed)
        # Also where the result is the same: some may have waited for it.
        late = [each for each in window.subscribers if each.sent is not window.result]
        self._behind.update(dict.fromkeys(late))
        is_new = not window.sent
        self._registry.recount(window)
        if self._registry.is_full:
            self._make_room(window if is_new else None)

    def _make_room(self, new: Window | None) -> None:
        """All windows together keep too much. The first to go is what slow subscribers hold beside it, then the window
        that just came, then the largest one: nobody small ends because others grow."""
        self._registry.forget()
        while self._registry.is_full:
            self._end_all(new or self._registry.largest(), self._registry.too_large())
            new = None

    def _catch_up(self, differences: Differences) -> None:
        """Bring everybody up to date who has credit. Whoever is passed over comes back here: those without
        credit through ack(), those of pending windows through _finish()."""
        behind, self._behind = self._behind, {}
        for subscriber in behind:
            window = subscriber.window
            if window.pending or subscriber.credit < 1:
                continue
            seq = max(window.seq, self._seq)
            if seq < subscriber.at_least:
                self._behind[subscriber] = None
                continue
            try:
                push = subscriber.catch_up(seq, differences)
            except Exception as error:
                self._fail(window, failure_of(error))
                continue
            if push is not None:
                self._out.append((subscriber.client, push))

    def _open(self, items: list[SealedItem]) -> Sequence[bytes | None]:
        if self._closed is not None:
            raise self._closed
        return self._open_values(items)

    def _outdate(self, window: Window, queue: dict[Window, None] | None = None) -> None:
        """It must read everything before it can show something again."""
        window.stale = window.pending = True
        (self._unread if queue is None else queue)[window] = None

    def _fail(self, window: Window, error: KeepError) -> None:
        """A failure that may pass is tried again; else the window ends."""
        window.failures += 1
        window.pending = True
        if not may_pass(error, window.failures):
            self._end_all(window, error)
            return
        self._retry[window] = None
        if isinstance(error, Unavailable) and error.retryable:
            self._closed = error

    def _end_all(self, window: Window, error: KeepError) -> None:
        """End a window; its subscribers hear why."""
        # Nobody is caught up with what is no more.
        window.pending = True
        for subscriber in list(window.subscribers):
            self._end(subscriber)
            self._out.append((subscriber.client, live_failed(subscriber.sub, error)))
