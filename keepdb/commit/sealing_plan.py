"""What of a batch must be sealed, under which keys; one Seal ask serves the whole batch.

A subject gets a key id from the durable pool when it first appears; the log transaction that stores its first
event makes the assignment (W7).
"""

from collections.abc import Callable, Iterable

import msgspec

from keepdb.crypto.spare import SealItem
from keepdb.errors import InvalidRequest
from keepdb.schema.model import Schema
from keepdb.schema.validate import PreparedEvent
from keepdb.storage.entries import NewLogEvent

#: The field number that stands for an event's body.
BODY = 0
#: An event's body, or one encrypted value: half of a frame, so that each can travel to be sealed and opened.
VALUE_BYTES_MAX = 4 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode


class SubjectKeys:
    """subject -> key id, as the log has it, plus those given out but not yet committed."""

    def __init__(self, assigned: dict[str, int]) -> None:
        self._assigned = assigned
        self._pending: dict[str, int] = {}
        self.next_key = max(assigned.values(), default=0) + 1

    def key_of(self, subject: str) -> int:
        key = self._assigned.get(subject) or self._pending.get(subject)
        if key is None:
            # Ids go up for ever, also when the request is refused: a gap costs nothing.
            key = self._pending[subject] = self.next_key
            self.next_key += 1
        return key

    def new_among(self, subjects: Iterable[str]) -> list[tuple[str, int]]:
        """Assignments that the log does not have yet."""
        return [(subject, self._pending[subject]) for subject in set(subjects) if subject in self._pending]

    def committed(self, assignments: Iterable[tuple[str, int]]) -> None:
        for subject, key in assignments:
            self._assigned[subject] = key
            self._pending.pop(subject, None)


class SealingPlan:
    """Collects items of a batch; after `seal` each event can be finished with its records."""

    def __init__(self, schema: Schema, keys: SubjectKeys) -> None:
        self._schema = schema
        self._keys = keys
        self._items: list[SealItem] = []
        self._records: tuple[bytes, ...] = ()

    def add(self, event: PreparedEvent, subject: str) -> "PlannedEvent":
        """Note what of the event is to be sealed. Raises InvalidRequest (`event_too_large`)."""
        first = len(self._items)
        collection = self._schema.collections[event.collection].number
        if not event.content and not event.encrypted:
            return PlannedEvent(event, subject, collection, None, first)
        body = _encode(event.content) if event.content else b""
        largest = max(len(body), *(len(value.value) for value in event.encrypted), 0)
        if largest > VALUE_BYTES_MAX:
            raise InvalidRequest(
                "event_too_large",
                f"{event.type} holds {largest} bytes in one piece; allowed are {VALUE_BYTES_MAX}.",
                fix="Keep large files outside of the database and store where they are.",
            )
        key = self._keys.key_of(subject)
        if event.content:
            self._items.append((key, collection, BODY, event.id, body))
        for value in event.encrypted:
            self._items.append((key, value.collection_no, value.field_no, value.row_id, value.value))
        return PlannedEvent(event, subject, collection, key, first)

    def seal(self, seal: Callable[[tuple[SealItem, ...], int], tuple[bytes, ...]]) -> None:
        """Have everything sealed in one go."""
        if self._items:
            self._records = seal(tuple(self._items), self._keys.next_key)

    def finish(self, planned: "PlannedEvent") -> tuple[NewLogEvent, dict[str, bytes]]:
        """The event for the log, and its sealed values by name for the materializer."""
        event, at = planned.event, planned.first
        body: bytes | None = None
        if event.content:
            body, at = self._records[at], at + 1
        sealed = {
            value.name: record
            for value, record in zip(
                event.encrypted, self._records[at : at + len(event.encrypted)], strict=True
            )
        }
        return NewLogEvent(
            type=event.type,
            collection=planned.collection,
            entity=event.id,
            clear=_encode(event.clear),
            subject=planned.subject,
            key_id=planned.key,
            body=body,
            sealed=_encode(list(sealed.items())) if sealed else None,
        ), sealed


class PlannedEvent(msgspec.Struct, frozen=True):
    """A prepared event with its subject, its collection's number, its key (None: nothing to seal) and the
    index of its first item in the plan."""

    event: PreparedEvent
    subject: str
    collection: int
    key: int | None
    first: int
