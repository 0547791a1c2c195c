"""Query actors under load they did not ask for: clients that do not read, waits in vain, a damaged state."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
import zmq
from conftest import Start
from hosting import actors, wait_until

from keepdb.client import Database, KeepError, Sidecar
from keepdb.fabric.sockets import build_socket
from messages.base import FRAME_BYTES_MAX, Message, Refused, decoder, encode
from messages.queries import (
    Query,
    QueryFigures,
    QueryStatus,
    Read,
    Rows,
    Subscribe,
    SubscribeChanges,
    Subscribed,
    Unsubscribe,
)

#: More answers and pushes than both queues of a connection hold: 4 096 at the server, 4 096 at the client.
TOO_MANY = 6_000
ONE_WORKER = {"query.workers": "1"}
QUERY = Query(source="uiState", where={"windowId": "w"})


class Raw:
    """A connection that reads only when it is told to."""

    def __init__(self, sidecar: Sidecar, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        key = sidecar.ready["server_keys"]["query-1"].encode()
        self._socket = build_socket(context, "dealer", sidecar._own, key)
        self._socket.sndtimeo = self._socket.rcvtimeo = 10_000
        self._socket.connect(sidecar.ready["endpoints"]["query-1"])
        self._ids = count(1)

    def send(self, message: Message) -> None:
        self._socket.send_multipart([next(self._ids).to_bytes(8, "big"), encode(message)])

    def receive(self) -> bytes:
        return self._socket.recv_multipart()[-1]


@contextmanager
def raw(sidecar: Sidecar) -> Iterator[Raw]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield Raw(sidecar, context)
    finally:
        context.destroy(linger=0)


def test_a_client_that_never_reads_holds_up_no_other_subscriber(start: Start) -> None:
    """Verifies: L8."""
    sidecar = start(settings=ONE_WORKER)
    with raw(sidecar) as slow, sidecar.connect() as db:
        for number in range(TOO_MANY):
            slow.send(Subscribe(sub=f"{number}", query=QUERY, credit=1, budget_ms=60_000))
        wait_until(lambda: db.health().actors.get("query-1", {}).get("slow_clients") == 1, 20)

        with db.watch(QUERY) as live:
            assert live.update(5.0) is not None
            db.commit("uiState.created", {"windowId": "w", "name": "new"})
            assert (result := live.update(5.0)) is not None
            assert [row["name"] for row in result.dicts()] == ["new"]


def test_reads_that_wait_in_vain_are_limited_and_told_in_time(start: Start) -> None:
    """Verifies: L8."""
    sidecar = start(settings=ONE_WORKER)
    with raw(sidecar) as client, sidecar.connect() as db:
        for _ in range(257):
            client.send(Read(query=QUERY, at_least=10**15, budget_ms=600_000))
        refused = decode(client.receive())
        assert (refused.code, refused.retryable) == ("busy", True)

        # Others have room, and hear about it before they would give up.
        with pytest.raises(KeepError) as caught:
            db.link.ask("query-1", Read(query=QUERY, at_least=10**15), Rows, 0.5)
        assert caught.value.code == "not_there_yet"
        assert db.query(QUERY).rows == []


def test_live_queries_and_change_streams_share_the_limits(start: Start) -> None:
    """Verifies: L8."""
    limits = {"query.subscriptions_per_client_max": "2", "query.subscriptions_max": "3"}
    sidecar = start(settings={**ONE_WORKER, **limits})
    with sidecar.connect() as db, sidecar.connect() as other:
        subscribe(db, Subscribe(sub="1", query=QUERY))
        subscribe(db, SubscribeChanges(sub="2"))
        assert code_of(db, SubscribeChanges(sub="3")) == "live_too_many_subscriptions"
        assert code_of(db, Subscribe(sub="3", query=QUERY)) == "live_too_many_subscriptions"
        subscribe(db, SubscribeChanges(sub="2"))
        subscribe(other, SubscribeChanges(sub="1"))
        assert code_of(other, SubscribeChanges(sub="2")) == "live_too_many_subscriptions"
        assert code_of(other, SubscribeChanges(sub="x" * 65)) == "query_bad_value"
        assert code_of(other, SubscribeChanges(sub="x" * (FRAME_BYTES_MAX // 2))) == "query_bad_value"


def test_a_subscription_that_is_given_up_before_its_position_is_there_never_begins(start: Start) -> None:
    """Verifies: L8. An app that commits, shows what it wrote, and has gone on before it comes."""
    sidecar = start(settings=ONE_WORKER)
    with sidecar.connect() as db, raw(sidecar) as client:
        later = db.commit("uiState.created", {"windowId": "w", "name": "first"}).seq_last + 1
        client.send(Subscribe(sub="gone", query=QUERY, at_least=later, budget_ms=60_000))
        client.send(Unsubscribe(sub="gone", budget_ms=60_000))
        assert decode(client.receive()).code == "live_ended"
        client.receive()
        client.send(Subscribe(sub="renewed", query=QUERY, at_least=later, budget_ms=60_000))
        client.send(Subscribe(sub="renewed", query=Query(source="uiState", limit=1), budget_ms=60_000))
        assert decode(client.receive()).code == "live_ended"

        assert isinstance(decoder(Subscribed).decode(client.receive()), Subscribed)

        db.commit("uiState.created", {"windowId": "w", "name": "second"})
        db.query(QUERY)

        figures = db.ask("query-1", QueryStatus(), QueryFigures)
        assert (figures.live_queries, figures.subscribers) == (1, 1)


def test_a_damaged_state_is_built_anew_and_the_database_starts(start: Start) -> None:
    """Verifies: L10, W6. Query actors meet the damaged file while the writer is still finding out."""
    sidecar = start()
    with sidecar.connect() as db:
        for number in range(20):
            db.commit("personas.created", {"name": f"Ada {number}"})
    sidecar.stop()
    for path in sidecar.data.glob("state.*"):
        if path.name.endswith((".db-wal", ".db-shm")):
            path.unlink()
        elif path.name.endswith(".db"):
            path.write_bytes(bytes(path.stat().st_size))

    again = start()
    with again.connect() as db:
        assert len(db.query({"from": "personas"}).rows) == 20
        assert all(actor.restarts == 0 for actor in actors(db).values())


def subscribe(db: Database, message: Subscribe | SubscribeChanges) -> Subscribed:
    return db.link.ask("query-1", message, Subscribed, 5.0)


def code_of(db: Database, message: Subscribe | SubscribeChanges) -> str:
    with pytest.raises(KeepError) as caught:
        subscribe(db, message)
    return caught.value.code


def decode(frame: bytes) -> Refused:
    found = decoder(Refused).decode(frame)
    assert isinstance(found, Refused)
    return found
