"""Group commit over real files: what is carried out, refused, repeated and rolled back, request by request."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commit_world import CLIENT, OTHER, World, codes, commit, event, persona

from keepdb.errors import KeepError
from keepdb.storage.digest import state_digest
from messages.commits import Commit, NewEvent, Receipt


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def reopened(world: World) -> World:
    world.close()
    return World(world.data)


def memory_of(persona: str) -> NewEvent:
    """The creation of the memory "m" of that persona, which seals it with the persona's key."""
    return NewEvent(
        type="memoryEntities.created", id="m", data={"type": "event", "name": "n", "personaId": persona}
    )


def test_a_group_gets_consecutive_positions_and_one_committed_note(world: World) -> None:
    first, second = world.receipts(commit(1), commit(1, persona("o1"), persona("o2"), client=OTHER))

    assert (first.seq_first, first.seq_last) == (1, 1)
    assert (second.seq_first, second.seq_last, second.ids) == (2, 3, ("o1", "o2"))
    assert world.committed is not None
    assert world.committed.seq == 3
    assert world.committed.versions["personas"] == 3


def test_a_retry_gets_the_first_receipt_and_makes_no_second_event(world: World) -> None:
    """Verifies: L5."""
    (first,) = world.receipts(commit(1))

    (again,) = world.receipts(commit(1))

    assert again.duplicate
    assert not first.duplicate
    assert (again.seq_first, again.seq_last, again.ids, again.at) == (1, 1, first.ids, first.at)
    assert world.store.log.head.seq == 1


def test_a_retry_after_a_restart_gets_the_first_receipt(world: World) -> None:
    """Verifies: L5."""
    (first,) = world.receipts(commit(1))

    world = reopened(world)

    (again,) = world.receipts(commit(1))
    assert again.duplicate
    assert again.seq_first == first.seq_first
    world.close()


def test_the_same_request_twice_in_one_group_is_one_event_and_two_equal_answers(world: World) -> None:
    """Verifies: L5."""
    first, twin = world.receipts(commit(1), commit(1))

    assert first == twin
    assert world.store.log.head.seq == 1


def test_a_request_repeated_while_its_group_is_prepared_is_one_event(world: World) -> None:
    """Verifies: L5."""
    answers = world.run(commit(1), later=(commit(1), commit(2)))

    assert codes(answers) == ["", "", ""]
    assert world.store.log.head.seq == 2


def test_the_same_number_with_another_payload_is_refused(world: World) -> None:
    world.receipts(commit(1))

    assert codes(world.run(commit(1, persona("other")))) == ["request_id_reused"]
    assert codes(world.run(commit(2), commit(2, persona("other")))) == ["", "request_id_reused"]
    assert world.store.log.head.seq == 2


def test_a_gap_in_a_clients_numbers_is_refused_until_it_is_filled(world: World) -> None:
    answers = world.run(commit(2, unanswered=1), commit(1), commit(2, unanswered=1))

    assert codes(answers) == ["out_of_order", "", ""]
    refused = answers[0]
    assert isinstance(refused, KeepError)
    assert refused.retryable


def test_numbers_that_the_client_saw_answered_may_be_missing(world: World) -> None:
    assert codes(world.run(commit(7))) == [""]


def test_clients_do_not_wait_for_each_other(world: World) -> None:
    answers = world.run(commit(2, unanswered=1), commit(1, client=OTHER))

    assert codes(answers) == ["out_of_order", ""]


def test_an_idempotency_key_finds_its_request_under_another_client_and_after_a_restart(world: World) -> None:
    (first,) = world.receipts(commit(1, persona("p"), key="import-1"))
    (again,) = world.receipts(commit(1, persona("p"), client=OTHER, key="import-1"))

    world = reopened(world)

    (later,) = world.receipts(commit(9, persona("p"), key="import-1"))
    assert first.seq_first == again.seq_first == later.seq_first
    assert again.duplicate
    assert later.duplicate
    assert codes(world.run(commit(10, persona("q"), key="import-1"))) == ["idempotency_key_reused"]
    world.close()


def test_an_idempotency_key_twice_in_one_group_is_one_event(world: World) -> None:
    first, again = world.receipts(
        commit(1, persona("p"), key="k"), commit(1, persona("p"), client=OTHER, key="k")
    )

    assert first.seq_first == again.seq_first
    assert world.store.log.head.seq == 1


def test_all_events_of_a_request_are_carried_out_or_none(world: World) -> None:
    answers = world.run(commit(1, persona("a"), event("personas.updated", "nobody", name="x")))

    assert codes(answers) == ["not_found"]
    assert world.count("personas") == 0
    assert world.store.log.head.seq == 0


def test_a_refused_request_leaves_the_others_of_its_group_alone(world: World) -> None:
    bad = commit(2, NewEvent(type="personas.created", data={"name": 7}), unanswered=1)
    answers = world.run(commit(1), bad, commit(3, unanswered=1), commit(1, persona("c1"), client=OTHER))

    assert [bool(code) for code in codes(answers)] == [False, True, False, True]
    assert world.count("personas") == 2
    assert world.store.log.head.seq == 2


def test_a_creation_of_this_group_can_be_updated_in_it(world: World) -> None:
    world.receipts(
        commit(1, persona("p")), commit(2, event("personas.updated", "p", name="Eve"), unanswered=1)
    )

    name = world.store.state.connection.execute("SELECT name FROM personas").fetchall()
    assert name == [("Eve",)]


