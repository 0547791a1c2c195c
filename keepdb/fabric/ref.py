"""Speaking to another actor's process: `ask` and `tell`, as with pykka's ActorRef, but every wait ends.

Asks go along an acyclic graph only (design section 2), so no two actors can wait for each other.
"""

import logging
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

import msgspec
import zmq

from keepdb.clock import Clock
from keepdb.errors import KeepError, Unavailable
from keepdb.fabric.inbox import MALFORMED, Inbox
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.reply import too_large
from keepdb.fabric.sockets import build_socket
from messages.base import FRAME_BYTES_MAX, Message, Refused, Request, decoder, encode
from messages.control import Service

logger = logging.getLogger("keepdb.fabric")

Answer = TypeVar("Answer", bound=Message)

#: An ask whose peer was just restarted is lost with the peer; asks are idempotent, so they are sent again.
RESEND_S = 0.25
#: The actor keeps its heartbeat going while it waits for an answer.
PULSE_S = 0.1


class RemoteRefusal(KeepError):
    """A peer's typed refusal, raised where the ask was made."""

    @classmethod
    def of(cls, refused: Refused) -> "RemoteRefusal":
        return cls(refused.code, refused.message, fix=refused.fix, retryable=refused.retryable)


class RemoteRef:
    """Reference to the actor behind `service`. Belongs to one thread.

    answers: the message types the actor replies with. pulse: called at least every PULSE_S during an ask.
    """

    def __init__(
        self,
        inbox: Inbox,
        own: KeyPair,
        service: Service,
        clock: Clock,
        answers: tuple[type[Message], ...],
        pulse: Callable[[], None],
    ) -> None:
        self.service = service
        self._clock = clock
        self._pulse = pulse
        self._decode = decoder(Refused, *answers).decode
        self._socket = build_socket(inbox.context, "dealer", own, service.key.encode())
        self._socket.connect(service.endpoint)
        self._ids = count(1)
        self._doorkeeper = inbox.doorkeeper
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        if self._doorkeeper is not None:
            self._poller.register(self._doorkeeper.socket, zmq.POLLIN)

    def tell(self, message: Message) -> None:
        """Send and forget. What a peer cannot take in is dropped: tells are hints or are repeated."""
        try:
            self._socket.send_multipart([b"", encode(message)], zmq.NOBLOCK)
        except zmq.Again:
            logger.warning("a message to %s was dropped: its queue is full", self.service.name)

    def ask(self, message: Request, answer: type[Answer], *, timeout: float) -> Answer:
        """The answer, within `timeout` seconds.

        Raises RemoteRefusal when the peer refuses, Unavailable (`peer_silent`) when time is up.
        """
        deadline = self._clock.monotonic() + timeout
        request_id = next(self._ids).to_bytes(8, "big")
        # Each hop passes on less time than it was given.
        frame = encode(msgspec.structs.replace(message, budget_ms=int(timeout * 1000)))
        if len(frame) > FRAME_BYTES_MAX:
            raise too_large("message", len(frame))
        frames = [request_id, frame]
        resend_at = 0.0
        while (now := self._clock.monotonic()) < deadline:
            if now >= resend_at:
                self._send(frames)
                resend_at = now + RESEND_S
            if self._wait(min(deadline, resend_at, now + PULSE_S) - now):
                found = self._receive(request_id)
                if isinstance(found, answer):
                    return found
                if isinstance(found, Refused):
                    raise RemoteRefusal.of(found)
            else:
                self._pulse()
        raise Unavailable(
            "peer_silent",
            f"The {self.service.name} actor did not answer {type(message).__name__} within {timeout:.1f} s.",
            fix="Try again; if it stays so, look at `keepdb status` and `keepdb logs`.",
        )

    def _wait(self, seconds: float) -> bool:
        """Whether the socket has something. Admits peers meanwhile: they may be the ones we wait for."""
        found = dict(self._poller.poll(int(seconds * 1000 + 0.999)))
        if self._doorkeeper is not None and self._doorkeeper.socket in found:
            self._doorkeeper.answer()
        return self._socket in found

    def _send(self, frames: list[bytes]) -> None:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            logger.warning("%s takes nothing in", self.service.name)

    def _receive(self, request_id: bytes) -> Any:
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
            if frames[0] != request_id:
                return None  # the late answer of an ask that was given up or sent twice
            return self._decode(frames[1])
        except zmq.Again:
            return None
        except MALFORMED as error:
            logger.error("%s answered with a malformed message", self.service.name, exc_info=error)
            return None

    def close(self) -> None:
        self._socket.close(linger=0)
