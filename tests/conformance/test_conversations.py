"""The Python client in the scripted conversations: what every client must do when answers are lost, late or refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keepdb.client import ChangeStream, Database, KeepError, LiveQuery, NewEvent, PendingCommit
from keepdb.client.link import Endpoint
from keepdb.clock import SystemClock
from keepdb.fabric.keys import KeyPair
from keepdb.live.diff import same_value
from messages.base import Message
from messages.queries import Query, Read, Rows, Sql

from .script import Map, Names, Script
from .tagged import plain

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((Path(__file__).parent / "conversations").glob("*.json"))
SOON_S = 15.0
MOMENT_S = 0.02


class Watched:
    """A live query with everything it ever showed. at: of that, what the script has come to."""

    def __init__(self, live: LiveQuery) -> None:
        self.live = live
        self.shown: list[Map] = [{"columns": [], "rows": [], "seq": 0, "cursor": None}]
        self.error: KeepError | None = None
        self.at = 0

    def take(self, seconds: float) -> None:
        """Take in what arrives."""
        while self.error is None:
            try:
                result = self.live.update(seconds)
            except KeepError as error:
                self.error = error
                return
            if result is None:
                return
            columns = list(result.columns)
            self.shown.append(
                {"columns": columns, "rows": result.rows, "seq": result.seq, "cursor": result.cursor}
            )
            seconds = 0

    def showed(self, step: Map) -> bool:
        """Whether it has shown what the step says, since what it was seen to show before."""
        for at in range(self.at, len(self.shown)):
            if fits(step, self.shown[at]):
                self.at = at
                return True
        return False


def fits(step: Map, shown: Map) -> bool:
    """`status` is not part of this client's live queries."""
    return all(same_value(step[name], value) for name, value in shown.items() if name in step)


