"""`Database`: what an app written in Python does with a running KeepDB."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from keepdb.client.link import Endpoint, Link, Pending
from keepdb.client.live import ChangeStream, LiveQuery
from keepdb.clock import Clock, SystemClock
from keepdb.errors import InvalidRequest, Unavailable
from keepdb.fabric.keys import KeyPair
from keepdb.runtime.connection_file import read_connection_file
from messages.base import Message, Request
from messages.commits import Commit, Durability, NewEvent, Receipt, WriterFigures, WriterStatus
from messages.control import GetHealth, GetStatus, Health, Status
from messages.queries import Describe, Description, Explain, Explanation, Moved, Query, Read, Rows, Sql

Answer = TypeVar("Answer", bound=Message)

#: Seconds a call waits if it does not say otherwise: longer than any actor needs to be restarted.
TIMEOUT_S = 10.0


class Result(msgspec.Struct, frozen=True):
    """columns: names. rows: arrays in that order. seq: position read at. cursor: `after` of the next page."""

    columns: tuple[str, ...]
    rows: list[Any]
    seq: int
    cursor: str | None

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as maps."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class PendingCommit:
    """A commit on its way; `receipt` waits for it."""

    def __init__(self, link: Link, pending: Pending) -> None:
        self._link = link
        self._pending = pending

    @property
    def answered(self) -> bool:
        return self._pending.answer is not None

    def receipt(self) -> Receipt:
        """Wait. Raises KeepError when refused or out of time."""
        return self._link.finish(self._pending, Receipt)


class Database:
    """A connection to a running database. Close it, or use it in a `with` block. One thread only."""

    def __init__(self, endpoints: dict[str, Endpoint], own: KeyPair, clock: Clock | None = None) -> None:
        self.link = Link(endpoints, own, clock or SystemClock())
        self.client_id = os.urandom(16)
        self.last_seq = 0
        self._number = 0
        self._unanswered: dict[int, Pending] = {}
        self._workers = sorted(name for name in endpoints if name.startswith("query-"))
        self._turn = 0
        self._schema: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.link.close()

    # -- writing -----------------------------------------------------------------------------------------

    def commit(
        self,
        type: str,
        data: dict[str, Any] | None = None,
        *,
        id: str | None = None,
        durability: Durability = "disk",
        idempotency_key: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Receipt:
        """Commit one event and wait until it is as durable as asked. Raises KeepError."""
        event = NewEvent(type=type, id=id, data=data or {})
        return self.commit_all(
            [event], durability=durability, idempotency_key=idempotency_key, timeout=timeout
        )

    def commit_all(
        self,
        events: Sequence[NewEvent],
        *,
        durability: Durability = "disk",
        idempotency_key: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Receipt:
        """Commit several events, all or none."""
        pending = self.submit(events, durability=durability, idempotency_key=idempotency_key, timeout=timeout)
        receipt = pending.receipt()
        self.last_seq = max(self.last_seq, receipt.seq_last)
        return receipt

    def submit(
        self,
        events: Iterable[NewEvent],
        *,
        durability: Durability = "disk",
        idempotency_key: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> PendingCommit:
        """Send a commit without waiting, so that many share one sync. Its order among this client's is kept."""
        number, chosen = self._number + 1, tuple(events)

        def make() -> Commit:
            return Commit(
                client=self.client_id,
                number=number,
                first_unanswered=self._first_unanswered(number),
                events=chosen,
                durability=durability,
                idempotency_key=idempotency_key,
                budget_ms=int(timeout * 1000),
            )

        pending = self.link.start("writer", make, timeout, in_order=True)
        # A number is only used up by what was sent, or the next request would wait for it for ever.
        self._number = number
        self._unanswered[number] = pending
        return PendingCommit(self.link, pending)

    def call(self, collection: str, method: str, id: str, data: dict[str, Any] | None = None) -> Receipt:
        """Call a collection's method, for example call("personas", "activate", id)."""
        methods = self.describe()["methods"]
        found = methods.get(f"{collection}.{method}")
        if found is None:
            known = [name.partition(".")[2] for name in methods if name.startswith(f"{collection}.")]
            raise InvalidRequest(
                "method_unknown",
                f"{collection} has no method {method!r}; it has {', '.join(sorted(known)) or 'none'}.",
                fix="See `methods` in schema.yaml.",
            )
        return self.commit(found["event"], data, id=id)

    def _first_unanswered(self, number: int) -> int:
        for known in [n for n, pending in self._unanswered.items() if pending.settled]:
            del self._unanswered[known]
        return min(self._unanswered, default=number)

    # -- reading -----------------------------------------------------------------------------------------

    def query(self, query: Query | dict[str, Any], *, timeout: float = TIMEOUT_S) -> Result:
        """Run a structured query, see docs/queries.md. Sees everything this client has committed."""
        return self._read(Read(query=as_query(query), at_least=self.last_seq), timeout)

    def sql(
        self, sql: str, params: list[Any] | dict[str, Any] | None = None, *, timeout: float = TIMEOUT_S
    ) -> Result:
        """Run read-only SQL."""
        return self._read(Read(sql=Sql(sql=sql, params=params or []), at_least=self.last_seq), timeout)

    def get(self, collection: str, id: str) -> dict[str, Any] | None:
        """One row by id."""
        rows = self.query({"from": collection, "where": {"id": id}, "limit": 1}).dicts()
        return rows[0] if rows else None

    def explain(self, query: Query | dict[str, Any] | Sql) -> Explanation:
        """How a query is answered, and what a live query of it does when rows change."""
        plan = {"sql": query} if isinstance(query, Sql) else {"query": as_query(query)}
        service = self._worker()
        while True:
            # Identical live queries of all clients have one keeper, who alone knows how they fare.
            answer: Message = self.ask(service, Explain(**plan), Message)
            if isinstance(answer, Explanation):
                return answer
            if not isinstance(answer, Moved):
                raise Unavailable("protocol_error", "Explain was answered oddly.", fix="Update the client.")
            service = answer.service

    def watch(self, query: Query | dict[str, Any] | Sql) -> LiveQuery:
        """A live query: iterate over it, or call `update`. Close it, or use it in a `with` block."""
        plan = query if isinstance(query, Sql) else as_query(query)
        return LiveQuery(self.link, self._worker(), plan, at_least=self.last_seq)

    def changes(self, after: int = -1, collections: Sequence[str] = ()) -> ChangeStream:
        """Every change after seq `after` (-1: from now on), gap-free and in order."""
        return ChangeStream(self.link, self._worker(), after, tuple(collections))

    def describe(self) -> dict[str, Any]:
        """The schema in force as plain data."""
        if self._schema is None:
            self._schema = self.link.ask(self._worker(), Describe(), Description, TIMEOUT_S).schema
        return self._schema

    def _read(self, read: Read, timeout: float) -> Result:
        rows = self.link.ask(self._worker(), read, Rows, timeout)
        return Result(rows.columns, rows.rows, rows.seq, rows.cursor)

    def _worker(self) -> str:
        """Query actors in turn."""
        self._turn += 1
        return self._workers[self._turn % len(self._workers)]

    # -- operating ---------------------------------------------------------------------------------------

    def ask(
        self,
        service: str,
        message: Request,
        answer: type[Answer],
        *,
        timeout: float = TIMEOUT_S,
        resend: bool = True,
    ) -> Answer:
        """Any request of the protocol."""
        return self.link.ask(service, message, answer, timeout, resend=resend)

    def status(self) -> Status:
        return self.ask("supervisor", GetStatus(), Status)

    def writer_status(self) -> WriterFigures:
        return self.ask("writer", WriterStatus(), WriterFigures)

    def health(self) -> Health:
        return self.ask("health", GetHealth(), Health)


def as_query(query: Query | dict[str, Any]) -> Query:
    """A map in the wire's form as a Query. Raises InvalidRequest (`query_malformed`)."""
    if isinstance(query, Query):
        return query
    try:
        return msgspec.convert(query, Query)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            "query_malformed", f"The query has not the right shape: {error}.", fix="See docs/queries.md."
        ) from error


def connect(data: str | Path) -> Database:
    """Connect to the running database in `data` as its operator. Raises Unavailable (`not_running`)."""
    file = read_connection_file(Path(data))
    endpoints = {
        name: Endpoint(name, address, file.server_keys[name]) for name, address in file.endpoints.items()
    }
    return Database(endpoints, KeyPair(file.public.encode(), file.secret.encode()))
