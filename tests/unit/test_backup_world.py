"""A small real database for the backup tests: keyring, log, state and the write path, in this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keepdb.backup import Keys, RootKeys, Source
from keepdb.clock import SystemClock
from keepdb.commit.group import Answer, Asked, GroupCommit
from keepdb.commit.inflight import InFlight
from keepdb.commit.sealing_plan import BODY, SealItem
from keepdb.commit.store import Places, Store
from keepdb.crypto import kdf, keyring
from keepdb.crypto.sealing import Sealer
from keepdb.crypto.slots import Secrets
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import parse_schema
from keepdb.storage.changes import RingLimits
from keepdb.storage.digest import state_digest
from keepdb.storage.entries import LogEvent
from keepdb.storage.log import EventLog
from keepdb.storage.state import StateFile
from messages.commits import Commit, NewEvent, Receipt

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
    """A database in `data`, open for writing until close()."""

    def __init__(self, data: Path, *, chunk_bytes: int = 4_096) -> None:
        data.mkdir(mode=0o700)
        self.data = data
        opened, _ = keyring.create(data / "keyring.json", PASSPHRASE, CLOCK, os.urandom, cost=CHEAP)
        (data / "schema.yaml").write_text(SCHEMA)
        self.db_id = opened.db_id
        self.keys = RootKeys.of(opened.root)
        self.chunk_bytes = chunk_bytes
        store = keyring.open_keys(data / "keyring.json", self.keys.keyring_kek, self.keys.keyring_mac)
        self.key_store, self._sealer = store, Sealer(self.db_id, store)
        self.client, self._number = b"c" * 16, 0
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
        places = Places(
            self.data,
            self.keys.log,
            self.keys.state,
            self.keys.anchor,
            self.db_id,
            b"v" * 16,
            RingLimits(max_seqs=10_000, max_bytes=1 << 24),
        )
        self.store = Store(places, IN_FORCE, DDL, self._open_bodies, CLOCK, lambda: None)
        in_flight = InFlight(self.data / "in-flight")
        self.group = GroupCommit(self.store, in_flight, self._seal, CLOCK, os.urandom, 1_000)

    def commit(self, *events: NewEvent, key: str | None = None) -> Receipt:
        """One request; its receipt."""
        self._number += 1
        answers: list[Answer] = []
        request = Commit(
            client=self.client,
            number=self._number,
            first_unanswered=self._number,
            events=events,
            idempotency_key=key,
        )
        self.group.run([Asked(request, answers.append)])
        (answer,) = answers
        assert isinstance(answer, Receipt), answer
        return answer

    def note(self, number: int) -> Receipt:
        """A note with a secret and a line, all of it canaries."""
        data: dict[str, Any] = {"title": f"{CANARY} title {number}", "rank": number, "secret": {"is": CANARY}}
        (name,) = self.commit(NewEvent(type="notes.created", data=data)).ids
        return self.commit(NewEvent(type="lineAdded", id=name, data={"text": f"{CANARY} line {number}"}))

    def digest(self) -> str:
        return state_digest(self.store.state.connection, IN_FORCE).total

    def close(self) -> None:
        self.store.write_anchor()
        self.store.close()

    def _seal(self, items: tuple[SealItem, ...]) -> tuple[bytes, ...]:
        self.key_store.extend(max(item[0] for item in items) + 1)
        return tuple(self._sealer.seal_many(items))

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
    assert world.store.log.head.seq == 40
    state = StateFile.open_current(world.data, IN_FORCE.hash, world.keys.state, "read")
    assert state is not None
    assert state.connection.execute("SELECT count(*) FROM notes__lines").fetchall() == [(20,)]
    state.close()
