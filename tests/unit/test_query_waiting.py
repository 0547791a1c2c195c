"""Requests that wait for a position: how many, how long, and whose deadline counts afterwards."""

from collections.abc import Iterator

import msgspec
import pytest

from keepdb.errors import InvalidRequest, Unavailable
from keepdb.fabric.inbox import Inbox
from keepdb.fabric.reply import Reply, Requests
from keepdb.query.limits import QueryLimits
from keepdb.query.waiting import LOOK_S, MARGIN_S, WaitingList, answer
from messages.base import Done, Refused
from messages.queries import Read, Subscribe

LIMITS = QueryLimits(waiting=5, waiting_per_client=3)
NOW = 1_000.0
decoder = msgspec.msgpack.Decoder(Refused)


class Asker:
    """A peer that waits. sent: what it got."""

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        self.sent: list[list[bytes]] = []

    def ask(self, seconds: float) -> Reply:
        return Reply(self.sent.append, self.peer, b"id", "app:test", NOW + seconds, Requests())


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


def test_waits_are_limited_per_peer_and_in_total() -> None:
    """Verifies: L8."""
    waits = WaitingList(LIMITS)

    def refused(peer: bytes) -> str:
        with pytest.raises(Unavailable) as caught:
            waits.add(10, Read(), Asker(peer).ask(600.0), NOW)
        assert caught.value.retryable
        return caught.value.code

    for peer in (b"a", b"a", b"a"):
        waits.add(10, Read(), Asker(peer).ask(600.0), NOW)
    assert refused(b"a") == "busy"
    for peer in (b"b", b"b"):
        waits.add(10, Read(), Asker(peer).ask(600.0), NOW)
    assert refused(b"c") == "busy"
    assert len(waits) == 5

    assert len(waits.take(10, NOW)) == 5
    for _ in range(3):
        waits.add(20, Read(), Asker(b"a").ask(600.0), NOW)


def test_what_is_there_is_taken_and_the_rest_goes_on_waiting() -> None:
    waits = WaitingList(LIMITS)
    for at_least in (7, 5, 9):
        waits.add(at_least, Read(), Asker(b"a").ask(600.0), NOW)

    assert [wait.at_least for wait in waits.take(7, NOW)] == [7, 5]
    assert waits.take(8, NOW) == []
    assert len(waits) == 1


def test_subscriptions_that_nobody_wants_any_more_wait_no_longer() -> None:
    """Verifies: L8. They would begin for nobody once their position is there."""
    waits, me, you = WaitingList(LIMITS), Asker(b"a"), Asker(b"b")
    for asker, request in (
        (me, Subscribe(sub="1")),
        (me, Subscribe(sub="2")),
        (me, Read()),
        (you, Subscribe(sub="1")),
    ):
        waits.add(7, request, asker.ask(600.0), NOW)

    waits.drop(b"a", "1")
    (refused,) = (decoder.decode(frames[-1]) for frames in me.sent)
    assert (refused.code, refused.retryable, len(waits)) == ("live_ended", False, 3)
    waits.drop(b"a")

    assert (len(me.sent), len(you.sent), len(waits)) == (2, 0, 2)
    for _ in range(2):
        waits.add(7, Read(), me.ask(600.0), NOW)


@pytest.mark.parametrize(("seconds", "margin"), [(10.0, MARGIN_S), (0.1, 0.05)])
def test_a_wait_in_vain_ends_before_its_asker_gives_up(seconds: float, margin: float) -> None:
    waits = WaitingList(LIMITS)
    waits.add(7, Read(), Asker(b"a").ask(seconds), NOW)
    end = NOW + seconds - margin

    assert waits.take(0, end - 0.001) == []
    assert waits.pause(end - 0.001) == pytest.approx(0.001)
    assert len(waits.take(0, end)) == 1


def test_one_timer_does_for_all_waits() -> None:
    waits = WaitingList(LIMITS)
    waits.add(7, Read(), Asker(b"a").ask(600.0), NOW)
    assert waits.pause(NOW) == LOOK_S
    waits.add(7, Read(), Asker(b"b").ask(600.0), NOW - 700.0)
    assert waits.pause(NOW + 700.0) == 0.0


@pytest.mark.parametrize("fails", [False, True])
def test_the_deadline_of_an_answered_request_does_not_bound_later_work(inbox: Inbox, fails: bool) -> None:
    asker = Asker(b"a")
    during: list[Reply | None] = []

    def make() -> Done:
        during.append(inbox.reply)
        if fails:
            raise InvalidRequest("query_bad_value", "m", fix="f")
        return Done()

    reply = asker.ask(-1.0)
    answer(inbox, reply, make)

    assert during == [reply]
    assert len(asker.sent) == 1
    assert inbox.reply is None
