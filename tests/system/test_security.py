"""From the attacker's chair: strangers, wrong roles, malformed bytes, and eyes on every file and process."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import zmq
from conftest import Start
from hosting import Host, all_running, wait_until
from leftovers import run_directory

from keepdb.client import Database, Sidecar
from keepdb.client.link import Endpoint
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.sockets import build_socket
from keepdb.runtime.host_frame import HostFrame, encode_frame
from messages.base import FRAME_BYTES_MAX, Message, encode
from messages.commits import Commit, NewEvent, Rebuild, WriterStatus
from messages.control import GetHealth, GetStatus
from messages.queries import Ping, Query, Read, Sql, Subscribe, SubscribeChanges

#: A peer that is answered is answered within a few ms; so long nothing means never.
SILENCE_MS = 1_000
SERVICES = ("supervisor", "writer", "query-1", "query-2", "backup", "health")
CANARY = "canary-7f3a91"


class Peer:
    """A bare DEALER that sends whatever it likes."""

    def __init__(self, sidecar: Sidecar, service: str, keys: KeyPair | None) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        if keys is None:
            self.socket = self.context.socket(zmq.DEALER)
            self.socket.linger = 0
        else:
            server = sidecar.ready["server_keys"][service].encode()
            self.socket = build_socket(self.context, "dealer", keys, server)
        self.socket.connect(sidecar.ready["endpoints"][service])

    def ask(self, *frames: bytes, wait_ms: int = SILENCE_MS) -> list[bytes] | None:
        """The next answer, None when there is none in time."""
        self.socket.send_multipart(frames)
        return self.socket.recv_multipart() if self.socket.poll(wait_ms) else None

    def close(self) -> None:
        self.context.destroy(linger=0)


def app_keys(sidecar: Sidecar) -> KeyPair:
    """The key pair of role app that the sidecar was started with."""
    return sidecar._own


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.close()


def refusal(frames: list[bytes] | None) -> dict[str, Any]:
    assert frames is not None, "no answer"
    return dict(msgspec.msgpack.decode(frames[-1]))


@pytest.mark.parametrize("service", SERVICES)
def test_a_stranger_gets_no_answer(shared: Sidecar, peers: list[Peer], service: str) -> None:
    """The server's public key is known to it, its own to nobody."""
    peers.append(stranger := Peer(shared, service, KeyPair.generate()))

    assert stranger.ask(b"1", encode(Ping()), wait_ms=300) is None


@pytest.mark.parametrize("service", SERVICES)
def test_a_peer_without_keys_gets_no_answer(shared: Sidecar, peers: list[Peer], service: str) -> None:
    peers.append(plain := Peer(shared, service, None))

    assert plain.ask(b"1", encode(Ping()), wait_ms=300) is None


def test_internal_services_are_not_offered_and_refuse_the_apps_key(
    shared: Sidecar, tmp_path: Path, peers: list[Peer]
) -> None:
    assert "encryption" not in shared.ready["endpoints"]
    assert "cache" not in shared.ready["endpoints"]
    run = run_directory(shared.data)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    # Nobody outside knows its server key; even with a guess there is no answer.
    socket = build_socket(context, "dealer", app_keys(shared), KeyPair.generate().public)
    socket.connect(f"ipc://{run}/encryption.sock")
    socket.send_multipart([b"1", encode(Ping())])
    assert not socket.poll(300)
    context.destroy(linger=0)


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("writer", Rebuild()),
        ("writer", {"type": "seal", "items": []}),
        ("supervisor", {"type": "heartbeat", "incarnation": 1}),
        (
            "supervisor",
            {"type": "failed", "incarnation": 1, "code": "x", "message": "x", "fix": "x", "permanent": True},
        ),
        ("health", {"type": "actor_report", "figures": {}}),
        ("query-1", {"type": "cache_at", "path": "/etc"}),
        ("query-1", {"type": "state_switched", "generation": 9, "path": "../../etc/passwd", "seq": 1}),
    ],
)
def test_what_an_app_may_not_send_is_refused(
    shared: Sidecar, peers: list[Peer], service: str, message: Message | dict[str, object]
) -> None:
    peers.append(app := Peer(shared, service, app_keys(shared)))
    body = encode(message) if isinstance(message, Message) else msgspec.msgpack.encode(message)

    answer = refusal(app.ask(b"1", body))

    assert (answer["type"], answer["code"] in ("not_allowed", "malformed_message")) == ("refused", True)
    assert answer["fix"]
    assert app.ask(b"", body, wait_ms=100) is None


