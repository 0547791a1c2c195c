"""The peer's sockets: services that hear a client, answer by themselves what needs no script, and keep the rest."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zmq

from keepdb.clock import SystemClock
from keepdb.fabric.doorkeeper import Doorkeeper
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.sockets import bound_to, build_socket

from .script import Broken, Map, understood

#: How long a step waits for the client.
STEP_S = 10.0
_POLL_MS = 20
_MAY_DIFFER = ("budgetMs", "firstUnanswered", "durability")


@dataclass(frozen=True)
class Heard:
    """A request of a client."""

    service: str
    identity: bytes
    request_id: bytes
    message: Map

    @property
    def content(self) -> Map:
        """Without what may differ when it is sent again."""
        return {name: part for name, part in self.message.items() if name not in _MAY_DIFFER}

    def repeats(self, other: "Heard") -> bool:
        """Whether this is `other` sent again: under its id, or a commit of its number."""
        if (self.service, self.message["type"]) != (other.service, other.message["type"]):
            return False
        if self.message["type"] == "commit":
            return all(self.message[name] == other.message[name] for name in ("client", "number"))
        return self.request_id == other.request_id


class Service:
    """One ROUTER, and what a query actor knows: its epoch, and who subscribed. pong: what to answer instead of that."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", name: str, endpoint: str) -> None:
        self.name = name
        self.own = KeyPair.generate()
        self.epoch = "first"
        self.subscribers: dict[str, bytes] = {}
        self.pong: Map = {}
        self.requests: deque[Heard] = deque()
        self._context = context
        self.socket = self._bound(endpoint)
        self.endpoint = bound_to(self.socket)

    def restart(self, epoch: str) -> None:
        """As if the process had been replaced: connections and subscriptions are gone, and what was not read."""
        self.socket.close(linger=0)
        self.epoch, self.subscribers, self.pong = epoch, {}, {}
        self.requests.clear()
        self.socket = self._bound(self.endpoint)

    def send(self, identity: bytes, first: bytes, message: Map) -> None:
        self.socket.send_multipart([identity, first, msgspec.msgpack.encode(message)])

    def _bound(self, endpoint: str) -> "zmq.Socket[bytes]":
        socket = build_socket(self._context, "router", self.own)
        socket.bind(endpoint)
        return socket


class Stage:
    """All services of a script. over: set when the client has gone. clients: public keys that may connect."""

    def __init__(
        self, names: tuple[str, ...], directory: Path, clients: list[bytes], over: threading.Event
    ) -> None:
        self.over = over
        #: By name of the subscription.
        self.pushed: Counter[str] = Counter()
        self.acked: Counter[str] = Counter()
        self.credit: Counter[str] = Counter()
        self.unsubscribed: set[str] = set()
        self._clock = SystemClock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._doorkeeper = Doorkeeper(self._context, dict.fromkeys(clients, ("app", "client")))
        place = f"ipc://{directory}/{{}}" if zmq.has("ipc") else "tcp://127.0.0.1:*"
        self.services = {name: Service(self._context, name, place.format(name)) for name in names}

    def wait(self, reached: Callable[[], bool], what: str) -> None:
        """Hear until something is reached. Raises Broken when the time is up, the client gone, or a message wrong."""
        deadline = self._clock.monotonic() + STEP_S
        while not reached():
            if self.over.is_set():
                raise Broken(f"the client has gone; still waited for: {what}")
            if self._clock.monotonic() > deadline:
                unread = [one.message for service in self.services.values() for one in service.requests]
                raise Broken(f"waited {STEP_S:.0f} s for {what}; acks {dict(self.acked)}; unread {unread}")
            self.hear()

    def push(self, service: Service, message: Map) -> None:
        """Send a push to whom it is for, when there is credit for it."""
        sub = message["sub"]
        self.wait(lambda: self.pushed[sub] - self.acked[sub] < self.credit[sub], f"credit of {sub}")
        self.pushed[sub] += 1
        service.send(service.subscribers[sub], sub.encode(), message)

    def hear(self) -> None:
        """Take in what is there; waits a moment for it."""
        sockets = {service.socket: service for service in self.services.values()}
        poller = zmq.Poller()
        for socket in (self._doorkeeper.socket, *sockets):
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(_POLL_MS))
        self._doorkeeper.answer()
        for socket, service in sockets.items():
            if socket in ready:
                self._take(service, service.socket.recv_multipart())

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _take(self, service: Service, frames: list[bytes]) -> None:
        if len(frames) != 3:
            raise Broken(f"a message has two frames; {service.name} got {len(frames) - 1}")
        identity, request_id, body = frames
        message = understood(body)
        if (request_id == b"") != (message["type"] == "ack") or len(request_id) > 32:
            raise Broken(f"{message['type']} came with the request id {request_id!r}")
        match message["type"]:
            case "ping":
                held = sum(1 for one in service.subscribers.values() if one == identity)
                pong = {"type": "pong", "epoch": service.epoch, "subscriptions": held, **service.pong}
                service.send(identity, request_id, pong)
            case "ack":
                self._acknowledge(message["sub"], message["count"])
            case "unsubscribe":
                service.subscribers.pop(message["sub"], None)
                self.unsubscribed.add(message["sub"])
                service.send(identity, request_id, {"type": "done"})
            case "shutdown":
                service.send(identity, request_id, {"type": "done"})
            case _:
                if message["type"] in ("subscribe", "subscribe_changes"):
                    # Anew; what was under way to the subscription before may never be acknowledged.
                    sub = message["sub"]
                    self.credit[sub] = message["credit"] + self.pushed[sub] - self.acked[sub]
                service.requests.append(Heard(service.name, identity, request_id, message))

    def _acknowledge(self, sub: str, count: int) -> None:
        self.acked[sub] += count
        if self.acked[sub] > self.pushed[sub]:
            raise Broken(f"{self.acked[sub]} acks of {sub} for {self.pushed[sub]} pushes")