def test_an_update_is_sealed_for_its_rows_owner_though_a_refused_creation_named_another(world: World) -> None:
    """L4 in the long run: what is sealed for the wrong subject survives the destruction of the right key."""
    memory = memory_of("p1")
    world.receipts(commit(1, persona("p1"), persona("p2"), memory))

    update = event("memoryEntities.updated", "m", summary="of p1")
    answers = world.run(commit(2, memory_of("p2")), commit(3, update, unanswered=2))

    assert codes(answers)[0]
    assert codes(answers)[1] == ""
    first, *_, last = (e for e in world.store.log.read(0, 10) if e.entity == "m")
    assert last.type == "memoryEntities.updated"
    assert last.subject == first.subject


def test_a_failed_sealing_refuses_the_group_and_no_later_request_overtakes_it(world: World) -> None:
    """W4: the first request will be sent again; the second must wait for it."""
    world.sealing = False
    answers = world.run(commit(1, persona("a", description="sealed")))
    assert codes(answers) == ["peer_silent"]

    world.sealing = True
    overtaking = commit(2, persona("b"), unanswered=1)
    assert codes(world.run(overtaking)) == ["out_of_order"]
    assert codes(world.run(commit(1, persona("a", description="sealed")), overtaking)) == ["", ""]
    assert [e.entity for e in world.store.log.read(0, 10)] == ["a", "b"]


@pytest.mark.parametrize(
    "identity",
    [
        {"client": b"short"},
        {"client": b"x" * 40_000},
        {"number": 0, "first_unanswered": 0},
        {"number": -1, "first_unanswered": -2},
        {"number": 2**63, "first_unanswered": 1},
        {"first_unanswered": 2},
        {"idempotency_key": ""},
        {"idempotency_key": "k" * 100_000},
    ],
)
def test_a_request_without_a_usable_identity_is_refused(world: World, identity: dict[str, object]) -> None:
    whole: dict[str, object] = {
        "client": CLIENT,
        "number": 1,
        "first_unanswered": 1,
        "events": (persona("p"),),
    }

    assert codes(world.run(Commit(**(whole | identity)))) == ["request_id_invalid"]  # type: ignore[arg-type]
    assert codes(world.run(commit(1))) == [""]


def test_the_number_of_events_has_a_limit(world: World) -> None:
    none = Commit(client=CLIENT, number=1, first_unanswered=1, events=())
    many = commit(2, *(persona(None) for _ in range(1001)))

    assert codes(world.run(none)) == ["events_count"]
    assert codes(world.run(many)) == ["events_count"]


def test_data_nested_as_deeply_as_the_decoder_takes_is_answered(world: World) -> None:
    """The decoder runs at another depth of the stack than what comes after it."""
    for depth in (100, 800, 900, 950, 970, 990):
        nested: object = 1
        for _ in range(depth):
            nested = [nested]
        (answer,) = world.run(commit(depth, persona(None, settings={"deep": nested})))
        assert isinstance(answer, Receipt | KeepError)


def test_a_request_that_was_in_flight_in_two_crashes_is_refused_and_others_go_on(world: World) -> None:
    """W8. The crash is a process that ends between begin() and end(): the note is all it leaves."""
    for _ in range(2):
        world.in_flight.begin([(CLIENT, 1), (OTHER, 1)] if not world.in_flight.suspects else [(CLIENT, 1)])
        world = reopened(world)
        assert world.group.requests_max == 1

    assert codes(world.run(commit(1))) == ["poisoned"]
    assert codes(world.run(commit(1, client=OTHER))) == [""]
    assert world.group.requests_max == 64
    world.close()


def test_stamps_and_made_up_ids_never_go_back(world: World) -> None:
    receipts = [world.receipts(commit(number, persona(None)))[0] for number in range(1, 6)]

    stamps, ids = [r.at for r in receipts], [r.ids[0] for r in receipts]
    assert stamps == sorted(stamps)
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)


def test_a_reopened_store_continues_where_it_was(world: World) -> None:
    """Verifies: L2."""
    world.receipts(commit(1), commit(2, unanswered=1))
    before = state_digest(world.store.state.connection, world.store.schema)

    world.store.reopen()
    world.group.after_reopen()

    assert state_digest(world.store.state.connection, world.store.schema) == before
    assert codes(world.run(commit(3), commit(1))) == ["", ""]
    assert world.store.log.head.seq == 3


def test_a_rebuild_beside_running_commits_gives_the_same_digest(world: World) -> None:
    """Verifies: L2 L9."""
    for number in range(1, 7):
        world.receipts(commit(number, *(persona(None) for _ in range(200))))

    # A commit before every slice: it must come to an end all the same.
    world.store.begin_rebuild()
    number = 7
    world.receipts(commit(number))
    while not world.store.rebuild_slice():
        number += 1
        world.receipts(commit(number))
    rebuilt = state_digest(world.store.state.connection, world.store.schema)

    world = reopened(world)
    world.store.begin_rebuild()
    while not world.store.rebuild_slice():
        pass
    assert state_digest(world.store.state.connection, world.store.schema) == rebuilt
    assert world.count("personas") == 1_200 + number - 6
    assert number < 20
    world.close()


def test_a_refused_request_is_not_carried_out_later_by_a_copy_of_it(world: World) -> None:
    """Verifies: L5. Its sender was told that it was refused; what came after must not change that."""
    update = Commit(
        client=CLIENT,
        number=1,
        first_unanswered=1,
        events=(NewEvent(type="personas.updated", id="a", data={"name": "B"}),),
    )
    assert codes(world.run(update, commit(2, persona("a")))) == ["not_found", ""]
    assert codes(world.run(update)) == ["request_settled"]
