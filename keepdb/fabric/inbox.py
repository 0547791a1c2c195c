"""A pykka inbox that is fed by ZeroMQ: the one place where an actor waits.

Whatever an actor hears comes out of `get` as an envelope: a request, a published change, a word from the
supervisor, a timer tick, something another thread of the process noticed. Receiving is batched: everything
that lies ready (up to BURST_MAX) is taken in one go, and when it has been handled a `Drained` envelope marks
the end of the burst (for actors that set `marks_bursts`), which is where group commit happens.
"""

import heapq
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import msgspec
import zmq
from pykka._envelope import Envelope

from keepdb.clock import Clock
from keepdb.errors import InvalidRequest, NotAllowed
from keepdb.fabric.doorkeeper import Doorkeeper
from keepdb.fabric.reply import Reply, Requests, refusal
from messages.base import Message, Request

logger = logging.getLogger("keepdb.fabric")

#: Messages taken from one socket in one go; also the largest group of commits.
BURST_MAX = 64
#: A request id is the sender's own; 8 bytes are usual.
REQUEST_ID_BYTES_MAX = 32
#: Time for what was sent just before the end to get out.
LINGER_MS = 200
#: Nobody waits longer than ten minutes, whatever a request says.
BUDGET_MS_MAX = 600_000
#: What malformed input makes the decoder raise: the last two escape msgspec's own error class.
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Socket = zmq.Socket[bytes]
M = TypeVar("M", bound=Message)


class Drained:
    """Local: the burst has been handled; nothing more was waiting when the inbox last looked."""


class Due(msgspec.Struct, frozen=True):
    """Local: a timer has come due, or another thread called."""

    run: Callable[[], None]


DRAINED: Final = Drained()


