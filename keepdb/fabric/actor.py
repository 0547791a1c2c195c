"""ProcessActor: a pykka actor type whose inbox is ZeroMQ and whose home is a process of its own.

pykka names `_create_actor_inbox`, `_create_future` and `_start_actor_loop` as the hooks for new actor types;
the loop itself, the envelope and the rules (an exception in an ask goes to the asker, one in a tell ends the
actor) are pykka's. If the actor stops for any reason its process exits: see keepdb/runtime/host.py.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import psutil
import pykka
import zmq
from pykka import messages as pykka_messages

from keepdb.clock import Clock
from keepdb.errors import KeepError, Unavailable
from keepdb.fabric.doorkeeper import Doorkeeper
from keepdb.fabric.feed import Subscription, topic_of
from keepdb.fabric.inbox import Drained, Due, Inbox, Socket, Told
from keepdb.fabric.pulse import Pulse
from keepdb.fabric.ref import RemoteRef
from keepdb.fabric.reply import DEFERRED, Deferred, Reply
from keepdb.fabric.seat import Seat
from keepdb.fabric.sockets import bound_to, build_socket
from messages.base import Message, Request, decoder, encode
from messages.control import ActorReport, Failed, PeerDown, PeerUp, Ready, Service, Stop

logger = logging.getLogger("keepdb.fabric")

M = TypeVar("M", bound=Message)
Handler = Callable[[Any, Any], Any]

#: Every actor reports what it uses to health: soon after the start, then this often, in seconds.
FIRST_REPORT_S, REPORT_S = 0.5, 5.0


def handles(message: type[M]) -> Callable[[Handler], Handler]:
    """Mark the method that handles a message type; the actor's decoder is built from these marks."""

    def mark(method: Handler) -> Handler:
        method.handled_message = message  # type: ignore[attr-defined]
        return method

    return mark