class Runner:
    """Carries out the client's steps. One thread: while it waits for one thing, live queries are kept up to date."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._clock = SystemClock()
        self._commits: dict[str, PendingCommit] = {}
        self._receipts: dict[str, Message] = {}
        self._live: dict[str, Watched] = {}
        self._streams: dict[str, ChangeStream] = {}

    def play(self, script: Script) -> None:
        """Every step with `client`."""
        for step in script.steps:
            if "client" in step:
                verb: Callable[[Map], None] = getattr(self, f"_{step['client']}")
                verb(plain(step))

    # -- writing -------------------------------------------------------------------------------------------

    def _commit(self, step: Map) -> None:
        events = [msgspec.convert(event, NewEvent) for event in step["events"]]
        self._commits[step["as"]] = self._db.submit(
            events,
            durability=step.get("durability", "disk"),
            idempotency_key=step.get("idempotencyKey"),
        )

    def _call(self, step: Map) -> None:
        collection, _, method = step["method"].partition(".")
        self._receipts[step["as"]] = self._db.call(collection, method, step["id"], step.get("data"))

    def _receipt(self, step: Map) -> None:
        name = step["of"]
        receipt = self._receipts.get(name) or self._commits[name].receipt()
        self._db.last_seq = max(self._db.last_seq, getattr(receipt, "seq_last", 0))
        compare(step["is"], shown(receipt))

    def _refusal(self, step: Map) -> None:
        refused(step["is"], self._commits[step["of"]].receipt)

    # -- reading -------------------------------------------------------------------------------------------

    def _read(self, step: Map) -> None:
        query, sql = plan_of(step)
        link = self._db.link
        read = Read(query=query, sql=sql, at_least=self._db.last_seq)
        pending = link.start("query-1", lambda: read, SOON_S)
        while not pending.settled:
            for watched in self._live.values():
                watched.take(MOMENT_S)
            link.pump(MOMENT_S)
        if "refused" in step:
            refused(step["refused"], lambda: link.finish(pending, Rows))
            return
        compare(step["is"], shown(link.finish(pending, Rows)))

    def _watch(self, step: Map) -> None:
        query, sql = plan_of(step)
        plan = query or sql
        assert plan is not None
        if "refused" in step:
            refused(step["refused"], lambda: self._db.watch(plan))
            return
        self._live[step["as"]] = Watched(self._db.watch(plan))

    def _shows(self, step: Map) -> None:
        watched = self._live[step["of"]]
        self._until(lambda: watched.showed(step), lambda: watched.take(MOMENT_S), (step, watched.shown))

    def _still(self, step: Map) -> None:
        watched = self._live[step["of"]]
        watched.take(0)
        assert fits(step, watched.shown[-1]), watched.shown

    def _ended(self, step: Map) -> None:
        watched = self._live.pop(step["of"])
        self._until(lambda: watched.error is not None, lambda: watched.take(MOMENT_S), step)
        is_refusal(step["is"], watched.error)

    def _unwatch(self, step: Map) -> None:
        self._live.pop(step["of"]).live.close()

    def _follow(self, step: Map) -> None:
        self._streams[step["as"]] = self._db.changes(step["after"], step.get("collections", ()))

    def _hears(self, step: Map) -> None:
        stream, heard = self._streams[step["of"]], list[Message]()

        def listen() -> None:
            if push := stream.update(MOMENT_S):
                heard.append(push)

        self._until(lambda: bool(heard), listen, step)
        compare(step["is"], shown(heard[0]))

    def _until(self, reached: Callable[[], bool], go_on: Callable[[], None], what: object) -> None:
        deadline = self._clock.monotonic() + SOON_S
        while not reached():
            assert self._clock.monotonic() < deadline, what
            go_on()


def shown(message: Message) -> Map:
    """A message under its names on the wire, with its defaults."""
    found: Map = {"type": message.__struct_config__.tag}
    for one in msgspec.structs.fields(message):
        found[one.encode_name] = msgspec.to_builtins(getattr(message, one.name), builtin_types=(bytes,))
    decoded: Map = msgspec.msgpack.decode(msgspec.msgpack.encode(found))
    return decoded


def compare(expected: Map, found: Map) -> None:
    Names().compare(expected, found)


def refused(expected: Map, call: Callable[[], object]) -> None:
    """The call must raise an error with these members."""
    with pytest.raises(KeepError) as caught:
        call()
    is_refusal(expected, caught.value)


def is_refusal(expected: Map, error: KeepError | None) -> None:
    for name, value in expected.items():
        assert getattr(error, name) == value, f"{name}: {getattr(error, name)!r}"


def plan_of(step: Map) -> tuple[Query | None, Sql | None]:
    if "sql" in step:
        return None, Sql(sql=step["sql"], params=step.get("params", []))
    return msgspec.convert(step["query"], Query), None


def start_peer(script: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.peer", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )


def said(peer: "subprocess.Popen[bytes]") -> Any:
    """Its next line."""
    assert peer.stdout is not None
    return json.loads(peer.stdout.readline())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_python_client_does_as_the_conversation_says(path: Path) -> None:
    """Verifies: L3, L5, L6, each in the conversations whose `about` says so."""
    script = Script.read(path)
    peer = start_peer(path)
    assert peer.stdin is not None
    assert peer.stdout is not None
    verdict = None
    try:
        ready = said(peer)
        keys = ready["server_keys"]
        endpoints = {name: Endpoint(name, at, keys[name]) for name, at in ready["endpoints"].items()}
        own = KeyPair(ready["public"].encode(), ready["secret"].encode())
        with Database(endpoints, own) as database:
            Runner(database).play(script)
            verdict = said(peer)
    finally:
        peer.stdin.close()
        # Where the client failed, what the peer waited for says more than what the client missed.
        verdict = verdict or said(peer)
        peer.stdout.close()
        status = peer.wait(SOON_S)
        assert verdict == {"event": "verdict", "passed": True}
    assert status == 0
