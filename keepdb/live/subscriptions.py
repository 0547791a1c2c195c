"""Everything one query actor pushes: its live queries and its change streams, named and counted together."""

from keepdb.clock import Clock
from keepdb.errors import Unavailable
from keepdb.query.catalog import Catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import OpenValues
from keepdb.query.refusal import bad_value

from .engine import LiveEngine
from .streams import ChangeStreams


class Subscriptions:
    """live, streams: the two kinds. A client's names are unique across both."""

    def __init__(self, catalog: Catalog, limits: QueryLimits, clock: Clock, open_values: OpenValues) -> None:
        self._limits = limits
        self.live = LiveEngine(catalog, limits, clock, open_values)
        self.streams = ChangeStreams(limits)

    def __len__(self) -> int:
        return self.live.subscribers + len(self.streams)

    def count(self, client: bytes) -> int:
        """Number of subscriptions of one client."""
        return self.live.count(client) + self.streams.count(client)

    def make_room(self, client: bytes, sub: str) -> None:
        """Before a subscription is added. The same name again is a client that renews after a restart of either
        side. Raises InvalidRequest for the name, Unavailable `live_too_many_subscriptions`."""
        if len(sub) > self._limits.sub_chars:
            raise bad_value("sub", sub, f"a text of at most {self._limits.sub_chars} characters")
        self.end(client, sub)
        if (mine := self.count(client)) >= self._limits.subscriptions_per_client:
            raise _full(mine, "subscriptions of this client")
        if len(self) >= self._limits.subscriptions:
            raise _full(len(self), "subscriptions")

    def end(self, client: bytes, sub: str) -> None:
        """End a subscription, if there is one of that name."""
        self.live.unsubscribe(client, sub)
        self.streams.unsubscribe(client, sub)

    def drop_client(self, client: bytes) -> None:
        """End all subscriptions of a client that is gone."""
        self.live.drop_client(client)
        self.streams.drop_client(client)

    def ack(self, client: bytes, sub: str, count: int) -> bool:
        """Give credit back; whether the subscriber has something to be sent now."""
        self.live.ack(client, sub, count)
        return self.streams.ack(client, sub, count) or self.live.waiting

    def restart(self) -> None:
        """Another state file: whoever subscribed reads everything anew."""
        self.live.restart()
        self.streams.restart()


def _full(found: int, what: str) -> Unavailable:
    return Unavailable(
        "live_too_many_subscriptions",
        f"There are {found} {what}, which is the limit.",
        fix="Unsubscribe from what is no longer shown.",
        retryable=False,
    )
