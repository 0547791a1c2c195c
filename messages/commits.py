"""Client <-> writer: committing events and what comes back."""

from typing import Any, ClassVar, Literal

import msgspec

from .base import OPERATORS, READERS, WRITERS, Message, Request, Role

Durability = Literal["disk", "os"]


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event to commit. type: "<collection>.created|updated|deleted" or a domain event's name.

    id: the entity; left out on creation, the writer makes one. data: the event's fields by name.
    """

    type: str
    id: str | None = None
    data: dict[str, Any] = {}


class Commit(Request, frozen=True, tag="commit"):
    """Client -> writer. Answered by Receipt or Refused. All events are committed, or none.

    client: 16 random bytes, one per client session. number: 1, 2, 3 … per client, the request's identity.
    first_unanswered: the lowest number whose answer the client has not seen (this one's at the latest);
    everything below it is settled. A retry repeats number and payload and gets the first receipt.
    idempotency_key: the app's own, survives restarts of client and server.
    durability: "disk" = synced before the receipt; "os" = survives killed processes, not a power cut.
    """

    roles: ClassVar[frozenset[Role]] = WRITERS
    client: bytes
    number: int
    first_unanswered: int
    events: tuple[NewEvent, ...]
    durability: Durability = "disk"
    idempotency_key: str | None = None


class Receipt(Message, frozen=True, tag="receipt"):
    """Writer -> client. The events are in the log and (stage "materialized") in the state.

    seq_first, seq_last: positions of the request's events. ids: the entity of each event, in order.
    at: time of the commit, ms since the epoch. duplicate: this request had been carried out before.
    """

    seq_first: int
    seq_last: int
    ids: tuple[str, ...]
    at: int
    stage: Literal["logged", "materialized"] = "materialized"
    duplicate: bool = False


class RequestOutcome(Request, frozen=True, tag="request_outcome"):
    """Client -> writer: what became of a request whose answer never came? Answered by Receipt, or
    Refused with code `request_unknown`, which means it was not carried out."""

    roles: ClassVar[frozenset[Role]] = WRITERS
    client: bytes
    number: int


class WriterStatus(Request, frozen=True, tag="writer_status"):
    """Client or operator -> writer. Answered by WriterFigures."""

    roles: ClassVar[frozenset[Role]] = READERS


class WriterFigures(Message, frozen=True, tag="writer_figures"):
    """Writer -> asker. Where log and state stand; bytes are file sizes."""

    seq: int
    state_seq: int
    generation: int
    state_generation: int
    schema_hash: str
    log_bytes: int
    wal_bytes: int
    state_bytes: int
    mode: Literal["serving", "degraded"]
    reason: str = ""
    quarantined: int = 0
    rebuild_done: int = 0
    rebuild_total: int = 0


class Rebuild(Request, frozen=True, tag="rebuild"):
    """Operator -> writer: build the state anew from the log beside the old one, then switch.

    Answered at once by Done; progress is in WriterFigures, the end is `rebuild_total == 0` again.
    """

    roles: ClassVar[frozenset[Role]] = OPERATORS
