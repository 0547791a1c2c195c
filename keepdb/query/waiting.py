"""Requests that wait until the state has reached a position: how many may, for how long, and their answer."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from keepdb.errors import Unavailable
from keepdb.fabric.inbox import Inbox
from keepdb.fabric.reply import Reply
from messages.base import Request
from messages.queries import Subscribe

from .limits import QueryLimits

#: A refusal leaves this long before its asker gives up, so that it arrives; of short waits at half time.
MARGIN_S = 0.1
#: Waits are looked at this often, in seconds, so one timer does, whatever deadlines come and go.
LOOK_S = 0.05


class Wait(msgspec.Struct, eq=False):
    """One request. at_least: the position it needs. until: monotonic seconds at which it is refused."""

    at_least: int
    request: Request
    reply: Reply
    until: float


class WaitingList:
    """All waits of one query actor, limited per peer and in total."""

    def __init__(self, limits: QueryLimits) -> None:
        self._limits = limits
        self._waits: list[Wait] = []
        self._of_peer: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._waits)

    def add(self, at_least: int, request: Request, reply: Reply, now: float) -> None:
        """Let a request wait. now: monotonic seconds. Raises Unavailable `busy` when too many do."""
        mine = self._of_peer[reply.peer]
        if len(self._waits) >= self._limits.waiting or mine >= self._limits.waiting_per_client:
            raise Unavailable(
                "busy",
                f"{len(self._waits)} requests wait for a position of the state, {mine} of them from here.",
                fix="Try again in a second; `keepdb status` shows whether the writer runs.",
            )
        left = reply.deadline - now
        self._waits.append(Wait(at_least, request, reply, reply.deadline - min(MARGIN_S, left / 2)))
        self._of_peer[reply.peer] += 1

    def take(self, seq: int, now: float) -> list[Wait]:
        """Take out those whose position is there, and those whose time is up."""
        taken = [wait for wait in self._waits if wait.at_least <= seq or wait.until <= now]
        if taken:
            self._waits = [wait for wait in self._waits if wait.at_least > seq and wait.until > now]
            self._of_peer -= Counter(wait.reply.peer for wait in taken)
        return taken

    def drop(self, peer: bytes, sub: str | None = None) -> None:
        """Refuse the subscriptions of this peer that wait, or those of one name: it has gone or changed its mind."""
        dropped = [
            wait
            for wait in self._waits
            if wait.reply.peer == peer
            and isinstance(wait.request, Subscribe)
            and sub in (None, wait.request.sub)
        ]
        for wait in dropped:
            self._waits.remove(wait)
            wait.reply.fail(_ended())
        self._of_peer -= Counter(wait.reply.peer for wait in dropped)

    def pause(self, now: float) -> float:
        """Seconds until take() should be called again."""
        ends = min((wait.until for wait in self._waits), default=now + LOOK_S)
        return max(0.0, min(LOOK_S, ends - now))


def answer(inbox: Inbox, reply: Reply, make: Callable[[], Any]) -> None:
    """Answer an earlier request with what `make` returns or raises, as if it were being handled just now."""
    inbox.reply = reply
    try:
        reply.set(make())
    except Exception as error:
        reply.fail(error)
    finally:
        # Its deadline is not that of the work that follows.
        inbox.reply = None


def not_there_yet(seq: int, at_least: int) -> Unavailable:
    """The refusal of a wait whose time is up."""
    return Unavailable(
        "not_there_yet",
        f"The state is at {seq} and did not reach {at_least} in time.",
        fix="Try again; `keepdb status` shows whether the writer runs.",
    )


def _ended() -> Unavailable:
    return Unavailable(
        "live_ended",
        "The subscription was ended, or its name used again, before its position was there.",
        fix="Subscribe again if the result is still wanted.",
        retryable=False,
    )
