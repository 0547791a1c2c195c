"""How long the supervisor waits for children: their start, their silence, their end."""

import multiprocessing
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
import zmq

from keepdb.clock import SystemClock
from keepdb.config import load_config
from keepdb.fabric.feed import Subscription, topic_of
from keepdb.fabric.pulse import Reading
from keepdb.runtime.child import Child, ChildSpec
from keepdb.runtime.ending import STOP_S_MAX, end_abandoned, share_s
from keepdb.runtime.patience import BUSY_S_MAX, reason_to_kill
from keepdb.runtime.restarts import retry_delay_s
from messages.feed import StateSwitched

CONFIG = load_config().supervisor
NOW = 10_000.0


def child_in(state: str, *, heard_ago_s: float = 0.0, starting_s: float = 0.0) -> Child:
    child = Child(ChildSpec(name="query-1"), SystemClock())
    child.state = state  # type: ignore[assignment]
    child.heard_at, child.starting_s = NOW - heard_ago_s, starting_s
    return child


def sit() -> None:
    """A process that does nothing and ends only when it is made to."""
    threading.Event().wait(60)


@pytest.fixture
def child() -> Iterator[Child]:
    """One with a real process."""
    process = multiprocessing.get_context("spawn").Process(target=sit, daemon=True)
    process.start()
    made = Child(ChildSpec(name="query-1"), SystemClock())
    made.began(process, lambda: None)
    yield made
    process.kill()
    process.join()


def test_waiting_for_a_process_takes_no_longer_than_was_said(child: Child) -> None:
    began = time.monotonic()

    assert not child.wait(1.0)
    assert 1.0 <= time.monotonic() - began < 1.6
    child.kill()
    assert not child.is_alive()


def test_children_left_behind_are_ended_and_nothing_happens_the_second_time(child: Child) -> None:
    end_abandoned([child], SystemClock())
    assert not child.is_alive()

    began = time.monotonic()
    end_abandoned([child], SystemClock())
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(
    ("left_s", "children", "share"), [(10.0, 7, 10 / 7), (10.0, 2, 5.0), (9.0, 1, 5.0), (-1.0, 3, 0.0)]
)
def test_a_child_that_stops_gets_its_share_of_the_time_that_is_left(
    left_s: float, children: int, share: float
) -> None:
    assert share_s(left_s, children, 5.0) == share


def test_the_shares_of_children_that_are_all_stuck_make_up_the_limit() -> None:
    left_s = STOP_S_MAX
    for children in range(22, 0, -1):
        left_s -= share_s(left_s, children, 60.0)

    assert left_s == pytest.approx(0.0)


def test_a_starting_child_that_beats_is_still_not_waited_for_forever() -> None:
    timeout_s = CONFIG.ready_timeout_ms / 1000

    assert reason_to_kill(child_in("starting", starting_s=timeout_s), Reading(), CONFIG, NOW) == ""
    found = reason_to_kill(child_in("starting", starting_s=timeout_s + 1), Reading(), CONFIG, NOW)
    assert found == f"not ready after {timeout_s + 1:.1f} s"


@pytest.mark.parametrize(("state", "silent_s"), [("ready", 2.0), ("starting", 10.0)])
def test_silence_is_borne_for_some_time_only(state: str, silent_s: float) -> None:
    assert reason_to_kill(child_in(state, heard_ago_s=silent_s - 0.1), Reading(), CONFIG, NOW) == ""
    assert "silent" in reason_to_kill(child_in(state, heard_ago_s=silent_s + 0.1), Reading(), CONFIG, NOW)


def test_announced_work_may_be_silent_until_it_should_have_ended_but_not_without_limit() -> None:
    at_work = Reading(busy="sync", busy_until=NOW + 3_600)

    assert reason_to_kill(child_in("ready", heard_ago_s=BUSY_S_MAX - 1), at_work, CONFIG, NOW) == ""
    assert "in sync" in reason_to_kill(child_in("ready", heard_ago_s=BUSY_S_MAX + 1), at_work, CONFIG, NOW)
    overdue = Reading(busy="sync", busy_until=NOW - 1)
    assert "in sync" in reason_to_kill(child_in("ready", heard_ago_s=5), overdue, CONFIG, NOW)


def test_a_failed_actor_rests_for_half_a_minute_and_never_less_than_a_second() -> None:
    assert retry_delay_s(CONFIG) == 30.0
    assert retry_delay_s(msgspec.structs.replace(CONFIG, backoff_ms_max=0)) == 1.0


def test_a_subscriber_follows_a_feed_to_its_new_endpoint() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        old, new, subscriber = context.socket(zmq.XPUB), context.socket(zmq.XPUB), context.socket(zmq.SUB)
        ports = [feed.bind_to_random_port("tcp://127.0.0.1") for feed in (old, new)]
        heard = Subscription(subscriber, f"tcp://127.0.0.1:{ports[0]}")
        heard.hear(StateSwitched)
        topic = topic_of(StateSwitched)
        assert old.poll(5_000)
        assert old.recv() == b"\x01" + topic

        heard.follow(f"tcp://127.0.0.1:{ports[1]}")

        assert new.poll(5_000)
        assert new.recv() == b"\x01" + topic
        new.send_multipart([topic, b"here"])
        assert subscriber.poll(5_000)
        assert subscriber.recv_multipart() == [topic, b"here"]
    finally:
        context.destroy(linger=0)