class ProcessActor(pykka.Actor):
    """Base of all KeepDB actors.

    Subclasses mark handlers with @handles, and may override on_ready, on_drained, on_peer_up, on_peer_down and
    figures. answers: every message type this actor's own asks can be answered with.
    """

    answers: ClassVar[tuple[type[Message], ...]] = ()
    handlers: ClassVar[dict[type[Message], Handler]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        marked = [
            getattr(cls, name) for name in dir(cls) if hasattr(getattr(cls, name, None), "handled_message")
        ]
        cls.handlers = {method.handled_message: method for method in marked}

    def __init__(self, seat: Seat, clock: Clock) -> None:
        super().__init__()
        self.seat = seat
        self.clock = clock
        self.failure: BaseException | None = None
        self.endpoint = ""
        self._directory = dict(seat.directory)
        self._refs: dict[str, RemoteRef] = {}
        self._heard_feeds: list[tuple[str, Subscription]] = []
        self._control: Socket | None = None
        self._pulse_page: Pulse | None = None

    @property
    def inbox(self) -> Inbox:
        inbox = self.actor_inbox
        assert isinstance(inbox, Inbox)
        return inbox

    # -- pykka's hooks for new actor types ---------------------------------------------------------------

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        """Run the loop right here: the process's main thread is the actor's."""
        self._actor_loop()

    def _actor_loop_teardown(self) -> None:
        """Answer what was promised or is still queued, then close every socket."""
        unknown = Unavailable(
            "outcome_unknown",
            f"The {self.seat.name} actor stopped before the outcome of this request was known.",
            fix="Send the same request (same client and number) again: it is carried out at most once.",
        )
        for reply in (*self.inbox.requests.promised, *self.inbox.take_unhandled()):
            reply.fail(unknown)
        self.inbox.close()

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # pykka does not call on_failure when on_start fails; the host needs the reason in either case.
        self.failure = exception_value
        if isinstance(exception_value, Exception):
            self.report(self._last_words(exception_value))
        super()._handle_failure(exception_type, exception_value, traceback)

    def _last_words(self, error: Exception) -> Failed:
        """What the supervisor is told; it gives up at once where a restart cannot help."""
        if isinstance(error, KeepError):
            code, text, fix, permanent = error.code, error.message, error.fix, not error.retryable
        else:
            code, permanent = "actor_crashed", False
            text = f"An unexpected {type(error).__name__} ended the {self.seat.name} actor."
            fix = "Look into the logs (`keepdb logs`) and report it."
        return Failed(
            incarnation=self.seat.incarnation, code=code, message=text, fix=fix, permanent=permanent
        )

    # -- life --------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Bind, load, report ready. Loading happens in on_ready, while heartbeats say `starting`."""
        inbox, seat = self.inbox, self.seat
        inbox.use_clock(self.clock)
        inbox.marks_bursts = type(self).on_drained is not ProcessActor.on_drained
        inbox.admit(Doorkeeper(inbox.context, seat.allowed))
        if seat.supervisor is not None:
            self._control = build_socket(inbox.context, "dealer", seat.own, seat.supervisor.key.encode())
            self._control.connect(seat.supervisor.endpoint)
            self._pulse_page = Pulse(Path(seat.run), seat.name)
            inbox.listen(self._control, decoder(Stop, PeerUp, PeerDown).decode)
            self._beat()
            inbox.every(seat.config.supervisor.heartbeat_ms / 1000, self._beat)
        self.router = build_socket(inbox.context, "router", seat.own)
        self.endpoint = bind(self.router, seat.endpoint)
        self.feed_endpoint = ""
        if seat.feed:
            self.feed = build_socket(inbox.context, "pub", seat.own)
            self.feed_endpoint = bind(self.feed, seat.feed)
        inbox.serve(self.router, decoder(*self.handlers).decode)
        self.on_ready()
        self._process = psutil.Process()
        inbox.after(FIRST_REPORT_S, self._report_figures)
        inbox.every(REPORT_S, self._report_figures)
        self.report(Ready(incarnation=seat.incarnation, endpoint=self.endpoint, feed=self.feed_endpoint))

    def on_ready(self) -> None:
        """Load what the actor serves; its requests are queued meanwhile. An exception ends the process."""

    def on_drained(self) -> None:
        """The burst has been handled. Overriding it turns the marking of bursts on."""

    def on_peer_up(self, service: Service, restarts: int) -> None:
        """A peer is ready, possibly after a restart."""

    def on_peer_down(self, name: str) -> None:
        """A peer's process ended unasked."""

    def figures(self) -> dict[str, float]:
        """The actor's own figures for health, on top of memory, descriptors and messages handled."""
        return {}

    # -- receiving ---------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Request):
            if self.time_left() <= 0:
                raise Unavailable(
                    "too_late",
                    f"{type(message).__name__} waited longer in the queue than its sender is willing to.",
                    fix="Try again; if it stays so, the machine is overloaded: see `keepdb status`.",
                )
            return self.handlers[type(message)](self, message)
        if isinstance(message, Due):
            message.run()
        elif isinstance(message, Drained):
            self.on_drained()
        elif isinstance(message, Told):
            self._on_told(message)
        return None

    def _on_told(self, told: Told) -> None:
        message = told.message
        if type(message) in self.handlers:
            self.told = told
            self.handlers[type(message)](self, message)
        elif isinstance(message, Stop):
            self.actor_ref.tell(pykka_messages._ActorStop())
        elif isinstance(message, PeerUp):
            self._directory[message.service.name] = message.service
            for name, subscription in self._heard_feeds:
                if name == message.service.name:
                    subscription.follow(message.service.feed)
            self.on_peer_up(message.service, message.restarts)
        elif isinstance(message, PeerDown):
            self.on_peer_down(message.name)

    def time_left(self, most: float = 3_600.0) -> float:
        """Seconds until the current request's sender gives up, at most `most`; what further asks may take."""
        reply = self.inbox.reply
        return most if reply is None else min(most, reply.deadline - self.clock.monotonic())

    def defer(self) -> Reply:
        """Take the current request's Reply to answer later; the handler then returns DEFERRED."""
        reply = self.inbox.reply
        assert reply is not None, "only requests can be deferred, not tells"
        return reply.defer()

    # -- speaking ----------------------------------------------------------------------------------------

    def ref(self, name: str) -> RemoteRef:
        """The peer called `name`. Raises Unavailable (`peer_unknown`) while it has never been ready."""
        service = self._directory.get(name)
        if service is None:
            raise Unavailable(
                "peer_unknown", f"The {name} actor has not started yet.", fix="Try again in a moment."
            )
        known = self._refs.get(name)
        if known is None or known.service.endpoint != service.endpoint:
            if known is not None:
                known.close()
            known = RemoteRef(self.inbox, self.seat.own, service, self.clock, self.answers, self._beat)
            self._refs[name] = known
        return known

    def subscribe(self, name: str, *types: type[Message]) -> Subscription:
        """Hear a peer's feed; its messages arrive like tells. Choose the topics with the returned handle."""
        service = self._directory[name]
        socket = build_socket(self.inbox.context, "sub", self.seat.own, service.key.encode())
        self.inbox.listen(socket, decoder(*types).decode)
        subscription = Subscription(socket, service.feed)
        self._heard_feeds.append((name, subscription))
        return subscription

    def publish(self, message: Message) -> None:
        """To the subscribers of the message's tag; may be lost, so it is only ever a hint."""
        self.feed.send_multipart([topic_of(type(message)), encode(message)])

    def report(self, message: Message) -> None:
        """A tell to the supervisor."""
        if self._control is not None:
            self._control.send_multipart([b"", encode(message)])

    @contextmanager
    def busy(self, kind: str, seconds: float) -> Iterator[None]:
        """Wrap work during which the loop may not beat for up to `seconds`."""
        page = self._pulse_page
        if page is None:
            yield
            return
        page.busy(kind, self.clock.monotonic() + seconds)
        try:
            yield
        finally:
            page.busy("", 0.0)

    def degraded(self, reason: str) -> None:
        """Tell the supervisor why the actor does not do all it should; "" when it does again."""
        if self._pulse_page is not None:
            self._pulse_page.degraded(reason)

    def _beat(self) -> None:
        """The loop turns; called by a timer, and by waits and long work in between."""
        if self._pulse_page is not None:
            self._pulse_page.beat(self.clock.monotonic())

    def _report_figures(self) -> None:
        """Tell health what this process uses; nobody else may look into it."""
        if "health" not in self._directory:
            return
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            own = {
                "rss_bytes": float(self._process.memory_info().rss),
                "cpu_s": cpu.user + cpu.system,
                "descriptors": float(self._process.num_fds() if hasattr(self._process, "num_fds") else 0),
                "handled": float(self.inbox.handled),
                "refused_frames": float(self.inbox.refused_frames),
                "turned_away": float(self.inbox.doorkeeper.turned_away if self.inbox.doorkeeper else 0),
            }
        self.ref("health").tell(ActorReport(figures={**own, **self.figures()}))


def bind(socket: Socket, endpoint: str) -> str:
    """Bind and return where. A tcp port that a stranger took while the actor was restarted is replaced by a free
    one: the supervisor tells the peers, which is better than not to run at all."""
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno != zmq.EADDRINUSE or not endpoint.startswith("tcp://"):
            raise
        logger.warning("%s is taken; another port is used", endpoint)
        socket.bind(f"{endpoint.rpartition(':')[0]}:*")
    return bound_to(socket)


__all__ = ["DEFERRED", "Deferred", "ProcessActor", "Reply", "Subscription", "handles"]
