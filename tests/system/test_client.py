"""The client when things go wrong on its own side, or stay wrong for longer than it waits."""

import os
import signal
from uuid import uuid4

import pytest
from conftest import Start
from hosting import actors, all_running, wait_until

from keepdb.client import Database, KeepError, NewEvent, connect
from messages.base import FRAME_BYTES_MAX


@pytest.mark.parametrize("value", [2**70, object(), float, {1, object()}])
def test_a_value_that_cannot_be_sent_is_refused_and_costs_no_number(
    shared_db: Database, value: object
) -> None:
    with pytest.raises(KeepError) as refused:
        shared_db.commit("personas.created", {"name": "Ada", "settings": {"x": value}})
    assert refused.value.code == "malformed_message"

    assert shared_db.commit("personas.created", {"name": "Ada"}, timeout=3.0).seq_first > 0


def test_a_commit_that_is_too_large_is_refused_and_costs_no_number(shared_db: Database) -> None:
    with pytest.raises(KeepError) as refused:
        shared_db.commit("personas.created", {"name": "Ada", "avatar": "x" * FRAME_BYTES_MAX})
    assert refused.value.code == "message_too_large"

    assert shared_db.commit("personas.created", {"name": "Ada"}, timeout=3.0).seq_first > 0


def test_an_answer_that_is_too_large_is_a_refusal_and_the_connection_goes_on(shared_db: Database) -> None:
    window = uuid4().hex
    for n in range(10):
        shared_db.commit(
            "uiState.created", {"windowId": window, "name": f"n{n}", "document": {"text": "x" * 900_000}}
        )
    query = {"from": "uiState", "where": {"windowId": window}}

    with pytest.raises(KeepError) as refused:
        shared_db.query(query, timeout=5.0)
    assert refused.value.code == "query_too_large"
    assert len(shared_db.query({**query, "limit": 3}).rows) == 3

    with shared_db.watch(query) as live, pytest.raises(KeepError) as ended:
        live.update(5.0)
    assert ended.value.code == "query_too_large"


def test_a_commit_that_ran_out_of_time_does_not_hold_up_the_next_ones(start: Start) -> None:
    """The writer is frozen for longer than the client waits; afterwards the same connection goes on."""
    with start(settings={"supervisor.heartbeats_missed_max": "3"}).connect() as db:
        wait_until(lambda: all_running(db), 10)
        pid = actors(db)["writer"].pid
        os.kill(pid, signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(KeepError) as refused:
                db.commit("personas.created", {"name": "Ada"}, timeout=0.2)
            assert refused.value.code == "timeout"
        wait_until(lambda: all_running(db, frozenset({pid})), 10)

        receipt = db.commit("personas.created", {"name": "Eve"}, id="eve", timeout=5.0)
        assert receipt.ids == ("eve",)


def test_many_commits_are_answered_in_the_order_they_were_sent(shared_db: Database) -> None:
    pending = [
        shared_db.submit([NewEvent(type="personas.created", data={"name": f"p{n}"})]) for n in range(500)
    ]

    seqs = [one.receipt().seq_first for one in pending]
    assert seqs == sorted(seqs)


def test_a_database_that_does_not_run_is_said_not_to(start: Start) -> None:
    sidecar = start()
    sidecar.stop()

    with pytest.raises(KeepError) as refused:
        connect(sidecar.data)
    assert refused.value.code == "not_running"


def test_an_unknown_service_is_refused_at_once(shared_db: Database) -> None:
    del shared_db.link.endpoints["health"]

    with pytest.raises(KeepError) as refused:
        shared_db.health()
    assert refused.value.code == "service_unknown"


def test_an_unknown_method_names_those_there_are(shared_db: Database) -> None:
    with pytest.raises(KeepError) as refused:
        shared_db.call("personas", "fly", "p")

    assert refused.value.code == "method_unknown"
    assert "activate" in refused.value.message
