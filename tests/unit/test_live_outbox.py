"""Pushes to clients that do not read, over real sockets."""

from collections.abc import Callable, Iterator

import pytest
import zmq

from keepdb.live.outbox import RETRY_S, Outbox
from messages.base import FRAME_BYTES_MAX, decoder
from messages.queries import LiveFailed, Rehydrate, Snapshot

Timer = tuple[float, Callable[[], None]]


class Stage:
    """A ROUTER with short queues, its outbox, and clients in the same process."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.timers: list[Timer] = []
        self.gone: list[bytes] = []
        self.ended: list[tuple[bytes, str]] = []
        self.clients: list[zmq.Socket[bytes]] = []
        self.router = self.context.socket(zmq.ROUTER)
        self.router.router_mandatory, self.router.sndhwm = True, 2
        self.router.bind("inproc://outbox")
        self.outbox = Outbox(
            self.router,
            lambda after, run: self.timers.append((after, run)),
            self.gone.append,
            lambda client, sub: self.ended.append((client, sub)),
        )

    def client(self, name: bytes) -> "zmq.Socket[bytes]":
        socket = self.context.socket(zmq.DEALER)
        socket.routing_id, socket.rcvhwm = name, 2
        self.clients.append(socket)
        socket.connect("inproc://outbox")
        socket.send(b"hello")
        self.router.recv_multipart()
        return socket

    def push(self, client: bytes, count: int) -> None:
        for seq in range(count):
            self.outbox.push(client, Rehydrate(sub="s", seq=seq, generation=1, reason=""))

    def retry(self) -> None:
        # The actor waits on this socket between two timers; that is also when ZeroMQ notices who has gone.
        self.router.poll(1)
        timers, self.timers = self.timers, []
        for _, run in timers:
            run()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.context.destroy(linger=0)


def received(client: "zmq.Socket[bytes]") -> int:
    """How many pushes lie ready."""
    count = 0
    while client.poll(50):
        client.recv_multipart()
        count += 1
    return count


def test_a_client_that_does_not_read_holds_up_nobody_else(stage: Stage) -> None:
    """Verifies: L8."""
    slow, quick = stage.client(b"slow"), stage.client(b"quick")

    stage.push(b"slow", 100)
    stage.push(b"quick", 2)

    assert received(quick) == 2
    assert len(stage.outbox) == 1
    assert slow.poll(0)


def test_waiting_pushes_share_one_timer_however_many_they_are(stage: Stage) -> None:
    """Verifies: L8."""
    clients = [stage.client(b"one"), stage.client(b"two")]

    stage.push(b"one", 100)
    stage.push(b"two", 100)
    assert [after for after, _ in stage.timers] == [RETRY_S]
    stage.retry()

    assert len(stage.timers) == 1
    assert all(client.poll(0) for client in clients)


def test_a_client_that_reads_late_gets_everything_in_order(stage: Stage) -> None:
    late = stage.client(b"late")
    stage.push(b"late", 20)
    seen: list[bytes] = []
    while len(seen) < 20:
        while late.poll(20):
            seen.append(late.recv_multipart()[-1])
        stage.retry()

    assert seen == sorted(seen)
    assert len(stage.outbox) == 0
    assert stage.timers == []


def test_a_client_that_is_gone_takes_its_pushes_along(stage: Stage) -> None:
    gone, here = stage.client(b"gone"), stage.client(b"here")
    stage.push(b"gone", 100)
    gone.close(linger=0)
    while len(stage.outbox):
        stage.retry()

    assert stage.gone == [b"gone"]
    stage.push(b"here", 1)
    assert received(here) == 1


def test_a_result_that_has_grown_too_large_for_a_frame_ends_its_subscription_only(stage: Stage) -> None:
    """Verifies: L8. A larger frame would make the client's socket drop the connection."""
    client = stage.client(b"client")

    rows = [["x" * (FRAME_BYTES_MAX // 2)] for _ in range(2)]
    stage.outbox.push(b"client", Snapshot(sub="large", seq=1, columns=("t",), rows=rows))
    stage.push(b"client", 1)

    name, body = client.recv_multipart()
    failed = decoder(LiveFailed).decode(body)
    assert (name, failed.code, stage.ended) == (b"large", "query_too_large", [(b"client", "large")])
    assert client.recv_multipart()[0] == b"s"