def test_a_viewer_reads_and_does_not_write(start: Start, tmp_path: Path, peers: list[Peer]) -> None:
    viewer = KeyPair.generate()
    frame = HostFrame(passphrase="four plain words suffice", clients={viewer.public.decode(): "viewer"})
    host = Host(tmp_path / "db", encode_frame(frame))
    line = host.line()
    endpoints = {
        name: Endpoint(name, at, line["server_keys"][name]) for name, at in line["endpoints"].items()
    }
    try:
        with Database(endpoints, viewer) as db:
            assert db.query({"from": "personas"}).rows == []
            assert db.status().state in ("ready", "starting", "degraded")
            for attempt in (
                lambda: db.commit("personas.created", {"name": "Ada"}),
                lambda: db.changes(),
                lambda: db.ask("writer", Rebuild(), Message),
            ):
                with pytest.raises(Exception, match="not_allowed"):
                    attempt()
    finally:
        host.close()


def valid_messages() -> list[tuple[str, bytes]]:
    """One of each that an app sends, to be bent."""
    commit = Commit(
        client=b"c" * 16,
        number=1,
        first_unanswered=1,
        events=(NewEvent(type="personas.created", data={"name": "x"}),),
    )
    query = Query(
        source="personas", where={"name": "x", "or": [{"usageCount": {">": 3}}]}, order_by=("-name",)
    )
    return [
        ("writer", encode(commit)),
        ("writer", encode(WriterStatus())),
        ("query-1", encode(Read(query=query))),
        ("query-1", encode(Read(sql=Sql(sql="SELECT * FROM personas WHERE name = ?", params=["x"])))),
        ("query-2", encode(Subscribe(sub="s", query=query))),
        ("query-2", encode(SubscribeChanges(sub="c", after=0))),
        ("supervisor", encode(GetStatus())),
        ("health", encode(GetHealth())),
    ]


