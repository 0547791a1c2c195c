"""The checker is checked: an honest history passes, and each kind of lie is found out."""

import msgspec
import pytest

from .history import Evidence, History, Live, Logged, Push, Request, Stream, check


def honest() -> History:
    """Two clients, three requests (one of two events), one stream, all as it should be."""
    requests = [
        Request(
            client="aa",
            number=1,
            ids=("a1",),
            durability="disk",
            sent_at=1,
            acked_at=2,
            seq_first=1,
            seq_last=1,
        ),
        Request(
            client="bb",
            number=1,
            ids=("b1", "b2"),
            durability="os",
            sent_at=1,
            acked_at=2,
            seq_first=2,
            seq_last=3,
        ),
        Request(
            client="aa",
            number=2,
            ids=("a2",),
            durability="disk",
            sent_at=2,
            acked_at=3,
            seq_first=4,
            seq_last=4,
        ),
    ]
    log = [
        Logged(1, "a1", "aa", 1),
        Logged(2, "b1", "bb", 1),
        Logged(3, "b2", "bb", 1),
        Logged(4, "a2", "aa", 2),
    ]
    pushes = [Push(1, 2, ((1, "a1"), (2, "b1"))), Push(3, 4, ((3, "b2"), (4, "a2")))]
    return History(
        requests=requests,
        streams=[Stream("one", 0, pushes)],
        live=[Live("newest", [0, 4], ["a2"], ["a2"])],
        evidence=Evidence(log=log, rows=["a1", "b1", "b2", "a2"], digest="d", rebuilt_digest="d"),
    )


def with_log(history: History, log: list[Logged]) -> History:
    """The history over another log; rows and streams as that log would have them."""
    pushes = [Push(event.seq, event.seq, ((event.seq, event.entity),)) for event in log]
    evidence = msgspec.structs.replace(history.evidence, log=log, rows=[event.entity for event in log])
    return msgspec.structs.replace(history, evidence=evidence, streams=[Stream("one", 0, pushes)])


def kinds(violations: list[str]) -> set[str]:
    return {violation.partition(":")[0] for violation in violations}


def test_an_honest_history_passes() -> None:
    assert check(honest()) == []


def test_a_request_that_was_never_answered_may_be_there_or_not() -> None:
    history = honest()
    history.requests[2].acked_at = 0.0
    assert check(history) == []

    gone = with_log(history, history.evidence.log[:3])
    assert check(gone) == []


def test_a_lost_acknowledgement_is_found() -> None:
    history = honest()

    assert kinds(check(with_log(history, history.evidence.log[:3]))) == {"lost"}


def test_a_doubled_event_is_found() -> None:
    history = honest()
    again = with_log(history, [*history.evidence.log, Logged(5, "a2", "aa", 2)])

    assert "doubled" in kinds(check(again))


def test_an_event_doubled_under_another_request_is_found() -> None:
    history = honest()
    again = with_log(history, [*history.evidence.log, Logged(5, "a2", "aa", 3)])

    assert {"doubled", "phantom"} <= kinds(check(again))


def test_a_refused_request_that_is_in_the_log_is_found() -> None:
    history = honest()
    history.requests[2].acked_at, history.requests[2].refused = 0.0, "not_found"

    assert kinds(check(history)) == {"phantom"}


def test_a_client_whose_requests_were_reordered_is_found() -> None:
    history = honest()
    first, *middle, last = history.evidence.log
    log = [Logged(1, "a2", "aa", 2), *middle, Logged(4, "a1", "aa", 1)]
    history.requests[0].seq_first = history.requests[0].seq_last = last.seq
    history.requests[2].seq_first = history.requests[2].seq_last = first.seq

    assert kinds(check(with_log(history, log))) == {"reordered"}


def test_a_receipt_that_names_another_place_is_found() -> None:
    history = honest()
    history.requests[0].seq_first = 4

    assert kinds(check(history)) == {"misplaced"}


def test_half_a_request_is_found() -> None:
    history = honest()
    del history.evidence.log[2]

    assert "torn" in kinds(check(history))
    assert "gap" in kinds(check(history))


@pytest.mark.parametrize(
    ("pushes", "kind"),
    [
        ([Push(1, 2, ((1, "a1"), (2, "b1"))), Push(4, 4, ((4, "a2"),))], "stream gap"),
        (
            [Push(1, 2, ((1, "a1"), (2, "b1"))), Push(2, 4, ((2, "b1"), (3, "b2"), (4, "a2")))],
            "stream repeat",
        ),
        ([Push(1, 4, ((1, "a1"), (2, "b1"), (4, "a2")))], "stream content"),
        ([Push(1, 3, ((1, "a1"), (2, "b1"), (3, "b2")))], "stream end"),
    ],
)
def test_a_stream_with_a_fault_is_found(pushes: list[Push], kind: str) -> None:
    history = msgspec.structs.replace(honest(), streams=[Stream("one", 0, pushes)])

    assert kinds(check(history)) == {kind}


def test_a_stream_that_was_told_to_rehydrate_may_leave_out_what_lies_before() -> None:
    pushes = [Push(3, 3, rehydrate=True), Push(4, 4, ((4, "a2"),))]
    history = msgspec.structs.replace(honest(), streams=[Stream("one", 0, pushes)])

    assert check(history) == []


def test_a_broken_chain_and_a_state_that_is_not_the_logs_are_found() -> None:
    history = honest()
    broken = msgspec.structs.replace(history.evidence, chain_error="event 2", rebuilt_digest="e", rows=["a1"])

    assert kinds(check(msgspec.structs.replace(history, evidence=broken))) == {"chain", "state"}


def test_a_live_query_that_shows_something_else_is_found() -> None:
    history = msgspec.structs.replace(honest(), live=[Live("newest", [4, 3], ["b1"], ["a2"])])

    assert kinds(check(history)) == {"live"}
