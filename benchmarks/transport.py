"""The floor under every figure: one ZeroMQ round trip between two Python processes on this machine, with CURVE."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from benchmarks.figures import Figures, p50_us, timed
from keepdb.fabric.doorkeeper import Doorkeeper
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.sockets import build_socket

ROUND_TRIPS = 3_000


def measure(figures: Figures, folder: Path) -> None:
    own = KeyPair.generate()
    with echoing(folder, own) as (endpoint, server):
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = build_socket(context, "dealer", own, server)
        socket.connect(endpoint)

        def round_trip() -> None:
            socket.send_multipart([b"1", b"x" * 100])
            socket.recv_multipart()

        timed(round_trip, 200)
        figures.add(
            "round_trip_p50_us",
            p50_us(timed(round_trip, ROUND_TRIPS)),
            "bare CURVE round trip, 100 bytes, ipc",
        )
        context.destroy(linger=0)


@contextmanager
def echoing(folder: Path, client: KeyPair) -> Iterator[tuple[str, bytes]]:
    """A process that sends back what this client sends: its endpoint and public key."""
    server = KeyPair.generate()
    endpoint = f"ipc://{folder}/echo.sock"
    process = multiprocessing.get_context("spawn").Process(
        target=_echo, args=(endpoint, server, client.public), daemon=True
    )
    process.start()
    try:
        yield endpoint, server.public
    finally:
        process.kill()
        process.join()


def _echo(endpoint: str, own: KeyPair, client: bytes) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doorkeeper = Doorkeeper(context, {client: ("app", "bench")})
    router = build_socket(context, "router", own)
    router.bind(endpoint)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(doorkeeper.socket, zmq.POLLIN)
    while True:
        found = dict(poller.poll())
        if doorkeeper.socket in found:
            doorkeeper.answer()
        if router in found:
            router.send_multipart(router.recv_multipart())
