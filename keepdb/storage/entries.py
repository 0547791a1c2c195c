"""What goes into the log and comes out of it, and the hash that chains it. No file access here."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

DIGEST_BYTES = 32
_encode = msgspec.msgpack.Encoder().encode
_decode_map = msgspec.msgpack.Decoder(dict[str, Any]).decode
_decode_sealed = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode
_decode_ids = msgspec.msgpack.Decoder(tuple[str, ...]).decode


class Head(NamedTuple):
    """A position of the log and the chain hash there (32 bytes)."""

    seq: int
    hash: bytes


class NewLogEvent(msgspec.Struct, frozen=True):
    """One event before it has a position.

    collection: its number. entity: the row id. subject, key_id: whose key seals it; None if nothing is
    sealed. clear: msgpack map of the clear values (storage values by name). body: one sealed record with all
    content values, or None. sealed: msgpack of [[field name, sealed record], …] for encrypted values, or
    None.
    """

    type: str
    collection: int
    entity: str
    clear: bytes
    subject: str | None = None
    key_id: int | None = None
    body: bytes | None = None
    sealed: bytes | None = None


class LogEntry(msgspec.Struct, frozen=True):
    """One accepted request: its events and what a retry of it must find.

    client, number: identity of the request. digest: 32 bytes over its payload. at: ms since the epoch.
    ids: what the receipt says, the entity of each event in order. idempotency_key: the app's own, or None.
    """

    client: bytes
    number: int
    digest: bytes
    at: int
    events: Sequence[NewLogEvent]
    ids: tuple[str, ...]
    idempotency_key: str | None = None


class Recorded(msgspec.Struct, frozen=True):
    """A request that was carried out. digest tells a retry from another payload under the same name."""

    digest: bytes
    seq_first: int
    seq_last: int
    at: int
    ids: tuple[str, ...]


class LogEvent(msgspec.Struct, frozen=True):
    """One row of the log. Its identity is (device, n); `seq` is its position in this generation."""

    seq: int
    device: bytes
    n: int
    type: str
    collection: int
    entity: str
    subject: str | None
    key_id: int | None
    at: int
    clear: bytes
    body: bytes | None
    sealed: bytes | None
    request_client: bytes
    request_number: int
    hash: bytes

    def clear_values(self) -> dict[str, Any]:
        """The clear values by field name."""
        return _decode_map(self.clear)

    def sealed_values(self) -> dict[str, bytes]:
        """The sealed record of each encrypted field, by field name."""
        return dict(_decode_sealed(self.sealed)) if self.sealed is not None else {}


def pack_clear(values: dict[str, Any]) -> bytes:
    """Clear values as LogEvent.clear."""
    return _encode(values)


def pack_sealed(records: Sequence[tuple[str, bytes]]) -> bytes | None:
    """Sealed records by field name as LogEvent.sealed; None if there are none."""
    return _encode(records) if records else None


def pack_ids(ids: tuple[str, ...]) -> bytes:
    """Entity ids as they are kept with a request."""
    return _encode(ids)


def unpack_ids(data: bytes) -> tuple[str, ...]:
    """Inverse of pack_ids."""
    return _decode_ids(data)


def genesis(db_id: bytes) -> Head:
    """The head of an empty log: position 0, a hash that only this database has."""
    return Head(0, sha256(b"keepdb log 1" + db_id).digest())


def link(previous: bytes, stored: tuple[object, ...]) -> bytes:
    """Chain hash of one row: SHA-256(previous hash | msgpack array of all stored columns before `hash`).

    msgpack writes the length before every string and its shortest form for every integer, so two different
    rows never give the same bytes. It runs over sealed bytes: erasing a key leaves the chain valid.
    """
    return sha256(previous + _encode(stored)).digest()
