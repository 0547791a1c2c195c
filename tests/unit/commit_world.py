"""The write path without processes: real files, real keys, real sealing, in one place for its tests."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keepdb
from keepdb.clock import SystemClock
from keepdb.commit.group import Committed, GroupCommit
from keepdb.commit.inflight import InFlight
from keepdb.commit.intake import Answer, Asked
from keepdb.commit.store import Places, Store
from keepdb.crypto import kdf, keyring
from keepdb.crypto.sealing import Sealer
from keepdb.crypto.slots import Secrets
from keepdb.crypto.spare import SealItem
from keepdb.errors import KeepError, Unavailable
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import load_schema
from keepdb.storage.changes import RingLimits
from keepdb.storage.entries import LogEvent
from messages.commits import Commit, NewEvent, Receipt

SCHEMA = load_schema(Path(keepdb.__file__).parent / "schema" / "schema.yaml")
DDL = compile_ddl(SCHEMA)
CLIENT, OTHER = b"c" * 16, b"o" * 16


class World:
    """A writer's inside on one directory. sealing: set to False and the encryption actor is silent."""

    def __init__(self, data: Path) -> None:
        self.data = data
        path = data / "keyring.json"
        if not path.exists():
            keyring.create(path, Secrets(keychain=b"k" * 32), SystemClock(), os.urandom, keychain_note="test")
        self.root = keyring.unlock_root(path, Secrets(keychain=b"k" * 32))
        self.keys = keyring.open_keys(
            path, kdf.derive(self.root, kdf.KEYRING_KEK), kdf.derive(self.root, kdf.KEYRING_MAC)
        )
        self.db_id = keyring.read_header(path).db_id
        self.sealer = Sealer(self.db_id, self.keys)
        self.sealing = True
        self.store = Store(self._places(), SCHEMA, DDL, self.open_bodies, SystemClock(), lambda: None)
        self.in_flight = InFlight(data / "writer.inflight")
        self.group = GroupCommit(
            self.store,
            self.in_flight,
            self._seal,
            SystemClock(),
            os.urandom,
            requests_max=64,
            events_max=1000,
        )

    def _places(self) -> Places:
        return Places(
            self.data,
            kdf.derive(self.root, kdf.FILE_LOG),
            kdf.derive(self.root, kdf.FILE_STATE),
            kdf.derive(self.root, kdf.ANCHOR),
            self.db_id,
            b"d" * 16,
            RingLimits(),
        )

    def _seal(self, items: tuple[SealItem, ...], _new_from: int) -> tuple[bytes, ...]:
        if not self.sealing:
            raise Unavailable("peer_silent", "The encryption actor did not answer.", fix="Try again.")
        self.keys.extend(max(item[0] for item in items) + 1)
        return tuple(self.sealer.seal_many(items))

    def open_bodies(self, events: list[LogEvent]) -> list[bytes | None]:
        items = [(event.collection, 0, event.entity, event.body or b"") for event in events]
        return self.sealer.open_many(items)[0]

    def run(self, *commits: Commit, later: tuple[Commit, ...] = ()) -> list[Answer]:
        """Carry out one group; later: requests that arrive while it is being prepared. Answers in order."""
        every = (*commits, *later)
        answers: dict[int, Answer] = {}
        asked = [Asked(commit, _keeping(answers, place)) for place, commit in enumerate(every)]
        waiting = asked[len(commits) :]

        def more(limit: int) -> list[Asked]:
            taken, waiting[:] = waiting[:limit], waiting[limit:]
            return taken

        self.committed: Committed | None = self.group.run(asked[: len(commits)], more)
        return [answers[place] for place in range(len(every))]

    def receipts(self, *commits: Commit) -> list[Receipt]:
        """Carry out one group that must succeed."""
        answers = self.run(*commits)
        receipts = [answer for answer in answers if isinstance(answer, Receipt)]
        assert len(receipts) == len(answers), answers
        return receipts

    def count(self, table: str) -> int:
        ((rows,),) = self.store.state.connection.execute(f'SELECT count(*) FROM "{table}"').fetchall()
        assert isinstance(rows, int)
        return rows

    def close(self) -> None:
        self.store.close()


def codes(answers: list[Answer]) -> list[str]:
    """Refusals by code, receipts as ""."""
    return [answer.code if isinstance(answer, KeepError) else "" for answer in answers]


def commit(
    number: int,
    *events: NewEvent,
    client: bytes = CLIENT,
    unanswered: int | None = None,
    key: str | None = None,
) -> Commit:
    """A request; without events it creates one persona. unanswered: the lowest number without answer."""
    return Commit(
        client=client,
        number=number,
        first_unanswered=number if unanswered is None else unanswered,
        events=events or (persona(f"{client.decode()[0]}{number}"),),
        idempotency_key=key,
    )


def persona(id: str | None, **data: Any) -> NewEvent:
    return NewEvent(type="personas.created", id=id, data={"name": "Ada", **data})


def event(type: str, id: str, **data: Any) -> NewEvent:
    return NewEvent(type=type, id=id, data=data)


def _keeping(answers: dict[int, Answer], place: int) -> Callable[[Answer], None]:
    def keep(answer: Answer) -> None:
        assert place not in answers, "a request was answered twice"
        answers[place] = answer

    return keep
