"""Live queries and change streams on the client's side: they survive restarts of the actor that feeds them."""

import abc
import contextlib
import secrets
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import msgspec

from keepdb.client.link import Link, Pending, Refusal
from keepdb.errors import KeepError, Unavailable
from keepdb.live.diff import apply_diff
from messages.base import Done, Message
from messages.queries import (
    Ack,
    Changes,
    Diff,
    LiveFailed,
    Moved,
    Ping,
    Pong,
    Query,
    Rehydrate,
    Snapshot,
    Sql,
    Subscribe,
    SubscribeChanges,
    Subscribed,
    Unsubscribe,
)

#: How often the client asks whether the actor still knows the subscription.
PING_S = 0.5
SUBSCRIBE_S = 10.0
#: Pushes that may be under way, and how many are acknowledged at once: an ack for each would wake the actor as often as
#: the changes do.
CREDIT, ACK_EVERY = 16, 8


class LiveResult(msgspec.Struct, frozen=True):
    """A live query's result at seq. diff: how it came from the one before; None where it was read anew.

    cursor: behind the last row, None when there is no further row.
    """

    columns: tuple[str, ...]
    rows: list[Any]
    seq: int
    diff: Diff | None
    cursor: str | None = None

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as maps."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class _Subscription(abc.ABC):
    """What both kinds share: subscribing, following `moved`, noticing that the actor has forgotten us."""

    def __init__(self, link: Link, service: str) -> None:
        self.sub = secrets.token_hex(8)
        self._link = link
        self._service = service
        self._epoch = ""
        self._pushes: deque[Message] = deque()
        self._unacknowledged = 0
        self._ping: Pending | None = None
        self._ping_at = 0.0
        link.pushes[self.sub.encode()] = self._pushes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unsubscribe; an actor that does not answer finds out by itself."""
        self._link.pushes.pop(self.sub.encode(), None)
        with contextlib.suppress(KeepError):
            self._link.ask(self._service, Unsubscribe(sub=self.sub), Done, 1.0)

    @abc.abstractmethod
    def _request(self) -> Subscribe | SubscribeChanges:
        """What to subscribe with, as of now."""

    def _subscribe(self) -> Subscribed:
        self._pushes.clear()
        self._unacknowledged = 0
        while True:
            answer: Message = self._link.ask(self._service, self._request(), Message, SUBSCRIBE_S)
            if isinstance(answer, Subscribed):
                self._epoch = answer.epoch
                self._ping_at = self._link.clock.monotonic() + PING_S
                return answer
            if not isinstance(answer, Moved):
                raise Unavailable(
                    "protocol_error", "Subscribing was answered oddly.", fix="Update the client."
                )
            self._service = answer.service

    def _next(self, timeout: float | None) -> Message | None:
        """The next push that goes on from what we have; None when `timeout` seconds have passed without one."""
        clock = self._link.clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        while True:
            while self._pushes:
                push = self._pushes.popleft()
                self._acknowledge()
                if self._follows(push):
                    return push
            now = clock.monotonic()
            if deadline is not None and now >= deadline:
                return None
            self._check_alive(now)
            self._link.pump(PING_S if deadline is None else min(PING_S, deadline - now))

    def _acknowledge(self) -> None:
        self._unacknowledged += 1
        if self._unacknowledged == ACK_EVERY:
            self._link.tell(self._service, Ack(sub=self.sub, count=ACK_EVERY))
            self._unacknowledged = 0

    def _follows(self, push: Message) -> bool:
        """Whether a push belongs to the subscription as it is now, not to the one that was renewed."""
        return True

    def _check_alive(self, now: float) -> None:
        if self._ping is None and now >= self._ping_at:
            self._ping = self._link.start(self._service, Ping, PING_S * 20)
        if self._ping is None or (self._ping.answer is None and now < self._ping.deadline):
            return
        answer, self._ping = self._ping.answer, None
        self._ping_at = now + PING_S
        if not isinstance(answer, Pong) or answer.epoch != self._epoch or answer.subscriptions == 0:
            self._renew()

    def _renew(self) -> None:
        """Subscribe again from where we are; after a refusal that may pass, the next ping tries once more."""
        try:
            self._subscribe()
        except KeepError as error:
            if not error.retryable:
                raise


class LiveQuery(_Subscription):
    """Iterating yields a LiveResult first at once and then whenever the result has changed."""

    def __init__(self, link: Link, service: str, plan: Query | Sql, at_least: int = 0) -> None:
        super().__init__(link, service)
        self._plan = plan
        self._at_least = at_least
        self.columns: tuple[str, ...] = ()
        self.rows: list[Any] = []
        self.seq = 0
        self._key = -1
        self._has_base = False
        self._subscribe()

    def __iter__(self) -> Iterator[LiveResult]:
        while True:
            result = self.update(None)
            if result is not None:
                yield result

    def update(self, timeout: float | None) -> LiveResult | None:
        """The next changed result; None after `timeout` seconds without a change. Raises KeepError."""
        push = self._next(timeout)
        if isinstance(push, Snapshot):
            self.columns, self.rows, self.seq, self._key = push.columns, push.rows, push.seq, push.key
            return LiveResult(self.columns, self.rows, self.seq, None, push.cursor)
        if isinstance(push, Diff):
            self.rows, self.seq = apply_diff(self.rows, self._key, push), push.seq
            return LiveResult(self.columns, self.rows, self.seq, push, push.cursor)
        if isinstance(push, LiveFailed):
            raise Refusal(push.code, push.message, fix=push.fix, retryable=push.retryable)
        return None

    def _subscribe(self) -> Subscribed:
        # Diffs of the subscription before may still be under way, and lead on from another result.
        self._has_base = False
        return super()._subscribe()

    def _follows(self, push: Message) -> bool:
        self._has_base = self._has_base or not isinstance(push, Diff)
        return self._has_base

    def _request(self) -> Subscribe:
        query = self._plan if isinstance(self._plan, Query) else None
        sql = self._plan if isinstance(self._plan, Sql) else None
        at_least = max(self._at_least, self.seq)
        return Subscribe(sub=self.sub, query=query, sql=sql, at_least=at_least, credit=CREDIT)


class ChangeStream(_Subscription):
    """Iterating yields Changes pushes without gap and in order, or Rehydrate where continuity is broken."""

    def __init__(self, link: Link, service: str, after: int, collections: tuple[str, ...]) -> None:
        super().__init__(link, service)
        self.seq = after
        self.generation = 0
        self._collections = collections
        started = self._subscribe()
        self.seq, self.generation = (started.seq if after < 0 else after), started.generation

    def __iter__(self) -> Iterator[Changes | Rehydrate]:
        while True:
            push = self.update(None)
            if push is not None:
                yield push

    def update(self, timeout: float | None) -> Changes | Rehydrate | None:
        """The next push; None after `timeout` seconds without one. Raises KeepError."""
        push = self._next(timeout)
        if isinstance(push, Changes):
            return self._continued(push)
        if isinstance(push, Rehydrate):
            self.seq, self.generation = push.seq, push.generation
            return push
        if isinstance(push, LiveFailed):
            raise Refusal(push.code, push.message, fix=push.fix, retryable=push.retryable)
        return None

    def _continued(self, push: Changes) -> Changes | None:
        """What is new in a push. A renewed subscription may overlap with pushes that were under way, or, where the
        answer to an earlier request of it was lost, begin too late; then it is renewed from where we are."""
        if push.seq_first > self.seq + 1:
            self._subscribe()
            return None
        if push.seq_last <= self.seq:
            return None
        if push.seq_first <= self.seq:
            rows = [row for row in push.rows if row[0] > self.seq]
            push = msgspec.structs.replace(push, seq_first=self.seq + 1, rows=rows)
        self.seq = push.seq_last
        return push

    def _request(self) -> SubscribeChanges:
        return SubscribeChanges(
            sub=self.sub,
            after=self.seq,
            generation=self.generation,
            collections=self._collections,
            credit=CREDIT,
        )
