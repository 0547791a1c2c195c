"""The client's end of the wire: one DEALER per service, requests with deadlines, pushes by subscription.

Every request is safe to send twice (commits are numbered, reads have no effect, subscriptions are named), so
whatever stays unanswered is sent again with growing pauses until its deadline: a restarted actor loses nothing.
"""

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

import msgspec
import zmq

from keepdb.client.resending import ResendClock
from keepdb.clock import Clock
from keepdb.errors import InvalidRequest, KeepError, Unavailable
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.sockets import build_socket
from messages import backups, commits, control, queries
from messages.base import FRAME_BYTES_MAX, Done, Message, Refused, Request, decoder, encode

Answer = TypeVar("Answer", bound=Message)

#: Refusals that only mean "not at this moment"; the request is repeated as it is.
PASSING = frozenset({"out_of_order", "outcome_unknown", "peer_silent", "peer_unknown"})

#: What bytes that are not a known message make the decoder raise; the last two escape msgspec's own class.
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = decoder(
    Refused, Done, commits.Receipt, commits.WriterFigures, queries.Rows, queries.Subscribed, queries.Moved,
    queries.Pong, queries.Snapshot, queries.Diff, queries.Changes, queries.Rehydrate, queries.LiveFailed,
    queries.Description, queries.Explanation, queries.QueryFigures, control.Status, control.Health,
    backups.JobStarted, backups.Job, backups.Backups,
).decode  # fmt: skip


class Refusal(KeepError):
    """The server refused; code, message, fix and retryable are the server's."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a service is. key: its CURVE public key in Z85."""

    name: str
    address: str
    key: str


class Pending:
    """A request on its way. make: builds the message anew for every sending. clock: None = it is sent once."""

    def __init__(
        self, service: str, make: Callable[[], Message], deadline: float, clock: ResendClock | None
    ) -> None:
        self.service = service
        self.make = make
        self.deadline = deadline
        self.clock = clock
        self.answer: Message | None = None
        self.given_up = False

    @property
    def settled(self) -> bool:
        """Whether nobody waits for its answer any more."""
        return self.answer is not None or self.given_up


