"""Live queries: which results have changed, and what each subscriber is told about it.

A window is the kept result of one query; identical queries share it. Windows of changed tables run again; the
callers need not know, so that an engine which updates windows from row images can take this one's place.
Nothing is queued here: what a subscriber has not been sent is the difference of two results, made when it can
take it, however many changes lie between.
"""

from collections.abc import Callable, Iterator, Mapping

from keepdb.errors import InvalidRequest, KeepError, Unavailable
from keepdb.query.limits import QueryLimits
from keepdb.query.plan import Plan
from keepdb.query.refusal import bad_value
from keepdb.query.run import RawResult
from messages.queries import LiveFailed

from .window import Differences, Push, Subscriber, Window

#: A window whose refresh fails in a way that may pass is tried again with the next refreshes.
_FAILURES_MAX = 5

Run = Callable[[Plan], RawResult]


class LiveEngine:
    """All windows of one query actor. Not thread-safe."""

    def __init__(self, limits: QueryLimits) -> None:
        self._limits = limits
        self._windows: dict[bytes, Window] = {}
        self._by_table: dict[str, dict[bytes, Window]] = {}
        self._clients: dict[bytes, dict[str, Subscriber]] = {}
        self._dirty: dict[bytes, Window] = {}
        #: Windows whose run failed in a way that may pass; they become dirty with the next advance().
        self._retry: dict[bytes, Window] = {}
        #: Subscribers that may lack something: of windows that changed, or that just got credit.
        self._behind: dict[int, Subscriber] = {}
        self._subscribers = 0
        self._versions: dict[str, int] = {}
        self._seq = -1

    @property
    def windows(self) -> int:
        """Number of live queries that run."""
        return len(self._windows)

    @property
    def subscribers(self) -> int:
        """Number of subscriptions."""
        return self._subscribers

    @property
    def dirty(self) -> int:
        """Number of windows that must run again."""
        return len(self._dirty)

    @property
    def waiting(self) -> bool:
        """Whether refresh() has something to do now."""
        return bool(self._dirty or self._behind)

    def subscribe(self, client: bytes, sub: str, plan: Plan, credit: int, at_least: int = 0) -> Subscriber:
        """Add a subscription; the next refresh() gives its Snapshot. Raises InvalidRequest and Unavailable.

        at_least: the Snapshot is not older than this seq (wait until the reader is there before calling).
        """
        self._check(client, sub, credit)
        window = self._open(plan)
        subscriber = Subscriber(client, sub, window, credit)
        window.subscribers.append(subscriber)
        self._clients.setdefault(client, {})[sub] = subscriber
        if window.seq < at_least and self._seq < at_least:
            self._dirty[window.key] = window
        self._subscribers += 1
        self._behind[id(subscriber)] = subscriber
        return subscriber

    def _check(self, client: bytes, sub: str, credit: int) -> None:
        mine = self._clients.get(client, {})
        if not 1 <= credit <= self._limits.credit_max:
            raise bad_value("credit", credit, f"an integer from 1 to {self._limits.credit_max}")
        if sub in mine:
            raise InvalidRequest(
                "live_duplicate", f"sub: {sub[:64]!r} is in use by this client.", fix="Use another name."
            )

    def _open(self, plan: Plan) -> Window:
        window = self._windows.get(plan.canonical)
        if window is not None:
            return window
        if len(self._windows) >= self._limits.windows:
            raise Unavailable(
                "live_too_many_windows",
                f"There are {len(self._windows)} different live queries, which is the limit.",
                fix="Unsubscribe from what is no longer shown.",
                retryable=False,
            )
        window = Window(plan.canonical, plan)
        self._windows[window.key] = self._dirty[window.key] = window
        for table in plan.tables:
            self._by_table.setdefault(table, {})[window.key] = window
        return window

    def has(self, client: bytes, sub: str) -> bool:
        """Whether there is such a subscription."""
        return sub in self._clients.get(client, {})

    def count(self, client: bytes) -> int:
        """Number of subscriptions of one client."""
        return len(self._clients.get(client, {}))

    def unsubscribe(self, client: bytes, sub: str) -> bool:
        """End a subscription; False if there was none."""
        subscriber = self._clients.get(client, {}).get(sub)
        if subscriber is None:
            return False
        self._remove(subscriber)
        return True

    def drop_client(self, client: bytes) -> None:
        """End all subscriptions of a client that is gone."""
        for subscriber in list(self._clients.get(client, {}).values()):
            self._remove(subscriber)

    def ack(self, client: bytes, sub: str, count: int) -> None:
        """Give credit back. Too much of it is cut off: it bounds what lies in the client's socket."""
        subscriber = self._clients.get(client, {}).get(sub)
        if subscriber is not None and count > 0:
            subscriber.credit = min(subscriber.credit + count, self._limits.credit_max)
            if subscriber.sent is not subscriber.window.result:
                self._behind[id(subscriber)] = subscriber

    def advance(self, versions: Mapping[str, int], seq: int) -> int:
        """Take note of everything that changed up to `seq`. Returns how many windows must run again.

        versions: seq of the last change per table; tables that did not change may be left out or repeated.
        Only windows that read a changed table are touched. Windows that failed are tried again: call it now
        and then even if nothing is new.
        """
        for table, version in versions.items():
            if version <= self._versions.get(table, -1):
                continue
            self._versions[table] = version
            for key, window in self._by_table.get(table, {}).items():
                if window.seq < version:
                    self._dirty[key] = window
        self._dirty |= self._retry
        self._retry.clear()
        self._seq = max(self._seq, seq)
        return len(self._dirty)

    def restart(self) -> None:
        """Another state file, whose positions may go back: everything runs again and comes as a Snapshot."""
        self._seq = -1
        self._versions.clear()
        for window in self._windows.values():
            window.result = None
            self._dirty[window.key] = window
            for subscriber in window.subscribers:
                subscriber.sent = None
                self._behind[id(subscriber)] = subscriber

    def refresh(self, run: Run, windows_max: int = 32) -> list[tuple[bytes, Push]]:
        """Run at most `windows_max` dirty windows; returns what to send to which client. See `waiting`.

        run: Reader.run; with Reader.snapshot() around the call all windows show the same position.
        """
        pushes: list[tuple[bytes, Push]] = []
        differences = Differences()
        for key in list(self._dirty)[:windows_max]:
            window = self._dirty.pop(key)
            try:
                result = run(window.plan)
            except KeepError as error:
                pushes.extend(self._failed(window, error))
                continue
            window.take(result, differences)
            self._behind.update(
                (id(late), late) for late in window.subscribers if late.sent is not window.result
            )
        pushes.extend(self._catch_up(differences))
        return pushes

    def _catch_up(self, differences: Differences) -> Iterator[tuple[bytes, Push]]:
        """Bring everybody up to date who has credit. Whoever is passed over comes back here: those without
        credit through ack(), those of windows that must run first through that run."""
        behind, self._behind = self._behind, {}
        for subscriber in behind.values():
            window = subscriber.window
            stale = window.key in self._dirty or window.key in self._retry
            if window.result is None or stale or subscriber.credit < 1:
                continue
            push = subscriber.catch_up(window.result, max(window.seq, self._seq), differences)
            if push is not None:
                yield subscriber.client, push

    def _failed(self, window: Window, error: KeepError) -> list[tuple[bytes, Push]]:
        """A failure that may pass is tried again; else the window ends and its subscribers hear why."""
        window.failures += 1
        if error.retryable and window.failures < _FAILURES_MAX:
            self._retry[window.key] = window
            return []
        pushes: list[tuple[bytes, Push]] = []
        for subscriber in list(window.subscribers):
            self._remove(subscriber)
            failed = LiveFailed(
                sub=subscriber.sub,
                code=error.code,
                message=error.message,
                fix=error.fix,
                retryable=error.retryable,
            )
            pushes.append((subscriber.client, failed))
        return pushes

    def _remove(self, subscriber: Subscriber) -> None:
        self._behind.pop(id(subscriber), None)
        self._subscribers -= 1
        mine = self._clients[subscriber.client]
        del mine[subscriber.sub]
        if not mine:
            del self._clients[subscriber.client]
        window = subscriber.window
        window.subscribers.remove(subscriber)
        if not window.subscribers:
            self._close(window)

    def _close(self, window: Window) -> None:
        del self._windows[window.key]
        self._dirty.pop(window.key, None)
        self._retry.pop(window.key, None)
        for table in window.plan.tables:
            del self._by_table[table][window.key]
            if not self._by_table[table]:
                del self._by_table[table]
