"""Actors over real sockets: asking, answering later, being asked twice, and what an error does to whom."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fabric_world import SOON_S, Asker, Home, Raw

from keepdb.errors import InvariantBroken, KeepError, Unavailable
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.ref import RemoteRefusal
from keepdb.fabric.reply import Reply, Requests
from messages.base import Done
from messages.commits import WriterStatus
from messages.control import GetStatus, Service
from messages.queries import Ack, Ping, Pong, Read, Rows, Unsubscribe

Make = Callable[[], Home]


@pytest.fixture
def endpoint() -> Iterator[str]:
    with TemporaryDirectory(prefix="kdb") as folder:
        yield f"ipc://{folder}/e"


@pytest.fixture
def home(endpoint: str) -> Iterator[Home]:
    running = Home(endpoint)
    yield running
    running.stop()


@pytest.fixture
def asker(home: Home) -> Iterator[Asker]:
    made = Asker(home.service)
    yield made
    made.close()


@pytest.fixture
def raw(home: Home) -> Iterator[Raw]:
    made = Raw(home.service)
    yield made
    made.close()


def test_an_ask_gets_its_answer_and_passes_its_time_on(asker: Asker) -> None:
    pong = asker.ref.ask(Ping(), Pong, timeout=3.0)

    assert pong.epoch == "3000"


def test_an_ask_to_nobody_ends_in_time_and_keeps_its_own_pulse(endpoint: str) -> None:
    nobody = Asker(Service(name="nobody", endpoint=endpoint, key=KeyPair.generate().public.decode()))
    try:
        with pytest.raises(Unavailable) as silent:
            nobody.ref.ask(Ping(), Pong, timeout=0.5)
        assert silent.value.code == "peer_silent"
        assert silent.value.retryable
        assert nobody.pulses >= 3
    finally:
        nobody.close()


def test_an_ask_that_began_before_its_peer_did_is_answered(endpoint: str, home: Home) -> None:
    home.stop()
    asker = Asker(home.service)
    successor: list[Home] = []
    starter = threading.Timer(0.3, lambda: successor.append(Home(endpoint)))
    starter.start()
    try:
        assert asker.ref.ask(Ping(), Pong, timeout=SOON_S).subscriptions == 1
    finally:
        starter.join()
        asker.close()
        successor[0].stop()


def test_an_ask_goes_on_when_its_peer_is_replaced_meanwhile(endpoint: str, home: Home, asker: Asker) -> None:
    """The first peer promises an answer and ends; `outcome_unknown` or the successor's answer must come."""
    successor: list[Home] = []

    def replace() -> None:
        home.stop()
        successor.append(Home(endpoint))

    swap = threading.Timer(0.2, replace)
    swap.start()
    try:
        with pytest.raises(KeepError) as error:
            asker.ref.ask(Read(), Rows, timeout=1.5)
        assert error.value.code in ("outcome_unknown", "peer_silent")
        assert asker.ref.ask(Ping(), Pong, timeout=SOON_S).subscriptions == 1
    finally:
        swap.join()
        successor[0].stop()


def test_a_late_answer_is_not_taken_for_that_of_the_next_ask(asker: Asker) -> None:
    with pytest.raises(Unavailable):
        asker.ref.ask(Read(), Rows, timeout=0.3)

    # The first Ping makes the actor answer the Read as well, before the Ping.
    assert isinstance(asker.ref.ask(Ping(), Pong, timeout=SOON_S), Pong)
    assert asker.ref.ask(Ping(), Pong, timeout=SOON_S).subscriptions == 2


def test_deferred_answers_come_when_the_actor_gives_them(raw: Raw) -> None:
    raw.send(b"later", Read())
    raw.send(b"now", Ping())

    assert [raw.receive()[0], raw.receive()[0]] == [b"later", b"now"]


def test_what_was_promised_is_answered_outcome_unknown_at_the_end(home: Home, raw: Raw) -> None:
    raw.send(b"1", Read())
    raw.send(b"2", Ping())
    raw.receive()
    raw.receive()
    raw.send(b"3", Read())
    raw.send(b"4", WriterStatus())
    raw.receive()
    home.stop()

    request_id, answer = raw.receive()
    assert (request_id, answer["code"], answer["retryable"]) == (b"3", "outcome_unknown", True)


def test_an_error_in_an_ask_goes_to_the_asker_without_its_text_and_the_actor_lives(raw: Raw) -> None:
    raw.send(b"1", WriterStatus())
    _, answer = raw.receive()

    assert answer["code"] == "internal_error"
    assert "ZeroDivisionError" in answer["message"]
    assert "what a user wrote" not in str(answer)
    raw.send(b"2", Ping())
    assert raw.receive()[1]["type"] == "pong"


def test_an_answer_that_no_socket_takes_is_replaced_by_a_refusal(asker: Asker) -> None:
    with pytest.raises(RemoteRefusal) as refused:
        asker.ref.ask(Unsubscribe(sub="s"), Rows, timeout=SOON_S)

    assert refused.value.code == "message_too_large"


def test_an_error_in_a_tell_ends_the_actor(home: Home, raw: Raw) -> None:
    raw.send(b"", Ack(sub="s"))
    home.thread.join(SOON_S)

    assert not home.thread.is_alive()
    assert isinstance(home.actor.failure, ZeroDivisionError)


def test_a_handler_that_returns_no_message_is_said_to(raw: Raw) -> None:
    raw.send(b"1", GetStatus())

    assert raw.receive()[1]["code"] == "reply_misused"


def test_bursts_are_marked_once_for_all_that_lay_ready(home: Home, raw: Raw) -> None:
    for number in range(200):
        raw.send(b"%d" % number, Ping())
    assert [raw.receive()[0] for _ in range(200)] == [b"%d" % number for number in range(200)]
    home.stop()

    assert 1 <= home.actor.bursts <= 200


def test_a_key_that_is_not_known_is_turned_away(home: Home) -> None:
    stranger = Asker(home.service, KeyPair.generate())
    try:
        with pytest.raises(Unavailable):
            stranger.ref.ask(Ping(), Pong, timeout=0.3)
    finally:
        stranger.close()
    assert home.actor.inbox.doorkeeper is not None
    assert home.actor.inbox.doorkeeper.turned_away > 0


def test_a_reply_can_be_given_once(tmp_path: Path) -> None:
    sent: list[list[bytes]] = []
    reply = Reply(sent.append, b"peer", b"1", "app:tester", 0.0, Requests())
    reply.set(Done())

    assert (reply.role, reply.sender, len(sent)) == ("app", "tester", 1)
    with pytest.raises(InvariantBroken):
        reply.set(Done())
