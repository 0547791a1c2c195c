"""The inbox on its own: timers by a clock in the test's hand, doors for other threads, the order of envelopes."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pykka._envelope import Envelope

from keepdb.fabric.inbox import Due, Inbox
from keepdb.fabric.keys import KeyPair, is_public_key


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return int(self.now * 1000)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def inbox(clock: HandClock) -> Iterator[Inbox]:
    made = Inbox()
    made.use_clock(clock)
    yield made
    made.close()


def run_next(inbox: Inbox) -> None:
    message: Any = inbox.get().message
    assert isinstance(message, Due)
    message.run()


def test_timers_come_due_in_the_order_of_their_times(inbox: Inbox, clock: HandClock) -> None:
    rung: list[str] = []
    inbox.after(3.0, lambda: rung.append("late"))
    inbox.after(1.0, lambda: rung.append("early"))
    inbox.after(1.0, lambda: rung.append("early too"))
    clock.now += 5.0

    for _ in range(3):
        run_next(inbox)

    assert rung == ["early", "early too", "late"]


def test_a_repeated_timer_does_not_make_up_for_missed_ticks(inbox: Inbox, clock: HandClock) -> None:
    rung: list[float] = []
    inbox.every(1.0, lambda: rung.append(clock.now))
    clock.now += 10.0
    run_next(inbox)
    inbox.after(0.0, lambda: rung.append(-1.0))
    run_next(inbox)
    clock.now += 1.0
    run_next(inbox)

    assert rung == [110.0, -1.0, 111.0]


def test_a_timer_of_zero_seconds_comes_after_what_is_there_already(inbox: Inbox) -> None:
    inbox.put(Envelope("first"))
    inbox.after(0.0, lambda: None)

    assert inbox.get().message == "first"
    assert isinstance(inbox.get().message, Due)


def test_another_thread_knocks_and_the_actors_thread_runs(inbox: Inbox) -> None:
    ran_in: list[threading.Thread] = []
    knock = inbox.door(lambda: ran_in.append(threading.current_thread()))
    threading.Thread(target=knock).start()

    run_next(inbox)

    assert ran_in == [threading.current_thread()]


def test_every_door_leads_to_its_own_call(inbox: Inbox) -> None:
    rung: list[int] = []
    knocks = [inbox.door(lambda number=number: rung.append(number)) for number in range(5)]  # type: ignore[misc]
    for knock in reversed(knocks):
        knock()
    for _ in knocks:
        run_next(inbox)

    assert sorted(rung) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("text", ["", "x", "k" * 39, "k" * 41, "é" * 40, "\0" * 40, " " * 40, '"' * 40])
def test_what_is_no_public_key_is_seen(text: str) -> None:
    assert not is_public_key(text)


def test_a_made_key_is_a_public_key_and_hides_its_secret() -> None:
    pair = KeyPair.generate()

    assert is_public_key(pair.public.decode())
    assert pair.secret.decode() not in repr(pair)
