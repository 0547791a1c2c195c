"""Committing through the whole stack: receipts, retries, refusals, and reading one's own writes."""

import os
import signal
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from conftest import Start
from hosting import actors, all_running, wait_until

from keepdb.client import Database, KeepError, NewEvent
from messages.commits import Commit, Receipt, RequestOutcome


def fresh() -> str:
    return uuid4().hex


def persona(id: str, **data: object) -> NewEvent:
    return NewEvent(type="personas.created", id=id, data={"name": "Ada", **data})


def request(db: Database, number: int, *events: NewEvent, unanswered: int | None = None) -> Commit:
    return Commit(
        client=db.client_id,
        number=number,
        first_unanswered=number if unanswered is None else unanswered,
        events=events,
    )


def test_a_retry_of_a_commit_gets_the_first_receipt(shared_db: Database) -> None:
    """Verifies: L5."""
    commit = request(shared_db, 1, persona(fresh()))
    first = shared_db.ask("writer", commit, Receipt)
    again = shared_db.ask("writer", commit, Receipt)

    assert again == msgspec.structs.replace(first, duplicate=True)
    assert shared_db.ask("writer", RequestOutcome(client=shared_db.client_id, number=1), Receipt) == again


def test_the_same_number_with_another_payload_is_refused(shared_db: Database) -> None:
    shared_db.ask("writer", request(shared_db, 1, persona(fresh())), Receipt)

    with pytest.raises(KeepError) as refused:
        shared_db.ask("writer", request(shared_db, 1, persona(fresh())), Receipt)
    assert refused.value.code == "request_id_reused"
    assert not refused.value.retryable


def test_a_gap_is_out_of_order_and_says_where_to_go_on(shared_db: Database) -> None:
    with pytest.raises(KeepError) as refused:
        shared_db.ask("writer", request(shared_db, 3, persona(fresh()), unanswered=1), Receipt, resend=False)

    assert refused.value.code == "out_of_order"
    assert refused.value.retryable
    assert "from request 1" in refused.value.fix


def test_a_request_nobody_made_has_no_outcome(shared_db: Database) -> None:
    with pytest.raises(KeepError) as refused:
        shared_db.ask("writer", RequestOutcome(client=shared_db.client_id, number=9), Receipt)
    assert refused.value.code == "request_unknown"


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 0, -1])
def test_an_impossible_request_number_is_a_typed_refusal(shared_db: Database, number: int) -> None:
    with pytest.raises(KeepError) as refused:
        shared_db.ask("writer", RequestOutcome(client=shared_db.client_id, number=number), Receipt)
    assert refused.value.code in ("request_unknown", "request_id_invalid")


def test_an_idempotency_key_survives_a_restart(start: Start) -> None:
    """Verifies: L5."""
    first = start()
    with first.connect() as db:
        receipt = db.commit("personas.created", {"name": "Ada"}, id="ada", idempotency_key="import-7")
    first.stop()

    with start().connect() as db:
        again = db.commit("personas.created", {"name": "Ada"}, id="ada", idempotency_key="import-7")
        assert again.duplicate
        assert again.seq_first == receipt.seq_first
        with pytest.raises(KeepError) as refused:
            db.commit("personas.created", {"name": "Eve"}, idempotency_key="import-7")
        assert refused.value.code == "idempotency_key_reused"


def test_the_events_of_a_commit_are_kept_together_or_not_at_all(shared_db: Database) -> None:
    one, two = fresh(), fresh()
    with pytest.raises(KeepError) as refused:
        shared_db.commit_all(
            [persona(one), NewEvent(type="personas.updated", id="nobody", data={"name": "x"})]
        )
    assert refused.value.code == "not_found"
    assert shared_db.get("personas", one) is None

    receipt = shared_db.commit_all([persona(one), persona(two)])
    assert receipt.seq_last == receipt.seq_first + 1
    assert receipt.ids == (one, two)


def test_a_refused_commit_leaves_those_beside_it_alone(shared_db: Database) -> None:
    ids = [fresh() for _ in range(20)]
    pending = [
        shared_db.submit([persona(one, **({"usageCount": -1} if n % 5 == 0 else {}))])
        for n, one in enumerate(ids)
    ]

    outcomes = []
    for commit in pending:
        try:
            outcomes.append(commit.receipt().ids[0])
        except KeepError as error:
            outcomes.append(error.code)

    good = [one for n, one in enumerate(ids) if n % 5]
    assert [outcome for outcome in outcomes if outcome in ids] == good
    assert {outcome for outcome in outcomes if outcome not in ids} == {outcomes[0]}
    shared_db.last_seq = shared_db.writer_status().seq
    for n, one in enumerate(ids):
        assert (shared_db.get("personas", one) is None) == (n % 5 == 0)