class Link:
    """All connections of one client. own: its key pair; endpoints by service name."""

    def __init__(self, endpoints: dict[str, Endpoint], own: KeyPair, clock: Clock) -> None:
        self.endpoints = endpoints
        #: By name of the subscription; names are longer than request ids, so that they never meet.
        self.pushes: dict[bytes, deque[Message]] = {}
        self.clock = clock
        self._own = own
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self._pending: dict[bytes, Pending] = {}
        self._ids = count(1)
        self._in_order = ResendClock()

    def start(
        self,
        service: str,
        make: Callable[[], Message],
        timeout: float,
        *,
        resend: bool = True,
        in_order: bool = False,
    ) -> Pending:
        """Send a request now; wait for it with `finish`. timeout in seconds. in_order: see resending.py.

        Raises InvalidRequest: `malformed_message` for values the wire does not know, `message_too_large`.
        """
        now = self.clock.monotonic()
        clock = (self._in_order if in_order else ResendClock()) if resend else None
        pending = Pending(service, make, now + timeout, clock)
        request_id = next(self._ids).to_bytes(8, "big")
        self._send(request_id, pending)
        if clock is not None and not (in_order and self._waits_in_order()):
            clock.progressed(now)
            clock.sent(now)
        # Only now: what cannot be sent at all must not be tried again and again.
        self._pending[request_id] = pending
        return pending

    def finish(self, pending: Pending, answer: type[Answer]) -> Answer:
        """Wait for the answer. Raises Refusal, or Unavailable (`timeout`) when its deadline has passed."""
        while pending.answer is None:
            remaining = pending.deadline - self.clock.monotonic()
            if remaining <= 0:
                self._drop(pending)
                raise Unavailable(
                    "timeout",
                    f"The {pending.service} service did not answer in time.",
                    fix="Check `keepdb status`. A commit may have been carried out: send it again to find out.",
                )
            self.pump(remaining)
        found = pending.answer
        if isinstance(found, Refused):
            raise Refusal(found.code, found.message, fix=found.fix, retryable=found.retryable)
        if not isinstance(found, answer):
            raise Unavailable(
                "protocol_error",
                f"The {pending.service} service answered with {type(found).__name__}.",
                fix="Client and server are of different versions; update both.",
                retryable=False,
            )
        return found

    def ask(
        self, service: str, message: Request, answer: type[Answer], timeout: float, *, resend: bool = True
    ) -> Answer:
        """Send and wait."""
        message = msgspec.structs.replace(message, budget_ms=max(1, int(timeout * 1000)))
        return self.finish(self.start(service, lambda: message, timeout, resend=resend), answer)

    def tell(self, service: str, message: Message) -> None:
        """Send without an answer."""
        self._deliver(service, [b"", encode(message)])

    def pump(self, limit: float) -> None:
        """Take in what has arrived, send again what is due; waits at most `limit` seconds for something."""
        now = self.clock.monotonic()
        due = min((p.clock.due for p in self._pending.values() if p.clock is not None), default=now + limit)
        wait_ms = int(max(0.0, min(limit, due - now)) * 1000 + 0.999)
        for socket, _ in self._poller.poll(wait_ms):
            self._receive(socket)
        now = self.clock.monotonic()
        again: set[ResendClock] = set()
        for request_id, pending in list(self._pending.items()):
            if now >= pending.deadline:
                self._drop(pending)
            elif pending.clock is not None and now >= pending.clock.due:
                self._send(request_id, pending)
                again.add(pending.clock)
        for clock in again:
            clock.sent(now)

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _receive(self, socket: Any) -> None:
        while True:
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            message = _decoded(frames[-1])
            if (queue := self.pushes.get(frames[0])) is not None:
                queue.append(message)
            else:
                self._settle(frames[0], message)

    def _settle(self, request_id: bytes, message: Message) -> None:
        """Take in what came for a request, which may have been given up meanwhile."""
        pending = self._pending.get(request_id)
        if pending is None:
            return
        if isinstance(message, Refused) and message.code in PASSING and pending.clock is not None:
            pending.clock.refused_for_now()
            return
        pending.answer = message
        del self._pending[request_id]
        if pending.clock is not None:
            pending.clock.progressed(self.clock.monotonic())

    def _waits_in_order(self) -> bool:
        return any(pending.clock is self._in_order for pending in self._pending.values())

    def _send(self, request_id: bytes, pending: Pending) -> None:
        self._deliver(pending.service, [request_id, _encoded(pending.make())])

    def _deliver(self, service: str, frames: list[bytes]) -> None:
        socket = self._sockets.get(service) or self._connect(service)
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return  # its queue is full; a request is sent again, a tell is repeated by its sender

    def _connect(self, service: str) -> zmq.Socket[bytes]:
        endpoint = self.endpoints.get(service)
        if endpoint is None:
            raise Unavailable(
                "service_unknown", f"This database offers no service {service!r}.", fix="See `keepdb status`."
            )
        socket = build_socket(self._context, "dealer", self._own, endpoint.key.encode())
        socket.connect(endpoint.address)
        self._poller.register(socket, zmq.POLLIN)
        self._sockets[service] = socket
        return socket

    def _drop(self, pending: Pending) -> None:
        pending.given_up = True
        for request_id, known in list(self._pending.items()):
            if known is pending:
                del self._pending[request_id]


def _decoded(frame: bytes) -> Message:
    """The message. What a newer server says and we do not know is a refusal to whom it concerns, and to nobody
    else: many requests share a socket, and whoever waits takes in everybody's answers."""
    try:
        message: Message = _decode(frame)
    except _MALFORMED:
        return Refused(
            code="protocol_error",
            message="The answer is no message that this client knows.",
            fix="Client and server are of different versions; update both.",
        )
    return message


def _encoded(message: Message) -> bytes:
    """The message's bytes. Raises InvalidRequest where they could not be sent, or the peer would drop us."""
    try:
        frame = encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(
            "malformed_message",
            f"The {type(message).__name__} holds a value that cannot be sent: {error}.",
            fix="Use text, bytes, booleans, null, numbers of 64 bits, and lists and maps of these.",
        ) from error
    if len(frame) > FRAME_BYTES_MAX:
        raise InvalidRequest(
            "message_too_large",
            f"The {type(message).__name__} has {len(frame)} bytes; allowed are {FRAME_BYTES_MAX}.",
            fix="Split it into several smaller ones.",
        )
    return frame
