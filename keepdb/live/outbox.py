"""Pushes on their way to clients: one queue each, so that a client which does not read holds up nobody else."""

from collections import deque
from collections.abc import Callable

import zmq

from keepdb.fabric.inbox import router_send
from messages.base import FRAME_BYTES_MAX, encode
from messages.queries import LiveFailed, Push

#: A push that finds its client's socket queue full is tried again this soon.
RETRY_S = 0.02


class Outbox:
    """router: the actor's socket. later: runs a callable after so many seconds. gone: is told which client left, end:
    which subscription of which client cannot go on.

    Bounded by the credits of a client's subscriptions: without credit nothing is pushed.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        later: Callable[[float, Callable[[], None]], None],
        gone: Callable[[bytes], None],
        end: Callable[[bytes, str], None],
    ) -> None:
        self._send_frames = router_send(router)
        self._later = later
        self._gone = gone
        self._end = end
        self._queues: dict[bytes, deque[tuple[bytes, bytes]]] = {}
        self._retry_due = False

    def __len__(self) -> int:
        """Number of clients that have not taken in all of their pushes."""
        return len(self._queues)

    def push(self, client: bytes, push: Push) -> None:
        """Send, now or as soon as the client takes it; the order of one client's pushes is kept."""
        # The name comes first, so that who passes frames on need not read what is inside.
        frames = push.sub.encode(), self._body(client, push)
        waiting = self._queues.get(client)
        if waiting is not None:
            waiting.append(frames)
            return
        waiting = deque([frames])
        self._send(client, waiting)
        if waiting:
            self._queues[client] = waiting
            self._retry_later()

    def _body(self, client: bytes, push: Push) -> bytes:
        body = encode(push)
        if len(body) <= FRAME_BYTES_MAX:
            return body
        # The client's socket would drop the connection, and all its other subscriptions with it.
        self._end(client, push.sub)
        failed = LiveFailed(
            sub=push.sub,
            code="query_too_large",
            message=f"The result has grown larger than {FRAME_BYTES_MAX >> 20} MiB.",
            fix="Select fewer columns or use a smaller limit.",
        )
        return encode(failed)

    def _retry(self) -> None:
        self._retry_due = False
        for client, waiting in list(self._queues.items()):
            self._send(client, waiting)
            if not waiting:
                del self._queues[client]
        if self._queues:
            self._retry_later()

    def _retry_later(self) -> None:
        # One timer for all queues, or every waiting push would add its own.
        if not self._retry_due:
            self._retry_due = True
            self._later(RETRY_S, self._retry)

    def _send(self, client: bytes, waiting: deque[tuple[bytes, bytes]]) -> None:
        """Send what the client's socket queue takes. A client that is gone takes its pushes along."""
        try:
            while waiting:
                self._send_frames([client, *waiting[0]])
                waiting.popleft()
        except zmq.Again:
            return
        except zmq.ZMQError:
            waiting.clear()
            self._gone(client)