@pytest.mark.parametrize(
    ("type", "data", "words"),
    [
        ("personas.created", {"name": 7}, ("personas", "name", "7", "text")),
        ("personas.created", {}, ("personas", "name")),
        ("personas.created", {"name": "x", "colour": "red"}, ("personas", "colour")),
        ("personas.created", {"name": "x" * 201}, ("personas", "name", "200")),
        ("personas.created", {"name": "x", "usageCount": -1}, ("personas", "usageCount", "-1", "0")),
        (
            "memoryEntities.created",
            {"name": "x", "type": "dream"},
            ("memoryEntities", "type", "dream", "person"),
        ),
        ("memoryEntities.created", {"name": "x", "type": "event", "importance": 2**64 - 1}, ("importance",)),
        ("memoryEntities.created", {"name": "x", "type": "event", "embedding": [1.0, "a"]}, ("embedding",)),
        (
            "memoryEntities.created",
            {"name": "x", "type": "event", "embedding": [float("nan")]},
            ("embedding",),
        ),
        ("dragons.created", {"name": "x"}, ("dragons",)),
        ("personas.hatched", {"name": "x"}, ("personas.hatched",)),
        ("", {}, ()),
    ],
)
def test_a_validation_error_names_place_finding_and_allowance(
    shared_db: Database, type: str, data: dict[str, object], words: tuple[str, ...]
) -> None:
    before = shared_db.writer_status().seq
    with pytest.raises(KeepError) as refused:
        shared_db.commit(type, data)

    error = refused.value
    assert error.code not in ("internal_error", "materializer_failed")
    assert error.fix
    assert all(word in f"{error.message} {error.fix}" for word in words), error.message
    assert shared_db.writer_status().seq == before


def test_a_client_reads_its_own_writes_at_every_worker(shared_db: Database) -> None:
    for _ in range(50):
        (made,) = shared_db.commit("personas.created", {"name": "Ada"}).ids
        assert shared_db.get("personas", made) is not None


def test_a_read_of_a_position_that_does_not_come_is_refused_in_time(shared_db: Database) -> None:
    shared_db.last_seq = shared_db.writer_status().seq + 1_000
    with pytest.raises(KeepError) as refused:
        shared_db.query({"from": "personas", "limit": 1}, timeout=2.0)

    assert refused.value.code in ("not_there_yet", "timeout")


def test_pages_by_cursor_show_every_row_once(shared_db: Database) -> None:
    window = fresh()
    events = [
        NewEvent(type="uiState.created", id=f"{window}-{n}", data={"windowId": window, "name": f"n{n % 7}"})
        for n in range(95)
    ]
    shared_db.commit_all(events)

    seen: list[str] = []
    query = {"from": "uiState", "where": {"windowId": window}, "orderBy": ["name"], "limit": 10}
    page = shared_db.query(query)
    while True:
        seen += [row["id"] for row in page.dicts()]
        if page.cursor is None:
            break
        page = shared_db.query({**query, "after": page.cursor})

    assert len(seen) == 95
    assert set(seen) == {event.id for event in events}


def test_methods_and_child_rows_come_back_in_reads(shared_db: Database) -> None:
    persona_id = shared_db.commit("personas.created", {"name": "Ada", "apiKeys": {"x": "secret"}}).ids[0]
    shared_db.call("personas", "activate", persona_id)
    talk = shared_db.commit("conversations.created", {"personaId": persona_id, "title": "t"}).ids[0]
    for text in ("hello", "world"):
        shared_db.call("conversations", "addMessage", talk, {"role": "user", "content": text})

    row = shared_db.get("personas", persona_id)
    assert row is not None
    assert (row["isActive"], row["apiKeys"]) == (True, {"x": "secret"})
    messages = shared_db.sql(
        'SELECT id, content FROM "conversations__messages" WHERE parent = ? ORDER BY position', [talk]
    ).rows
    assert [message[1] for message in messages] == ["hello", "world"]


def test_commits_under_way_while_the_writer_is_killed_are_carried_out_once(start: Start) -> None:
    """Verifies: L1 L5 L6."""
    with start().connect() as db:
        wait_until(lambda: all_running(db), 10)
        pending = [db.submit([persona(f"p{n}")], durability="os" if n % 2 else "disk") for n in range(200)]
        os.kill(actors(db)["writer"].pid, signal.SIGKILL)
        receipts = [one.receipt() for one in pending]

        assert [receipt.ids[0] for receipt in receipts] == [f"p{n}" for n in range(200)]
        assert sorted(receipt.seq_first for receipt in receipts) == list(range(1, 201))
        db.last_seq = 200
        assert db.sql("SELECT count(*) FROM personas").rows == [[200]]


def test_a_changed_schema_gives_a_new_state_from_the_same_log(start: Start, tmp_path: Path) -> None:
    """Verifies: L2."""
    first = start()
    with first.connect() as db:
        for n in range(20):
            db.commit("personas.created", {"name": f"p{n}", "usageCount": n}, id=f"p{n}")
        old = db.writer_status()
    first.stop()
    schema = tmp_path / "db" / "schema.yaml"
    text = schema.read_text().replace("- [lastUsed]\n", "- [lastUsed]\n      - [usageCount]\n", 1)
    schema.write_text(text)

    with start().connect() as db:
        new = db.writer_status()
        assert new.schema_hash != old.schema_hash
        assert new.seq == old.seq == new.state_seq
        rows = db.query({"from": "personas", "orderBy": ["usageCount"], "limit": 3}).dicts()
        assert [row["name"] for row in rows] == ["p0", "p1", "p2"]
        assert len(list((tmp_path / "db").glob("state.*.db"))) == 1
