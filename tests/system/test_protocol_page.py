"""docs/protocol.md is enough: a client written from that page alone, with a ZeroMQ and a msgpack library.

Nothing of KeepDB is imported. What this client does not know is missing from the page.
"""

import base64
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import zmq

SUPERVISOR = Path(__file__).parents[2] / "supervisor.py"
PASSPHRASE = "correct horse battery staple"
DEADLINE_S = 20.0

Map = dict[str, Any]


class Refused(Exception):
    """The answer `refused`."""

    def __init__(self, answer: Map) -> None:
        super().__init__(f"{answer['code']}: {answer['message']} {answer['fix']}")
        self.code: str = answer["code"]
        self.retryable: bool = answer.get("retryable", False)


class Client:
    """One DEALER per service; requests are sent again until they are answered."""

    def __init__(self, ready: Map, public: bytes, secret: bytes) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets = {name: self._dealer(ready, name, public, secret) for name in ready["endpoints"]}
        self.pushes: deque[Map] = deque()
        self.id = os.urandom(16)
        self.number = 0
        self._requests = itertools.count(1)

    def _dealer(self, ready: Map, name: str, public: bytes, secret: bytes) -> "zmq.Socket[bytes]":
        socket = self.context.socket(zmq.DEALER)
        socket.linger = 0
        socket.maxmsgsize = 8 * 1024 * 1024
        socket.curve_serverkey = ready["server_keys"][name].encode()
        socket.curve_publickey, socket.curve_secretkey = public, secret
        socket.connect(ready["endpoints"][name])
        return socket

    def close(self) -> None:
        self.context.destroy(linger=0)

    def ask(self, service: str, message: Map) -> Map:
        """The answer; pushes that come meanwhile are kept."""
        request_id = next(self._requests).to_bytes(8, "big")
        deadline, pause = time.monotonic() + DEADLINE_S, 0.1
        while time.monotonic() < deadline:
            self.sockets[service].send_multipart([request_id, msgspec.msgpack.encode(message)])
            answer = self._answer(service, request_id, pause)
            pause = min(pause * 1.5, 1.0)
            if answer is None:
                continue
            if answer["type"] == "refused":
                raise Refused(answer)
            return answer
        raise TimeoutError(f"{service} did not answer {message['type']}")

    def tell(self, service: str, message: Map) -> None:
        self.sockets[service].send_multipart([b"", msgspec.msgpack.encode(message)])

    def push(self, service: str) -> Map:
        """The next push."""
        if not self.pushes:
            self._answer(service, b"a push", DEADLINE_S)
        return self.pushes.popleft()

    def _answer(self, service: str, request_id: bytes, seconds: float) -> Map | None:
        """Read until the answer, or while waiting for `a push` until there is one."""
        socket, end = self.sockets[service], time.monotonic() + seconds
        while socket.poll(max(0, int((end - time.monotonic()) * 1000))):
            first, body = socket.recv_multipart()
            message: Map = msgspec.msgpack.decode(body)
            if first == str(message.get("sub")).encode():
                self.pushes.append(message)
                if request_id == b"a push":
                    return None
            elif first == request_id:
                return message
        return None

    def commit(self, *events: Map, number: int | None = None, **more: Any) -> Map:
        """number: that of an earlier commit, to repeat it."""
        if number is None:
            self.number += 1
        mine = self.number if number is None else number
        return self.ask(
            "writer",
            {
                "type": "commit",
                "client": self.id,
                "number": mine,
                "firstUnanswered": mine,
                "events": list(events),
                **more,
            },
        )

    def read(self, query: Map, at_least: int = 0) -> list[Any]:
        rows: list[Any] = self.ask("query-1", {"type": "read", "query": query, "atLeast": at_least})["rows"]
        return rows

    def subscribe(self, message: Map) -> tuple[str, Map]:
        """Follow `moved`; returns the service that keeps the subscription, and `subscribed`."""
        service = "query-1"
        while True:
            answer = self.ask(service, message)
            if answer["type"] == "subscribed":
                return service, answer
            assert answer["type"] == "moved"
            service = answer["service"]


def apply_diff(rows: list[Any], key: int, diff: Map) -> list[Any]:
    """The three steps of the page."""
    by_key = {row[key]: row for row in rows}
    by_key.update({row[key]: row for row in diff.get("update", [])})
    moved = [name for _, name in diff.get("move", [])]
    rows = [
        by_key[row[key]] for row in rows if row[key] not in diff.get("exit", []) and row[key] not in moved
    ]
    placed = [*diff.get("enter", []), *([index, by_key[name]] for index, name in diff.get("move", []))]
    for index, row in sorted(placed, key=lambda place: place[0]):
        rows.insert(index, row)
    return rows


