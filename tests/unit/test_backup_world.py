"""A small real database for the backup tests: keyring, log, anchor and state, all in this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keepdb.backup import Keys, RootKeys, Source
from keepdb.clock import SystemClock
from keepdb.commit.sealing_plan import BODY
from keepdb.crypto import kdf, keyring
from keepdb.crypto.sealing import Sealer
from keepdb.crypto.slots import Secrets
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import parse_schema
from keepdb.schema.materialize import Materializer
from keepdb.storage import EventLog, LogEntry, LogEvent, NewLogEvent, StateFile, pack_clear, pack_sealed
from keepdb.storage import anchor as anchors
from keepdb.storage.anchor import Anchor
from keepdb.storage.digest import state_digest
from keepdb.storage.rollforward import replay

PASSPHRASE = Secrets(passphrase="correct horse")
CHEAP = kdf.Argon2idCost(memory_kib=19 * 1024, iterations=2, lanes=1)
CANARY = "CANARY-7f3a"
SCHEMA = """
version: 1
collections:
  notes:
    number: 1
    fields:
      title:  {number: 1, type: text}
      rank:   {number: 2, type: integer}
      secret: {number: 3, type: json, encrypted: true}
    rows:
      lines:
        number: 2
        event: lineAdded
        fields:
          text: {number: 1, type: text, encrypted: true}
    events:
      lineAdded:
        number: 10
        args:
          lineId: {like: notes.lines.id}
          text:   {like: notes.lines.text, required: true}
        operations:
          - insert: {into: lines, values: {id: $data.lineId, text: $data.text}}
"""
IN_FORCE = parse_schema(SCHEMA, "schema.yaml")
DDL = compile_ddl(IN_FORCE)
CLOCK = SystemClock()


class World:
    """A database in `data`, open for writing until close(). What the writer does with log and state, in short."""

    def __init__(self, data: Path, *, chunk_bytes: int = 4_096) -> None:
        data.mkdir(mode=0o700)
        self.data = data
        opened, _ = keyring.create(data / "keyring.json", PASSPHRASE, CLOCK, os.urandom, cost=CHEAP)
        (data / "schema.yaml").write_text(SCHEMA)
        self.db_id = opened.db_id
        self.keys = RootKeys.of(opened.root)
        self.chunk_bytes = chunk_bytes
        self.key_store = keyring.open_keys(
            data / "keyring.json", self.keys.keyring_kek, self.keys.keyring_mac
        )
        self._sealer = Sealer(self.db_id, self.key_store)
        self.client = b"c" * 16
        EventLog.create(data, 1, self.keys.log, self.db_id, b"v" * 16).close()
        self.open()

    @property
    def source(self) -> Source:
        return Source(
            data=self.data,
            keys=self.keys,
            db_id=self.db_id,
            schema=IN_FORCE,
            schema_text=SCHEMA.encode(),
            chunk_bytes=self.chunk_bytes,
        )

    @property
    def few_keys(self) -> Keys:
        """What the running actor has."""
        keys = self.keys
        return Keys(backup=keys.backup, log=keys.log, state=keys.state, keyring_mac=keys.keyring_mac)

    def open(self) -> None:
        """The start: checks, the state made if there is none, rolled forward."""
        self.log = EventLog.open(self.data, self.keys.log, "write")
        anchor = anchors.read(self.data / "anchor.json", self.keys.anchor)
        found = StateFile.open_current(self.data, IN_FORCE.hash, self.keys.state, "write")
        anchors.check_start(self.log, found.position if found else None, anchor)
        self.log.verify(1, self.log.head.seq)
        self.state = found or StateFile.create(self.data, IN_FORCE.hash, 1, self.keys.state, DDL, 1)
        self._roll_forward()
        if not self.state.complete:
            self.state.mark_complete()

    def commit(self, *events: NewLogEvent, key: str | None = None) -> int:
        """One request with new subjects; the seq of its last event."""
        number = self.log.last_number(self.client) + 1
        ids = tuple(event.entity for event in events)
        entry = LogEntry(self.client, number, sha256(b"payload").digest(), 1_000 + number, events, ids, key)
        with self.log.transaction(True):
            self.log.append([entry])
            self.log.assign_subjects(
                [(one.subject, one.key_id) for one in events if one.subject and one.key_id]
            )
        self._roll_forward()
        return self.log.head.seq

    def created(self, name: str, number: int = 0) -> NewLogEvent:
        """A note with a key of its own; title and secret are canaries."""
        subject, key_id = f"notes/{name}", max(self.log.subject_keys().values(), default=0) + 1
        self.key_store.extend(key_id + 1)
        body = msgspec.msgpack.encode({"title": f"{CANARY} title {number}"})
        secret = msgspec.msgpack.encode({"is": CANARY})
        records = self._sealer.seal_many([(key_id, 1, BODY, name, body), (key_id, 1, 3, name, secret)])
        clear = pack_clear({"rank": number})
        sealed = pack_sealed([("secret", records[1])])
        return NewLogEvent("notes.created", 1, name, clear, subject, key_id, records[0], sealed)

    def note(self, number: int) -> int:
        """A note and a line in it, in two requests."""
        name, line = f"n{number:05}", f"l{number:05}"
        created = self.created(name, number)
        self.commit(created)
        assert created.key_id is not None
        text = msgspec.msgpack.encode(f"{CANARY} line {number}")
        record = self._sealer.seal(created.key_id, 2, 1, line, text)
        clear, sealed = pack_clear({"lineId": line}), pack_sealed([("text", record)])
        return self.commit(
            NewLogEvent("lineAdded", 1, name, clear, created.subject, created.key_id, None, sealed)
        )

    def digest(self) -> str:
        return state_digest(self.state.connection, IN_FORCE).total

    def close(self) -> None:
        head = self.log.head
        anchors.write(
            self.data / "anchor.json",
            self.keys.anchor,
            Anchor(self.db_id, 1, head.seq, head.hash, CLOCK.now_ms()),
        )
        self.state.close()
        self.log.close()

    def _roll_forward(self) -> None:
        materializer = Materializer(IN_FORCE)
        while replay(
            self.log,
            self.state,
            materializer,
            self._open_bodies,
            after_seq=self.state.position.seq,
            limit=500,
        ):
            pass

    def _open_bodies(self, events: list[LogEvent]) -> list[bytes | None]:
        items = [(one.collection, BODY, one.entity, one.body or b"") for one in events]
        return self._sealer.open_many(items)[0]


@contextmanager
def opened_log(data: Path, keys: RootKeys) -> Iterator[EventLog]:
    log = EventLog.open(data, keys.log, "read")
    try:
        yield log
    finally:
        log.close()


def log_tables(data: Path, keys: RootKeys) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the log's tables that carry content."""
    with opened_log(data, keys) as log:
        return {
            table: log.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("events", "requests", "idempotency", "subjects")
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """20 notes, 40 events."""
    made = World(tmp_path / "data")
    for number in range(20):
        made.note(number)
    yield made
    made.close()


def test_the_world_of_these_tests_holds_what_they_expect(world: World) -> None:
    assert world.log.head.seq == 40
    assert world.state.connection.execute("SELECT count(*) FROM notes__lines").fetchall() == [(20,)]
    assert world.state.quarantined == 0
