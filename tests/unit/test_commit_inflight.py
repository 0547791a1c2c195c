"""The note of requests in flight: it survives its writer, and nothing in it survives for ever."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepdb.commit.inflight import CRASHES_MAX, InFlight

ONE, TWO = (b"a" * 16, 1), (b"b" * 16, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "writer.inflight"


def test_requests_that_were_answered_are_not_suspected(path: Path) -> None:
    note = InFlight(path)
    note.begin([ONE, TWO])
    note.end()

    assert InFlight(path).suspects == {}


def test_requests_in_flight_at_a_crash_are_suspects_in_the_next_life(path: Path) -> None:
    InFlight(path).begin([ONE, TWO])

    successor = InFlight(path)

    assert successor.suspects == {ONE: 1, TWO: 1}
    assert not successor.is_poisoned(ONE)


def test_rounds_of_one_group_are_all_in_flight(path: Path) -> None:
    note = InFlight(path)
    note.begin([ONE])
    note.begin([TWO])

    assert set(InFlight(path).suspects) == {ONE, TWO}


def test_a_second_crash_names_the_culprit(path: Path) -> None:
    InFlight(path).begin([ONE, TWO])
    InFlight(path).begin([ONE])

    successor = InFlight(path)

    assert successor.suspects[ONE] == CRASHES_MAX
    assert successor.is_poisoned(ONE)
    assert not successor.is_poisoned(TWO)


def test_a_suspect_that_was_answered_is_none_any_more(path: Path) -> None:
    InFlight(path).begin([ONE, TWO])
    successor = InFlight(path)
    successor.begin([ONE])
    successor.end()

    assert successor.suspects == {TWO: 1}
    assert InFlight(path).suspects == {TWO: 1}


def test_suspects_that_never_come_back_are_forgotten(path: Path) -> None:
    InFlight(path).begin([ONE])
    successor = InFlight(path)
    successor.forget_suspects()

    assert successor.suspects == {}
    assert InFlight(path).suspects == {}


def test_a_full_group_and_its_suspects_fit(path: Path) -> None:
    requests = [(bytes([number]) * 16, 2**63 - 1) for number in range(64)]
    for _ in range(3):
        InFlight(path).begin(requests)

    assert len(InFlight(path).suspects) == 64


@settings(max_examples=200, deadline=None)
@given(damage=st.binary(max_size=400))
def test_a_note_full_of_nonsense_is_taken_for_empty(
    damage: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("note") / "writer.inflight"
    path.write_bytes(damage)

    note = InFlight(path)
    note.begin([ONE])

    assert ONE in InFlight(path).suspects
