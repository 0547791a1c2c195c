"""Who is subscribed to what: clients, their subscriptions, and the windows that identical queries share."""

from collections.abc import Collection

from keepdb.errors import InvalidRequest, Unavailable
from keepdb.query.catalog import Catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.plan import Plan
from keepdb.query.refusal import bad_value

from .router import Router
from .strategy import open_window
from .window import Subscriber, Window

#: Share of the memory up to which new live queries are taken in. The rest is for those that run to grow.
_NEW_UNTIL = 7 / 8


class Registry:
    """All subscriptions and windows of one engine. size: bytes that all windows keep in memory."""

    def __init__(self, catalog: Catalog, limits: QueryLimits) -> None:
        self._catalog = catalog
        self._limits = limits
        self._clients: dict[bytes, dict[str, Subscriber]] = {}
        self.windows: dict[bytes, Window] = {}
        self.router = Router()
        self.subscribers = self.size = 0

    def find(self, client: bytes, sub: str) -> Subscriber | None:
        return self._clients.get(client, {}).get(sub)

    def of_client(self, client: bytes) -> Collection[Subscriber]:
        return self._clients.get(client, {}).values()

    def add(self, client: bytes, sub: str, plan: Plan, credit: int, at_least: int) -> Subscriber:
        """A new subscription, to a window that is there or a new one. Raises InvalidRequest and Unavailable."""
        if not 1 <= credit <= self._limits.credit_max:
            raise bad_value("credit", credit, f"an integer from 1 to {self._limits.credit_max}")
        if self.find(client, sub) is not None:
            raise InvalidRequest(
                "live_duplicate", f"sub: {sub[:64]!r} is in use by this client.", fix="Use another name."
            )
        window = self.windows.get(plan.canonical) or self._open(plan)
        subscriber = Subscriber(client, sub, window, credit, at_least)
        window.subscribers.append(subscriber)
        self._clients.setdefault(client, {})[sub] = subscriber
        self.subscribers += 1
        return subscriber

    def remove(self, subscriber: Subscriber) -> Window | None:
        """End a subscription; returns its window if that was the last one."""
        self.subscribers -= 1
        mine = self._clients[subscriber.client]
        del mine[subscriber.sub]
        if not mine:
            del self._clients[subscriber.client]
        window = subscriber.window
        window.subscribers.remove(subscriber)
        if window.subscribers:
            return None
        del self.windows[window.key]
        self.size -= window.counted
        for route in window.routes:
            self.router.remove(route)
        return window

    def recount(self, window: Window) -> None:
        """What the window keeps may have become more or less."""
        self.size -= window.counted
        window.counted = window.size
        self.size += window.counted

    @property
    def is_full(self) -> bool:
        """Whether something must go."""
        return self.size > self._limits.live_bytes

    def forget(self) -> None:
        """Drop the earlier results that subscribers without credit have: they get the whole result next time."""
        for window in self.windows.values():
            for subscriber in window.subscribers:
                if subscriber.credit < 1 and subscriber.sent is not window.result:
                    subscriber.sent = None
            self.recount(window)

    def largest(self) -> Window:
        return max(self.windows.values(), key=lambda window: window.counted)

    def _open(self, plan: Plan) -> Window:
        if len(self.windows) >= self._limits.windows:
            raise Unavailable(
                "live_too_many_windows",
                f"There are {len(self.windows)} different live queries, which is the limit.",
                fix="Unsubscribe from what is no longer shown.",
                retryable=False,
            )
        if self.size > self._limits.live_bytes * _NEW_UNTIL:
            raise self.too_large()
        window = self.windows[plan.canonical] = open_window(plan, self._catalog)
        for route in window.routes:
            self.router.add(route)
        return window

    def too_large(self) -> Unavailable:
        """The refusal of more than all live queries together may keep."""
        return Unavailable(
            "live_too_large",
            f"Live queries keep {self.size >> 20} MiB in memory; the limit is {self._limits.live_bytes >> 20}.",
            fix="Give live queries smaller limits or fewer columns, or unsubscribe from what is no longer shown.",
            retryable=False,
        )