def mutant(source: bytes, rng: random.Random) -> bytes:
    """A message with some bytes changed, left out, doubled or put in."""
    data = bytearray(source)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + rng.randint(1, 8)]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                data[at:at] = data[at : at + rng.randint(1, 16)]
            case _:
                data[at : at + 1] = rng.choice(
                    [b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xa3\xff\xfe\xfd", b"\xcf" + b"\xff" * 8]
                )
    return bytes(data)


def test_ten_thousand_malformed_messages_harm_nobody(start: Start, peers: list[Peer]) -> None:
    """Verifies: L6 L8. Typed refusals, answers or silence; every process lives; other clients are served."""
    sidecar = start()
    rng = random.Random(20_261_122)
    with sidecar.connect() as db:
        wait_until(lambda: all_running(db), 10)
        pids = {actor.pid for actor in db.status().actors}
        db.commit("personas.created", {"name": "Ada"}, id="ada")
        answers = malformed_rounds(sidecar, rng, peers, 10_000)

        assert sum(answers.values()) > 9_000
        assert answers.get("internal_error", 0) == 0
        assert db.get("personas", "ada") is not None
        assert db.commit("personas.created", {"name": "Eve"}).ids
        assert {actor.pid for actor in db.status().actors} == pids


def malformed_rounds(sidecar: Sidecar, rng: random.Random, peers: list[Peer], count: int) -> dict[str, int]:
    """Send mutants, at most 500 unanswered at a time; how often each code (or type of answer) came."""
    sources = valid_messages()
    by_service = {
        service: Peer(sidecar, service, app_keys(sidecar)) for service in sorted({s for s, _ in sources})
    }
    peers += by_service.values()
    found: dict[str, int] = {}
    for number in range(count):
        service, source = rng.choice(sources)
        peer = by_service[service]
        peer.socket.send_multipart([number.to_bytes(4, "big"), mutant(source, rng)])
        if number % 500 == 499:
            for each in by_service.values():
                drain(each, found)
    for each in by_service.values():
        drain(each, found)
    return found


def drain(peer: Peer, found: dict[str, int]) -> None:
    """Take in every answer up to that of a last, valid request."""
    # A request id is good for one request of a connection; a copy of it would not be answered again.
    last = os.urandom(8)
    peer.socket.send_multipart([last, encode(Ping())])
    while peer.socket.poll(5_000):
        frames = peer.socket.recv_multipart()
        answer = msgspec.msgpack.decode(frames[-1])
        if frames[0] == last:
            return
        code = answer.get("code", answer["type"])
        if code == "internal_error":
            found.setdefault(answer["message"], 1)
        found[code] = found.get(code, 0) + 1
    raise AssertionError("a service stopped answering")


@pytest.mark.parametrize("depth", [10, 500, 900, 950, 980, 990, 1_000, 10_000, 1_000_000])
def test_deeply_nested_input_is_answered(shared: Sidecar, peers: list[Peer], depth: int) -> None:
    """Verifies: L6 L8."""
    deep = msgspec.Raw(b"\x91" * depth + b"\x01")
    commit = {
        "type": "commit", "client": b"d" * 16, "number": depth, "firstUnanswered": depth,
        "events": [{"type": "personas.created", "data": {"name": "x", "settings": {"deep": deep}}}],
    }  # fmt: skip
    read = {"type": "read", "query": {"from": "personas", "where": {"name": deep}}}
    sql = {"type": "read", "sql": {"sql": "SELECT ?", "params": [deep]}}
    for service, message in (("writer", commit), ("query-1", read), ("query-1", sql)):
        peers.append(app := Peer(shared, service, app_keys(shared)))
        answer = refusal(app.ask(b"1", msgspec.msgpack.encode(message), wait_ms=5_000))
        assert answer["type"] in ("refused", "receipt", "rows")
        assert answer.get("code") != "internal_error", answer


@pytest.mark.parametrize(
    "frames",
    [
        [b""], [b"", b""], [b"1"], [b"1", b""], [b"1", b"\x80", b"\x80"], [b"1", b"\xc1"], [b"x" * 33, b"\x80"],
        [b"1", b"\x81\xa4type\xa3\xff\xfe\xfd"], [b"1", b"\x81\xa4type\xc0"], [b"1", b"\x90"], [b"1", b"\x01"],
        [b"1", b"\x82\xa4type\xa4ping\xa4type\xa4ping"], [b"", b"\x81\xa4type\xa4ping"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("service", SERVICES)
def test_odd_frames_are_refused_or_ignored(
    shared: Sidecar, shared_db: Database, peers: list[Peer], service: str, frames: list[bytes]
) -> None:
    peers.append(app := Peer(shared, service, app_keys(shared)))
    app.socket.send_multipart(frames)

    answer = app.ask(b"2", b"\x81\xa4type\xa4nope", wait_ms=5_000)
    while answer is not None and answer[0] != b"2":
        assert refusal(answer)["type"] in ("refused", "pong")
        answer = app.socket.recv_multipart() if app.socket.poll(SILENCE_MS) else None
    assert refusal(answer)["code"] == "malformed_message"


def test_a_frame_over_the_limit_drops_its_sender_only(
    shared: Sidecar, shared_db: Database, peers: list[Peer]
) -> None:
    """Verifies: L8."""
    peers.append(app := Peer(shared, "writer", app_keys(shared)))

    assert app.ask(b"1", b"x" * (FRAME_BYTES_MAX + 1), wait_ms=500) is None
    assert shared_db.commit("personas.created", {"name": "Ada"}).ids


def test_a_peer_that_never_reads_holds_up_nobody(
    shared: Sidecar, shared_db: Database, peers: list[Peer]
) -> None:
    """Verifies: L8."""
    peers.append(deaf := Peer(shared, "query-1", app_keys(shared)))
    request = encode(Read(query=Query(source="personas", limit=1)))
    for number in range(8_000):
        try:
            deaf.socket.send_multipart([number.to_bytes(4, "big"), request], zmq.NOBLOCK)
        except zmq.Again:
            break

    for _ in range(10):
        assert shared_db.query({"from": "personas", "limit": 1}, timeout=5.0).columns


def secrets_of(db: Database) -> None:
    """Canaries in every encrypted field and in names, through commits, queries, a live query and the cache."""
    persona = db.commit(
        "personas.created",
        {
            "name": f"{CANARY}-name", "description": f"{CANARY}-description", "personality": {"a": f"{CANARY}-p"},
            "privateMemory": [f"{CANARY}-m"], "apiKeys": {f"{CANARY}-service": f"{CANARY}-key"},
        },
    ).ids[0]  # fmt: skip
    db.commit(
        "memoryEntities.created",
        {
            "personaId": persona, "type": "knowledge", "name": f"{CANARY}-memory", "content": f"{CANARY}-content",
            "summary": f"{CANARY}-summary", "tags": [f"{CANARY}-tag"], "metadata": {"k": f"{CANARY}-meta"},
        },
    )  # fmt: skip
    talk = db.commit("conversations.created", {"title": f"{CANARY}-title", "personaId": persona}).ids[0]
    db.call("conversations", "addMessage", talk, {"role": "user", "content": f"{CANARY}-message"})
    db.commit("workflows.created", {"name": f"{CANARY}-flow", "definition": {"x": f"{CANARY}-def"}})
    db.commit(
        "uiState.created", {"windowId": "w", "name": f"{CANARY}-ui", "document": {"x": f"{CANARY}-doc"}}
    )
    with pytest.raises(Exception, match="validation"):
        db.commit("personas.created", {"name": [f"{CANARY}-refused"]})
    with pytest.raises(Exception, match="nowhere"):
        db.sql(f"SELECT '{CANARY}-sql' FROM nowhere")
    for collection in ("personas", "memoryEntities", "conversations", "workflows", "uiState"):
        for _ in range(4):
            assert db.query({"from": collection, "where": {"id": {"!=": f"{CANARY}-where"}}}).rows
    with db.watch({"from": "personas"}) as live:
        assert live.update(5.0) is not None


def test_no_canary_is_readable_in_any_file_or_process(start: Start, tmp_path: Path) -> None:
    """Verifies: L4. While it runs, and after it has stopped; cache admission is lowered so that it is used."""
    passphrase = f"{CANARY} passphrase of words"
    sidecar = start(passphrase=passphrase, settings={"query.cache_above_us": "0", "logs.level": "debug"})
    code = sidecar.recovery_code
    needles = [CANARY.encode(), passphrase.encode(), code.encode(), code.replace("-", "").encode()]
    with sidecar.connect() as db:
        wait_until(lambda: all_running(db), 10)
        secrets_of(db)
        run = run_directory(tmp_path / "db")
        assert hits([tmp_path / "db", run], needles) == []
        assert process_hits(sidecar, needles) == []
    sidecar.stop()

    assert hits([tmp_path / "db", run], needles) == []
    assert hits([tmp_path / "db"], [b"keepdb.runtime"]), "the search itself must find what is there"


def hits(folders: list[Path], needles: list[bytes]) -> list[str]:
    """Files that hold a needle, in UTF-8 or UTF-16."""
    wanted = [*needles, *(needle.decode().encode("utf-16-le") for needle in needles)]
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in wanted)
    ]


def process_hits(sidecar: Sidecar, needles: list[bytes]) -> list[str]:
    """Command lines and environments that hold a needle or a key of the client."""
    own = psutil.Process(sidecar.process.pid)
    wanted = [*needles, app_keys(sidecar).secret]
    return [
        f"{process.pid} {name}"
        for process in [own, *own.children(recursive=True)]
        for name, text in (("cmdline", process.cmdline()), ("environ", process.environ()))
        if any(needle.decode() in str(text) for needle in wanted)
    ]


def test_secrets_have_no_readable_form(shared: Sidecar) -> None:
    """Verifies: L4. What a log line or a traceback would show."""
    keys = app_keys(shared)

    assert keys.secret.decode() not in repr(keys)
