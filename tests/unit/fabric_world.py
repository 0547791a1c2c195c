"""One actor in a thread of its own with real sockets, for tests of the fabric."""

import queue
import threading
from pathlib import Path
from typing import Any

import msgspec
import zmq

import keepdb
from keepdb.clock import SystemClock
from keepdb.config import load_config
from keepdb.fabric.actor import DEFERRED, Deferred, ProcessActor, Reply, handles
from keepdb.fabric.inbox import Inbox
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.ref import RemoteRef
from keepdb.fabric.seat import Seat, Secrets
from keepdb.fabric.sockets import build_socket
from keepdb.schema.load import load_schema
from messages.base import Done, Message, encode
from messages.commits import WriterStatus
from messages.control import GetStatus, Service
from messages.queries import Ack, Ping, Pong, Read, Rows, Unsubscribe

SCHEMA = load_schema(Path(keepdb.__file__).parent / "schema" / "schema.yaml")
APP, SERVER = KeyPair.generate(), KeyPair.generate()
#: Nothing here takes longer unless it is broken.
SOON_S = 5.0


class Echo(ProcessActor):
    """Ping is answered at once, Read later (with the next Ping), WriterStatus never well; a tell is fatal."""

    def on_ready(self) -> None:
        self.later: list[Reply] = []
        self.bursts = self.pings = 0

    @handles(Ping)
    def ping(self, message: Ping) -> Pong:
        self.pings += 1
        for reply in self.later:
            reply.set(Rows(columns=(), rows=[], seq=0))
        self.later.clear()
        return Pong(epoch=str(message.budget_ms), subscriptions=self.pings)

    @handles(Read)
    def read(self, message: Read) -> Deferred:
        self.later.append(self.defer())
        return DEFERRED

    @handles(WriterStatus)
    def fail(self, message: WriterStatus) -> Done:
        raise ZeroDivisionError("what a user wrote")

    @handles(GetStatus)
    def nonsense(self, message: GetStatus) -> Any:
        return "not a message"

    @handles(Unsubscribe)
    def large(self, message: Unsubscribe) -> Rows:
        return Rows(columns=(), rows=["x" * 9_000_000], seq=0)

    @handles(Ack)
    def fatal(self, message: Ack) -> None:
        raise ZeroDivisionError("in a tell")

    def on_drained(self) -> None:
        self.bursts += 1


class Home:
    """Runs an Echo until it is stopped or ends by itself."""

    def __init__(self, endpoint: str) -> None:
        made: queue.SimpleQueue[Echo] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, args=(endpoint, made), daemon=True)
        self.thread.start()
        self.actor = made.get(timeout=SOON_S)
        self.service = Service(name="echo", endpoint=endpoint, key=SERVER.public.decode())

    def _run(self, endpoint: str, made: "queue.SimpleQueue[Echo]") -> None:
        actor = Echo(seat(endpoint), SystemClock())
        self._stop = actor.inbox.door(actor.stop)
        made.put(actor)
        actor._start_actor_loop()

    def stop(self) -> None:
        if self.thread.is_alive():
            self._stop()
        self.thread.join(SOON_S)
        assert not self.thread.is_alive(), "the actor did not end"


class Asker:
    """The asking side. pulses: how often it was alive during asks."""

    def __init__(self, service: Service, own: KeyPair = APP) -> None:
        self.pulses = 0
        self.inbox = Inbox()
        self.ref = RemoteRef(self.inbox, own, service, SystemClock(), (Pong, Rows, Done), self._pulse)

    def _pulse(self) -> None:
        self.pulses += 1

    def close(self) -> None:
        self.ref.close()
        self.inbox.close()


class Raw:
    """A bare DEALER of role app."""

    def __init__(self, service: Service) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = build_socket(self._context, "dealer", APP, service.key.encode())
        self.socket.connect(service.endpoint)

    def send(self, request_id: bytes, message: Message) -> None:
        self.socket.send_multipart([request_id, encode(message)])

    def receive(self) -> tuple[bytes, dict[str, Any]]:
        assert self.socket.poll(int(SOON_S * 1000)), "no answer"
        request_id, body = self.socket.recv_multipart()
        return request_id, dict(msgspec.msgpack.decode(body))

    def close(self) -> None:
        self._context.destroy(linger=0)


def seat(endpoint: str) -> Seat:
    """Without a supervisor: nobody to report to."""
    return Seat(
        name="echo", incarnation=1, endpoint=endpoint, feed="", own=SERVER, supervisor=None, directory={},
        allowed={APP.public: ("app", "tester")}, data="", run="", config=load_config(), schema=SCHEMA,
        schema_ddl=(), db_id=b"d" * 16, secrets=Secrets({}),
    )  # fmt: skip
