"""The client against a peer that says what a test wants it to say, over real sockets."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from keepdb.client.link import Endpoint, Link
from keepdb.client.live import LiveQuery
from keepdb.client.resending import PASSING_S
from keepdb.clock import SystemClock
from keepdb.errors import KeepError, Unavailable
from keepdb.fabric.doorkeeper import Doorkeeper
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.sockets import build_socket
from messages.base import Message, Refused, encode
from messages.queries import Diff, Ping, Pong, Query, Snapshot, Subscribed

APP, SERVER = KeyPair.generate(), KeyPair.generate()
SOON_S = 5.0
UNKNOWN = msgspec.msgpack.encode({"type": "said_by_a_newer_server", "n": 1})

#: Gets the kind and the content of what came; returns what to send: (whether it is the answer, frame).
Script = Callable[[str, dict[str, Any]], list[tuple[bool, bytes]]]


class Peer:
    """A ROUTER in a thread of its own. heard: kinds of the messages that came."""

    def __init__(self, directory: Path, script: Script) -> None:
        self.heard: list[str] = []
        self._script = script
        self._over = threading.Event()
        endpoint = f"ipc://{directory}/peer.sock"
        self.endpoints = {"query-1": Endpoint("query-1", endpoint, SERVER.public.decode())}
        self._thread = threading.Thread(target=self._run, args=(endpoint,))
        self._thread.start()

    def _run(self, endpoint: str) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        doorkeeper = Doorkeeper(context, {APP.public: ("app", "test")})
        router = build_socket(context, "router", SERVER)
        router.bind(endpoint)
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(doorkeeper.socket, zmq.POLLIN)
        while not self._over.is_set():
            ready = dict(poller.poll(20))
            doorkeeper.answer()
            if router in ready:
                self._answer(router)
        context.destroy(linger=0)

    def _answer(self, router: "zmq.Socket[bytes]") -> None:
        identity, request_id, frame = router.recv_multipart()
        message = msgspec.msgpack.decode(frame)
        self.heard.append(message["type"])
        for is_answer, reply in self._script(message["type"], message):
            first = request_id if is_answer else message["sub"].encode()
            router.send_multipart([identity, first, reply])

    def stop(self) -> None:
        self._over.set()
        self._thread.join(SOON_S)


class Stage:
    """Starts peers, each with a link to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ends: list[Callable[[], None]] = []

    def play(self, script: Script) -> tuple[Peer, Link]:
        peer = Peer(self._directory, script)
        link = Link(peer.endpoints, APP, SystemClock())
        self._ends += [link.close, peer.stop]
        return peer, link

    def close(self) -> None:
        for end in self._ends:
            end()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def answer(message: Message) -> tuple[bool, bytes]:
    return True, encode(message)


def push(message: Message) -> tuple[bool, bytes]:
    return False, encode(message)


def test_an_unknown_answer_is_an_error_of_its_own_request_only(stage: Stage) -> None:
    def script(kind: str, message: dict[str, Any]) -> list[tuple[bool, bytes]]:
        return (
            [answer(Pong(epoch="e", subscriptions=0))]
            if kind == "ping"
            else [(True, UNKNOWN), (False, UNKNOWN)]
        )

    _, link = stage.play(script)
    odd = link.start("query-1", lambda: Subscribed(sub="s", seq=0, generation=0, epoch=""), SOON_S)

    assert link.ask("query-1", Ping(), Pong, SOON_S).epoch == "e"
    with pytest.raises(KeepError) as refused:
        link.finish(odd, Pong)
    assert refused.value.code == "protocol_error"


def test_a_passing_refusal_is_retried_with_growing_pauses(stage: Stage) -> None:
    """Verifies: L8."""
    later = Refused(code="out_of_order", message="not yet", fix="wait", retryable=True)
    peer, link = stage.play(lambda *_: [answer(later)])

    with pytest.raises(Unavailable):
        link.ask("query-1", Ping(), Pong, 0.6)

    # The pauses 10, 15, 22, … ms fill 0.6 s after some nine requests; at 10 ms each it would be some sixty.
    assert 3 <= len(peer.heard) <= 12
    assert PASSING_S == 0.01


def test_a_passing_refusal_is_soon_followed_by_the_answer(stage: Stage) -> None:
    answers = [
        answer(Refused(code="peer_unknown", message="", fix="", retryable=True)),
        answer(Pong(epoch="e", subscriptions=0)),
    ]
    _, link = stage.play(lambda *_: [answers.pop(0)])

    assert link.ask("query-1", Ping(), Pong, SOON_S).epoch == "e"


def test_a_renewed_live_query_leaves_out_diffs_of_the_subscription_before(stage: Stage) -> None:
    """Verifies: L2. A diff leads on from one result only."""
    subscribed = 0

    def script(kind: str, message: dict[str, Any]) -> list[tuple[bool, bytes]]:
        nonlocal subscribed
        if kind == "ping":
            return [answer(Pong(epoch="second", subscriptions=1))]
        if kind == "unsubscribe":
            return [answer(Refused(code="too_late", message="", fix=""))]
        if kind != "subscribe":
            return []
        subscribed += 1
        sub, epoch = message["sub"], "first" if subscribed == 1 else "second"
        rows = [["a"], ["b"]] if subscribed == 1 else [["x"]]
        pushes = [push(Snapshot(sub=sub, seq=subscribed, columns=("id",), rows=rows, key=0))]
        if subscribed == 2:
            # On its way when the client subscribed again: it would put "c" third, and take out what is not there.
            late = push(Diff(sub=sub, seq=9, exit=["a"], enter=[(1, ["c"])]))
            fresh = push(Diff(sub=sub, seq=3, enter=[(1, ["y"])]))
            pushes = [late, *pushes, fresh]
        return [answer(Subscribed(sub=sub, seq=1, generation=1, epoch=epoch)), *pushes]

    _, link = stage.play(script)
    with LiveQuery(link, "query-1", Query(source="personas")) as live:
        results = [live.update(SOON_S) for _ in range(3)]

    assert [result and result.rows for result in results] == [[["a"], ["b"]], [["x"]], [["x"], ["y"]]]
    assert [result and result.seq for result in results] == [1, 2, 3]


def test_a_renewal_that_is_refused_for_now_is_tried_again(stage: Stage) -> None:
    """Verifies: L6."""
    answers = ["first", "refused", "second"]

    def script(kind: str, message: dict[str, Any]) -> list[tuple[bool, bytes]]:
        if kind == "ping":
            return [answer(Pong(epoch="second", subscriptions=1))]
        if kind != "subscribe":
            return [answer(Refused(code="too_late", message="", fix=""))] if kind == "unsubscribe" else []
        epoch = answers.pop(0)
        if epoch == "refused":
            return [answer(Refused(code="not_there_yet", message="", fix="", retryable=True))]
        shown = push(Snapshot(sub=message["sub"], seq=1, columns=("id",), rows=[[epoch]], key=0))
        return [answer(Subscribed(sub=message["sub"], seq=1, generation=1, epoch=epoch)), shown]

    _, link = stage.play(script)
    with LiveQuery(link, "query-1", Query(source="personas")) as live:
        results = [live.update(SOON_S) for _ in range(2)]

    assert [result and result.rows for result in results] == [[["first"]], [["second"]]]
