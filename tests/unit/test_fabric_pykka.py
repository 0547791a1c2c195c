"""What we build on in pykka, its inner names included: an update that changes any of it fails here first."""

import inspect

import pykka
import pytest
from pykka import messages as pykka_messages
from pykka._envelope import Envelope


@pytest.mark.parametrize(
    "hook",
    [
        "_create_actor_inbox", "_create_future", "_start_actor_loop", "_actor_loop", "_actor_loop_setup",
        "_actor_loop_running", "_actor_loop_teardown", "_handle_failure", "_handle_receive",
    ],
)  # fmt: skip
def test_the_hooks_for_new_actor_types_exist(hook: str) -> None:
    assert callable(getattr(pykka.Actor, hook))


def test_an_envelope_carries_a_message_and_where_its_answer_goes() -> None:
    assert set(Envelope.__slots__) >= {"message", "reply_to"}
    assert list(inspect.signature(Envelope).parameters)[:2] == ["message", "reply_to"]


def test_the_order_to_stop_is_a_message() -> None:
    assert pykka_messages._ActorStop() is not None


class Actor(pykka.ThreadingActor):
    """Fails when it is told to."""

    failures = 0

    def on_receive(self, message: object) -> object:
        if message == "fail":
            raise ZeroDivisionError
        return message

    def on_failure(self, *_: object) -> None:
        type(self).failures += 1


def test_an_exception_in_an_ask_goes_to_the_asker_and_the_actor_lives() -> None:
    ref = Actor.start()
    with pytest.raises(ZeroDivisionError):
        ref.ask("fail", timeout=5)

    assert ref.ask("hello", timeout=5) == "hello"
    ref.stop(timeout=5)


def test_an_exception_in_a_tell_ends_the_actor() -> None:
    ref = Actor.start()
    ref.tell("fail")

    assert ref.actor_stopped.wait(5)
