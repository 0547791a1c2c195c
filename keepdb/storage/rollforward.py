"""Applies the log to a state file: on start until the state has caught up, and from the beginning for a
rebuild.

It never stops the store: an event that cannot be materialized is set aside, and later ones of the same entity
with it, because they may build on it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import apsw
import msgspec

from keepdb.errors import InvariantBroken, KeepError, StorageError
from keepdb.schema.materialize import MaterialEvent

from .batch import Batch
from .entries import Head, LogEvent
from .log import EventLog
from .state import StateFile

#: Events of one slice: about 50 ms of work, so that heartbeats go on in between.
SLICE_EVENTS = 500
EARLIER_QUARANTINED = "earlier_event_quarantined"
_decode_body = msgspec.msgpack.Decoder(dict[str, Any]).decode

OpenBodies = Callable[[list[LogEvent]], list[bytes | None]]


class Materializes(Protocol):
    """schema.materialize.Materializer, as far as replay needs it."""

    def apply(self, connection: apsw.Connection, event: MaterialEvent, /) -> object: ...


def replay(
    log: EventLog,
    state: StateFile,
    materializer: Materializes,
    open_bodies: OpenBodies,
    *,
    after_seq: int,
    limit: int,
) -> int:
    """Apply up to `limit` events after `after_seq` (the state's position) in one transaction; returns how
    many.

    open_bodies: gets the events that have a sealed body, returns the opened msgpack maps in the same order,
    None for one whose key was destroyed. A complete state keeps the changes for its subscribers, one being
    built does not. The hash chain is checked on the way. Raises LogDamaged, other StorageErrors, and what
    open_bodies raises.
    """
    position = state.position
    if position.seq != after_seq:
        raise InvariantBroken(
            "replay_out_of_order", f"The state is at {position.seq}, not {after_seq}.", fix="Report a bug."
        )
    events = log.read(after_seq, limit)
    if not events:
        return 0
    start = log.base if after_seq == log.base.seq else Head(after_seq, position.log_hash)
    head = log.chain(start, events)
    bodies = _open_all(events, open_bodies)
    set_aside = state.quarantined_entities()
    with state.batch(capture=state.complete) as batch:
        for event, body in zip(events, bodies, strict=True):
            batch.begin(event.seq)
            error = _apply(batch, state.connection, materializer, event, body, set_aside)
            if error:
                set_aside.add((event.collection, event.entity))
                batch.quarantine(event.seq, event.type, event.collection, event.entity, error)
        batch.finish(head.seq, head.hash, durable=not log.unsynced)
        batch.commit()
    return len(events)


def material_event(event: LogEvent, body: bytes | None) -> MaterialEvent:
    """What the materializer sees: clear values, content values of the opened body, sealed values as they are.

    body: msgpack map; None where there is none or it was erased, and then its fields are absent, which is
    null.
    """
    values = event.clear_values()
    if body is not None:
        values |= _decode_body(body)
    values |= event.sealed_values()
    return MaterialEvent(
        type=event.type, id=event.entity, at=event.at, subject=event.subject or "", values=values
    )


def _open_all(events: Sequence[LogEvent], open_bodies: OpenBodies) -> list[bytes | None]:
    sealed = [event for event in events if event.body is not None]
    opened = open_bodies(sealed) if sealed else []
    if len(opened) != len(sealed):
        raise InvariantBroken(
            "bodies_missing", f"{len(sealed)} bodies to open, {len(opened)} came back.", fix="Report a bug."
        )
    by_seq = {event.seq: body for event, body in zip(sealed, opened, strict=True)}
    return [by_seq.get(event.seq) for event in events]


def _apply(
    batch: Batch,
    connection: apsw.Connection,
    materializer: Materializes,
    event: LogEvent,
    body: bytes | None,
    set_aside: set[tuple[int, str]],
) -> str | None:
    """None if the rows were changed, else the code of the reason why not."""
    if (event.collection, event.entity) in set_aside:
        return EARLIER_QUARANTINED
    try:
        with batch.request():
            materializer.apply(connection, material_event(event, body))
    except (StorageError, InvariantBroken):
        raise
    except KeepError as error:
        return error.code
    except Exception as error:
        # Only the kind of the error: its text may quote what the user wrote.
        return type(error).__name__
    return None
