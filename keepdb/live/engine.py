"""Live queries: from the changes ring to what each subscriber is told.

One turn is one snapshot: the changes since the last turn go to the windows that they concern; windows that cannot go
on from changes alone read their tables; new rows are rendered, all in one ask; and whoever has credit is brought up to
date. Nothing is queued here: what a subscriber has not been sent is the difference of two results, made when it can
take it, however many changes lie between.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

from keepdb.clock import Clock
from keepdb.errors import KeepError, StorageError
from keepdb.query.catalog import Catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import OpenValues
from keepdb.query.plan import Plan
from keepdb.query.run import Reader
from keepdb.storage.changes import Change, ChangeBatch
from messages.queries import Diff, Explanation, LiveFailed, Snapshot

from .explain import explain
from .journal import Journal
from .registry import Registry
from .rendering import render
from .result import Differences
from .window import Subscriber, Window

logger = logging.getLogger("keepdb.query")

#: What is sent to which client.
Addressed = tuple[bytes, Snapshot | Diff | LiveFailed]
#: StateFile.changes_after: batches after a position, in slices of so many bytes; None where the ring has a gap.
ChangesAfter = Callable[[int, int], list[ChangeBatch] | None]

#: A window that fails in a way that may pass is tried again so many times.
_FAILURES_MAX = 5


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
        #: Windows that failed in a way that may pass, until retry().
        self._retry: dict[Window, None] = {}
        #: Subscribers that may lack something: of windows that changed, or that just got credit.
        self._behind: dict[Subscriber, None] = {}
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
    def rows(self) -> int:
        """Number of rows that all windows keep."""
        return self._registry.rows

    @property
    def reads(self) -> int:
        """How often a window has read its tables."""
        return self._reads

    @property
    def waiting(self) -> bool:
        """Whether turn() has something to do now, other than looking for new changes."""
        return bool(self._unread or self._behind or self._lagging)

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
            self._unread.pop(closed, None)
            self._retry.pop(closed, None)
            self._journal.close(closed)

    # -- one turn ----------------------------------------------------------------------------------------

    def turn(self, reader: Reader, changes_after: ChangesAfter) -> list[Addressed]:
        """Take in what changed, in one snapshot; gives what to send. Bounded: see `waiting`."""
        with reader.snapshot() as seq:
            touched = self._follow(seq, changes_after)
            failed = [*self._read(touched, reader, seq)]
        differences = Differences()
        return [*failed, *self._show(touched, differences), *self._catch_up(differences)]

    def retry(self) -> None:
        """Let windows that failed try again with the next turn. Call it about once a second."""
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
        for route in self._registry.router.concerned(change.collection, before, after):
            window = route.window
            # A window that read its tables in a later snapshot has this change already.
            if window.stale or change.seq <= window.seq or route.is_silent(before, after):
                continue
            if window.apply(before, after):
                window.changes += 1
                touched[window] = None
                if window.needs_read:
                    self._unread[window] = None

    def _read(self, touched: dict[Window, None], reader: Reader, seq: int) -> Iterator[Addressed]:
        """Let windows read their tables, as many as one turn has time for."""
        if not self._unread:
            return
        ends = self._clock.monotonic() + self._limits.turn_s
        for number, window in enumerate(list(self._unread)):
            if number == self._limits.turn_windows or (number and self._clock.monotonic() > ends):
                break
            del self._unread[window]
            if window.stale or window.needs_read:
                touched.pop(window, None)
                failed = self._read_one(window, reader, seq)
                if failed is not None:
                    yield from self._failed(window, failed)
                    continue
            # Else its rows are there and could not be rendered before.
            touched[window] = None
        for window in [window for window in touched if window in self._unread]:
            # Its turn comes later; until then changes pass it by.
            self._outdate(window)
            del touched[window]

    def _read_one(self, window: Window, reader: Reader, seq: int) -> KeepError | None:
        self._reads += 1
        window.reads += 1
        self._journal.reads(window)
        try:
            window.read(reader, at_head=self._seq == seq and not window.stale)
        except KeepError as error:
            window.stale = True
            return error
        window.seq, window.stale = seq, False
        return None

    def _show(self, touched: Iterable[Window], differences: Differences) -> Iterator[Addressed]:
        """Make the results of windows that changed, and note who has not been sent them."""
        windows = {window: window.prepare() for window in touched if window not in self._retry}
        fresh = [(window, entries) for window, entries in windows.items() if entries]
        for window, error in render(fresh, self._open_values):
            del windows[window]
            yield from self._failed(window, error)
        for window in windows:
            try:
                changed = window.finish(differences)
                self._registry.recount(window)
            except KeepError as error:
                yield from self._failed(window, error)
                continue
            window.pending, window.failures = False, 0
            self._journal.shown(window, max(window.seq, self._seq), changed)
            # Also where the result is the same: some may have waited for it.
            late = [each for each in window.subscribers if each.sent is not window.result]
            self._behind.update(dict.fromkeys(late))

    def _catch_up(self, differences: Differences) -> Iterator[Addressed]:
        """Bring everybody up to date who has credit. Whoever is passed over comes back here: those without
        credit through ack(), those of pending windows through _show()."""
        behind, self._behind = self._behind, {}
        for subscriber in behind:
            window = subscriber.window
            if window.pending or subscriber.credit < 1:
                continue
            seq = max(window.seq, self._seq)
            if seq < subscriber.at_least:
                self._behind[subscriber] = None
                continue
            push = subscriber.catch_up(seq, differences)
            if push is not None:
                yield subscriber.client, push

    def _outdate(self, window: Window) -> None:
        """It must read everything before it can show something again."""
        window.stale = window.pending = True
        self._unread[window] = None

    def _failed(self, window: Window, error: KeepError) -> Iterator[Addressed]:
        """A failure that may pass is tried again; else the window ends and its subscribers hear why."""
        window.failures += 1
        window.pending = True
        if error.retryable and window.failures < _FAILURES_MAX:
            self._retry[window] = None
            return
        for subscriber in list(window.subscribers):
            self._end(subscriber)
            failed = LiveFailed(
                sub=subscriber.sub,
                code=error.code,
                message=error.message,
                fix=error.fix,
                retryable=error.retryable,
            )
            yield subscriber.client, failed