@contextmanager
def running(
    data: Path, role: str = "app", **secrets: Any
) -> Iterator[tuple[Map, Client, "subprocess.Popen[bytes]"]]:
    """Start the process as the page says; closing standard input ends it."""
    public, secret = zmq.curve_keypair()
    process = subprocess.Popen(
        [sys.executable, str(SUPERVISOR), "host", "--data", str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        frame = json.dumps({"v": 1, "clients": {public.decode(): role}, **secrets}).encode()
        process.stdin.write(len(frame).to_bytes(4, "big") + frame)
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        assert ready["event"] == "ready", ready
        client = Client(ready, public, secret)
        try:
            yield ready, client, process
        finally:
            client.close()
    finally:
        process.stdin.close()
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0


def test_a_client_written_from_the_page_commits_retries_and_reads(tmp_path: Path) -> None:
    """Verifies: L1, L5"""
    with running(tmp_path / "data", passphrase=PASSPHRASE) as (ready, client, _):
        assert ready["protocol"] == 1
        assert ready["recovery_code"]
        made = {"type": "personas.created", "data": {"name": "Ada", "personality": {"mood": "calm"}}}
        receipt = client.commit(made)
        assert receipt["type"] == "receipt"
        assert (receipt["seqFirst"], receipt["seqLast"], len(receipt["ids"])) == (1, 1, 1)
        again = client.commit(made, number=1)
        assert again == {**receipt, "duplicate": True}
        key: Map = {"idempotencyKey": "the first Eve"}
        first = client.commit({"type": "personas.created", "data": {"name": "Eve"}}, **key)
        second = client.commit({"type": "personas.created", "data": {"name": "Eve"}}, **key)
        assert second["ids"] == first["ids"]
        other = {"type": "personas.created", "data": {"name": "Mallory"}}
        assert code_of(lambda: client.commit(other, number=1)) == "request_id_reused"
        client.ask("writer", {"type": "request_outcome", "client": client.id, "number": 1})
        unknown = {"type": "request_outcome", "client": client.id, "number": 77}
        assert code_of(lambda: client.ask("writer", unknown)) == "request_unknown"
        gap = {"type": "commit", "client": client.id, "number": 9, "firstUnanswered": 1, "events": [made]}
        assert code_of(lambda: client.ask("writer", gap)) == "out_of_order"

        query = {"from": "personas", "select": ["name", "personality"], "orderBy": ["name"], "limit": 1}
        page = client.ask("query-2", {"type": "read", "query": query, "atLeast": first["seqLast"]})
        assert page["columns"] == ["id", "name", "personality"]
        assert page["rows"] == [[receipt["ids"][0], "Ada", {"mood": "calm"}]]
        rest = client.ask("query-1", {"type": "read", "query": {**query, "after": page["cursor"]}})
        assert [row[1] for row in rest["rows"]] == ["Eve"]
        assert rest.get("cursor") is None
        sql = {"sql": "SELECT count(*) AS n FROM personas WHERE name > :least", "params": {"least": "B"}}
        assert client.ask("query-1", {"type": "read", "sql": sql})["rows"] == [[1]]


def test_a_client_written_from_the_page_keeps_a_live_query_by_applying_diffs(tmp_path: Path) -> None:
    """Verifies: L3"""
    with running(tmp_path / "data", passphrase=PASSPHRASE) as (_, client, _):
        ids = [
            client.commit(
                {"type": "memoryEntities.created", "data": {"type": "task", "name": name, "importance": many}}
            )
            for name, many in (("Ann", 90), ("Bob", 70), ("Cy", 50), ("Di", 30), ("Fay", 2), ("Gil", 1))
        ]
        ann, bob, _, di, *_ = (receipt["ids"][0] for receipt in ids)
        query = {
            "from": "memoryEntities",
            "select": ["name", "importance"],
            "orderBy": ["-importance"],
            "limit": 10,
        }
        service, subscribed = client.subscribe(
            {"type": "subscribe", "sub": "list", "query": query, "atLeast": ids[-1]["seqLast"], "credit": 1}
        )
        first = client.push(service)
        assert (first["type"], first["sub"], first["columns"]) == (
            "snapshot",
            "list",
            ["id", "name", "importance"],
        )
        rows, key = first["rows"], first["key"]
        assert [row[1] for row in rows] == ["Ann", "Bob", "Cy", "Di", "Fay", "Gil"]

        # Without credit nothing is queued: all four changes come as one push.
        last = client.commit(
            {"type": "memoryEntities.deleted", "id": ann},
            {"type": "memoryEntities.updated", "id": bob, "data": {"name": "Bo"}},
            {"type": "memoryImportanceUpdated", "id": di, "data": {"importance": 80}},
            {"type": "memoryEntities.created", "data": {"type": "task", "name": "Eve", "importance": 60}},
        )
        client.tell(service, {"type": "ack", "sub": "list"})
        push = client.push(service)
        assert push["type"] == "diff"
        assert push["seq"] >= last["seqLast"]
        rows = apply_diff(rows, key, push)
        assert [row[1:] for row in rows] == [
            ["Di", 80],
            ["Bo", 70],
            ["Eve", 60],
            ["Cy", 50],
            ["Fay", 2],
            ["Gil", 1],
        ]
        assert rows == client.read(query, last["seqLast"])

        pong = client.ask(service, {"type": "ping"})
        assert (pong["epoch"], pong["subscriptions"]) == (subscribed["epoch"], 1)
        assert client.ask(service, {"type": "unsubscribe", "sub": "list"})["type"] == "done"
        assert client.ask(service, {"type": "ping"})["subscriptions"] == 0


def test_a_client_written_from_the_page_follows_changes_across_a_killed_actor(tmp_path: Path) -> None:
    """Verifies: L3, L6"""
    with running(tmp_path / "data", passphrase=PASSPHRASE) as (_, client, _):
        seen: list[int] = []
        seq, generation = 0, 0

        def take(push: Map) -> None:
            nonlocal seq
            assert push["type"] == "changes"
            if push["seqLast"] > seq:
                assert push["seqFirst"] <= seq + 1
                seen.extend(row[0] for row in push["rows"] if row[0] > seq)
                seq = push["seqLast"]
            client.tell("query-1", {"type": "ack", "sub": "all"})

        def subscribe() -> str:
            nonlocal generation
            message = {"type": "subscribe_changes", "sub": "all", "after": seq, "generation": generation}
            answer = client.ask("query-1", message)
            generation = answer["generation"]
            epoch: str = answer["epoch"]
            return epoch

        epoch = subscribe()
        for number in range(1, 6):
            client.commit({"type": "personas.created", "data": {"name": f"P{number}"}})
            if number == 3:
                actors = client.ask("supervisor", {"type": "get_status"})["actors"]
                os.kill(next(actor["pid"] for actor in actors if actor["name"] == "query-1"), signal.SIGKILL)
                pong = client.ask("query-1", {"type": "ping"})
                if pong["epoch"] == epoch:  # the answer was on its way before the signal
                    pong = client.ask("query-1", {"type": "ping"})
                assert (pong["epoch"] == epoch, pong["subscriptions"]) == (False, 0)
                client.pushes.clear()
                subscribe()
        while seq < 5:
            take(client.push("query-1"))
        assert seen == [1, 2, 3, 4, 5]


def test_the_secret_frame_opens_with_any_secret_given_and_a_viewer_may_not_write(tmp_path: Path) -> None:
    data, keychain = tmp_path / "data", base64.b64encode(os.urandom(32)).decode()
    with running(data, passphrase=PASSPHRASE, keychain=keychain, keychainNote="kwallet6") as (
        ready,
        client,
        _,
    ):
        code = ready["recovery_code"]
        client.commit({"type": "personas.created", "data": {"name": "Ada"}})
    for secrets in ({"keychain": keychain}, {"recovery": code}):
        with running(data, role="viewer", **secrets) as (ready, client, _):
            assert "recovery_code" not in ready
            assert len(client.read({"from": "personas"})) == 1
            assert code_of(lambda one=client: one.commit({"type": "personas.created"})) == "not_allowed"
            nonsense = {"type": "read", "query": {"from": "personas", "nonsense": 1}}
            assert code_of(lambda one=client, bad=nonsense: one.ask("query-1", bad)) == "malformed_message"


def test_a_wrong_passphrase_ends_the_start_with_a_failed_line(tmp_path: Path) -> None:
    with running(tmp_path / "data", passphrase=PASSPHRASE):
        pass
    frame = json.dumps({"passphrase": "wrong"}).encode()
    done = subprocess.run(
        [sys.executable, str(SUPERVISOR), "host", f"--data={tmp_path / 'data'}"],
        input=len(frame).to_bytes(4, "big") + frame,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    line = json.loads(done.stdout)
    assert (line["event"], line["code"]) == ("failed", "wrong_key")
    assert line["message"]
    assert line["fix"]
    assert done.returncode == 1


def test_shutdown_is_answered_before_the_process_ends_with_status_0(tmp_path: Path) -> None:
    with running(tmp_path / "data", passphrase=PASSPHRASE) as (_, client, process):
        assert client.ask("supervisor", {"type": "shutdown"})["type"] == "done"
        assert process.wait(DEADLINE_S) == 0


def code_of(run: Any) -> str:
    """The code of the refusal that `run` meets."""
    try:
        answer = run()
    except Refused as refused:
        return refused.code
    raise AssertionError(f"not refused: {answer}")
