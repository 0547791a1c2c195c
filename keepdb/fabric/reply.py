"""Answering a request that came over the wire: at once, later, or with a refusal."""

import logging
import sys
from collections.abc import Callable
from typing import Any, Final

import zmq

from keepdb.errors import InvalidRequest, InvariantBroken, KeepError
from messages.base import FRAME_BYTES_MAX, Message, Refused, encode

logger = logging.getLogger("keepdb.fabric")

#: Request ids remembered over all connections: many times what can be under way at once.
REQUESTS_REMEMBERED = 16_384


class Deferred:
    """What a handler returns to say that it will answer later, through the Reply it took."""

    def __repr__(self) -> str:
        return "DEFERRED"


DEFERRED: Final = Deferred()


def refusal(error: BaseException) -> Refused:
    """The wire form of an error. Anything unplanned tells the peer its class only, the log the rest."""
    if isinstance(error, KeepError):
        return Refused(code=error.code, message=error.message, fix=error.fix, retryable=error.retryable)
    if isinstance(error, RecursionError):
        # The decoder takes a few levels more than are left deeper in the stack.
        return Refused(
            code="malformed_message",
            message="The request is nested too deeply to be carried out.",
            fix="Use at most 100 levels of lists and maps.",
        )
    logger.error("unplanned error answered as internal_error", exc_info=error)
    return Refused(
        code="internal_error",
        message=f"An unexpected {type(error).__name__} happened while handling the request.",
        fix="Look into the logs (`keepdb logs`) and report it; other requests are not affected.",
    )


def too_large(what: str, size: int) -> InvalidRequest:
    """The refusal in place of a message that no socket would take in. what: "answer" or "message"; size: bytes."""
    return InvalidRequest(
        "message_too_large",
        f"The {what} has {size} bytes; allowed are {FRAME_BYTES_MAX}.",
        fix="Ask for less: a smaller limit, fewer columns, or page by page with the cursor.",
    )


class Requests:
    """Which requests of which connections are being handled or were answered, so that copies can be told.

    Whoever hears nothing asks again with the same request id; on one connection such a copy is never needed,
    unless the answer got lost on our side or only meant "not at this moment". promised: answers that come later.
    """

    def __init__(self) -> None:
        self.promised: set[Reply] = set()
        self._known: dict[tuple[bytes, bytes], None] = {}

    def is_copy(self, reply: "Reply") -> bool:
        """Whether this request was taken in before; if not, it is from now on."""
        if reply.key in self._known:
            return True
        self._known[reply.key] = None
        if len(self._known) > REQUESTS_REMEMBERED:
            del self._known[next(iter(self._known))]
        return False

    def forget(self, reply: "Reply") -> None:
        """The next copy is to be handled like a new request."""
        self._known.pop(reply.key, None)


class Reply:
    """Where one request's answer goes. Takes the place of pykka's future in the envelope.

    user: the peer's ZAP User-Id, "role:name". deadline: monotonic seconds after which the asker no longer waits.
    """

    __slots__ = ("_request_id", "_requests", "_send", "answered", "deadline", "peer", "role", "sender")

    def __init__(
        self,
        send: Callable[[list[bytes]], None],
        peer: bytes,
        request_id: bytes,
        user: str,
        deadline: float,
        requests: Requests,
    ) -> None:
        self._send = send
        self._request_id = request_id
        self._requests = requests
        self.peer = peer
        self.role, _, self.sender = user.partition(":")
        self.deadline = deadline
        self.answered = False

    @property
    def key(self) -> tuple[bytes, bytes]:
        """What tells this request from others: its connection and its id there."""
        return self.peer, self._request_id

    @property
    def wanted(self) -> bool:
        """Whether the sender named a request id, that is, waits for an answer."""
        return bool(self._request_id)

    def defer(self) -> "Reply":
        """Promise a later answer; whatever is still promised at teardown gets `outcome_unknown`."""
        self._requests.promised.add(self)
        return self

    def set(self, value: Any = None) -> None:
        """Send the answer. pykka calls this with whatever a handler returned; DEFERRED means not now."""
        if value is DEFERRED:
            return
        if self.answered or not isinstance(value, Message):
            raise InvariantBroken(
                "reply_misused",
                f"A handler answered twice or with {type(value).__name__}, which is not a message.",
                fix="Return a message, or DEFERRED after Reply.defer().",
            )
        self.answered = True
        self._requests.promised.discard(self)
        frame = encode(value)
        if len(frame) > FRAME_BYTES_MAX:
            # The peer's socket would drop the connection, and the peer would ask again and again.
            frame = encode(refusal(too_large("answer", len(frame))))
        try:
            self._send([self.peer, self._request_id, frame])
        except zmq.ZMQError:
            # The asker is gone or does not read: its request was carried out all the same.
            logger.debug("an answer found nobody to take it")
            self._requests.forget(self)
        if isinstance(value, Refused) and value.retryable:
            self._requests.forget(self)

    def set_exception(self, exc_info: Any = None) -> None:
        """Send the current (or given) exception as a refusal; pykka calls this when a handler raised."""
        self.fail((exc_info or sys.exc_info())[1] or RuntimeError("no exception is being handled"))

    def fail(self, error: BaseException) -> None:
        """Send an error as a refusal."""
        self.set(refusal(error))