class Inbox:
    """Not thread-safe, but for the callables made by `door`."""

    def __init__(self) -> None:
        self.context: zmq.Context[Socket] = zmq.Context(io_threads=1)
        self.refused_frames = 0
        self.handled = 0
        self.reply: Reply | None = None
        self.requests = Requests()
        self.doorkeeper: Doorkeeper | None = None
        self.marks_bursts = False
        self._ready: deque[Envelope[Any]] = deque()
        self._in_burst = False
        self._poller = zmq.Poller()
        self._readers: dict[Socket | int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, float, Callable[[], None]]] = []
        self._timer_ids = 0
        self._door_ids = 0
        self._doors: dict[bytes, Callable[[], None]] = {}
        self._door_socket: Socket | None = None
        self._clock: Clock | None = None

    # -- what pykka asks of an inbox -------------------------------------------------------------------

    def put(self, envelope: Envelope[Any], /) -> None:
        """From this thread only: what pykka itself sends, such as the order to stop."""
        self._ready.append(envelope)

    def get(self) -> Envelope[Any]:
        """The next envelope; waits for one. The request's Reply is in `self.reply` while it is handled."""
        while not self._ready:
            self._wait(0.0 if self._in_burst else None)
            if self._in_burst and not self._ready:
                self._in_burst = False
                self.reply = None
                return Envelope(DRAINED)
        self._in_burst = self.marks_bursts
        envelope = self._ready.popleft()
        reply = envelope.reply_to
        self.reply = reply if isinstance(reply, Reply) else None
        self.handled += 1
        return envelope

    def empty(self) -> bool:
        return not self._ready

    def take(self, kind: type[M], limit: int) -> list[tuple[M, Reply]]:
        """Requests of one kind that lie ready, without waiting: they join work that is under way.

        What else is there keeps its order and its turn.
        """
        self._wait(0.0)
        taken: list[tuple[M, Reply]] = []
        kept: deque[Envelope[Any]] = deque()
        for envelope in self._ready:
            reply: Any = envelope.reply_to
            if len(taken) < limit and type(envelope.message) is kind and isinstance(reply, Reply):
                taken.append((envelope.message, reply))
            else:
                kept.append(envelope)
        self._ready = kept
        self.handled += len(taken)
        return taken

    def take_unhandled(self) -> list[Reply]:
        """At the end: where the answers of requests that were received but not handled would have gone."""
        waiting: list[Any] = [envelope.reply_to for envelope in self._ready]
        self._ready.clear()
        return [reply for reply in waiting if isinstance(reply, Reply)]

    # -- sources ---------------------------------------------------------------------------------------

    def use_clock(self, clock: Clock) -> None:
        self._clock = clock

    def serve(self, router: Socket, decode: Callable[[bytes], Any]) -> None:
        """Take requests and tells from a ROUTER; `decode` is the actor's one typed decoder."""
        self.watch(router, lambda: self._read_router(router, decode))

    def listen(self, socket: Socket, decode: Callable[[bytes], Any], body: int = -1) -> None:
        """Take messages from a trusted one-way source (SUB, or DEALER to the supervisor)."""
        self.watch(socket, lambda: self._read_stream(socket, decode, body))

    def admit(self, doorkeeper: Doorkeeper) -> None:
        """Answer connection attempts in this loop, and in that of every RemoteRef while it waits."""
        self.doorkeeper = doorkeeper
        self.watch(doorkeeper.socket, doorkeeper.answer)

    def watch(self, source: Socket | int, read: Callable[[], None]) -> None:
        """Call `read` whenever the socket or descriptor has something."""
        self._readers[source] = read
        self._poller.register(source, zmq.POLLIN)

    def after(self, seconds: float, run: Callable[[], None]) -> None:
        """Run once, as an envelope, `seconds` from now."""
        self._push_timer(seconds, 0.0, run)

    def every(self, seconds: float, run: Callable[[], None]) -> None:
        """Run again and again, as an envelope; ticks that were missed are not made up for."""
        self._push_timer(seconds, seconds, run)

    def door(self, run: Callable[[], None]) -> Callable[[], None]:
        """A callable for another thread (or a signal handler), to be called once: `run` becomes an envelope."""
        if self._door_socket is None:
            self._door_socket = self.context.socket(zmq.PULL)
            self._door_socket.bind("inproc://doors")
            self.watch(self._door_socket, self._read_doors)
        self._door_ids += 1
        name = b"%d" % self._door_ids
        self._doors[name] = run

        def knock() -> None:
            # Made in the thread that uses it: ZeroMQ sockets must not change threads.
            socket = self.context.socket(zmq.PUSH)
            socket.connect("inproc://doors")
            socket.send(name)
            socket.close(linger=1_000)

        return knock

    # -- waiting and reading ---------------------------------------------------------------------------

    def _wait(self, limit: float | None) -> None:
        assert self._clock is not None, "call use_clock() before the first get()"
        now = self._clock.monotonic()
        if self._timers and limit is None:
            limit = max(0.0, self._timers[0][0] - now)
        # Rounded up: waking a fraction of a millisecond early would spin until the timer is due.
        for source, _ in self._poller.poll(None if limit is None else int(limit * 1000 + 0.999)):
            self._readers[source]()
        if self._timers:
            self._run_timers(self._clock.monotonic())

    def _read_router(self, router: Socket, decode: Callable[[bytes], Any]) -> None:
        assert self._clock is not None
        now = self._clock.monotonic()
        send = router_send(router)
        for _ in range(BURST_MAX):
            try:
                # The identity frame carries the ZAP metadata of the connection (libzmq router.cpp, xrecv).
                identity = router.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            frames = router.recv_multipart()
            reply = Reply(send, identity.bytes, frames[0], str(identity.get("User-Id")), now, self.requests)
            self._take(reply, decode, frames, now)

    def _take(self, reply: Reply, decode: Callable[[bytes], Any], frames: list[bytes], now: float) -> None:
        """Turn two frames into an envelope, or refuse them."""
        if len(frames) != 2 or len(frames[0]) > REQUEST_ID_BYTES_MAX:
            self.refused_frames += 1
            return
        try:
            message = decode(frames[1])
        except MALFORMED as error:
            self._refuse(reply, malformed(error))
            return
        if reply.role not in message.roles:
            self._refuse(reply, not_allowed(reply.role, message))
        elif not isinstance(message, Request):
            self._ready.append(Envelope(Told(message, reply.peer, reply.sender)))
        elif reply.wanted and not self.requests.is_copy(reply):
            reply.deadline = now + min(message.budget_ms, BUDGET_MS_MAX) / 1000
            self._ready.append(Envelope(message, reply_to=cast("Any", reply)))
        elif not reply.wanted:
            self.refused_frames += 1

    def _refuse(self, reply: Reply, error: Exception) -> None:
        self.refused_frames += 1
        if reply.wanted:
            reply.set(refusal(error))

    def _read_stream(self, socket: Socket, decode: Callable[[bytes], Any], body: int) -> None:
        for _ in range(BURST_MAX):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._ready.append(Envelope(Told(decode(frames[body]), b"", "")))
            except MALFORMED as error:
                self.refused_frames += 1
                logger.error("malformed message from a trusted source", exc_info=error)

    def _read_doors(self) -> None:
        assert self._door_socket is not None
        self._ready.append(Envelope(Due(self._doors.pop(self._door_socket.recv()))))

    # -- timers ----------------------------------------------------------------------------------------

    def _push_timer(self, seconds: float, interval: float, run: Callable[[], None]) -> None:
        assert self._clock is not None
        self._timer_ids += 1
        heapq.heappush(self._timers, (self._clock.monotonic() + seconds, self._timer_ids, interval, run))

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, interval, run = heapq.heappop(self._timers)
            if interval:
                self._push_timer(interval, interval, run)
            self._ready.append(Envelope(Due(run)))

    def close(self) -> None:
        """Close every socket; last answers and last words get LINGER_MS to leave."""
        self.context.destroy(linger=LINGER_MS)


class Told(msgspec.Struct, frozen=True):
    """A message nobody waits for. peer: the routing id it came from; sender: the name its key belongs to.
    Both are empty for the supervisor and the feed."""

    message: Message
    peer: bytes
    sender: str


def router_send(router: Socket) -> Callable[[list[bytes]], None]:
    """Send without ever blocking: a peer that does not read loses its answer, not our time."""
    # As plain integers: pyzmq's send_multipart combines its flags for every frame anew: 3 µs of every answer.
    last = int(zmq.NOBLOCK)
    more = last | int(zmq.SNDMORE)

    def send(frames: list[bytes]) -> None:
        for frame in frames[:-1]:
            router.send(frame, more)
        router.send(frames[-1], last)

    return send


def not_allowed(role: str, message: Message) -> NotAllowed:
    """The refusal for a message that the sender's role may not send."""
    return NotAllowed(
        "not_allowed",
        f"A {role} connection may not send {type(message).__name__}.",
        fix="Connect with a key whose role allows it.",
    )


def malformed(error: Exception) -> InvalidRequest:
    """The refusal for bytes that are not a message of this protocol."""
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return InvalidRequest(
        "malformed_message",
        f"The frame is not a message this endpoint accepts: {reason}.",
        fix="See docs/protocol.md for the messages and their fields.",
    )
