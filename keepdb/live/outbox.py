"""Pushes on their way to clients: one queue each, so that a client which does not read holds up nobody else."""

from collections import deque
from collections.abc import Callable

import zmq

from messages.base import encode
from messages.queries import Push

#: A push that finds its client's socket queue full is tried again this soon.
RETRY_S = 0.02


class Outbox:
    """router: the actor's socket. later: runs a callable after so many seconds. gone: is told which client left.

    Bounded by the credits of a client's subscriptions: without credit nothing is pushed.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        later: Callable[[float, Callable[[], None]], None],
        gone: Callable[[bytes], None],
    ) -> None:
        self._router = router
        self._later = later
        self._gone = gone
        self._queues: dict[bytes, deque[Push]] = {}
        self._retry_due = False

    def __len__(self) -> int:
        """Number of clients that have not taken in all of their pushes."""
        return len(self._queues)

    def push(self, client: bytes, push: Push) -> None:
        """Send, now or as soon as the client takes it; the order of one client's pushes is kept."""
        waiting = self._queues.get(client)
        if waiting is not None:
            waiting.append(push)
            return
        waiting = deque([push])
        self._send(client, waiting)
        if waiting:
            self._queues[client] = waiting
            self._retry_later()

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

    def _send(self, client: bytes, waiting: deque[Push]) -> None:
        """Send what the client's socket queue takes. A client that is gone takes its pushes along."""
        try:
            while waiting:
                push = waiting[0]
                # The name comes first, so that who passes frames on need not read what is inside.
                self._router.send_multipart([client, push.sub.encode(), encode(push)], zmq.NOBLOCK)
                waiting.popleft()
        except zmq.Again:
            return
        except zmq.ZMQError:
            waiting.clear()
            self._gone(client)
