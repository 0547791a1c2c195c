"""Writer, query, search, backup -> encryption: seal and open values. Batches only."""

from typing import ClassVar

from .base import INTERNAL, Message, Request, Role


class Seal(Request, frozen=True, tag="seal"):
    """Writer -> encryption. Answered by Sealed with one record per item, in order.

    items: (key id, collection number, field number, row id, plaintext). Field number 0 is an event's body.
    A key id at or past the durable pool's end makes the encryption actor extend the pool first.
    spare: (key id, count) of record keys to give along, for records that the asker will seal itself.
    """

    roles: ClassVar[frozenset[Role]] = INTERNAL
    items: tuple[tuple[int, int, int, str, bytes], ...]
    spare: tuple[tuple[int, int], ...] = ()


class Sealed(Message, frozen=True, tag="sealed"):
    """Encryption -> asker. records: see docs/formats.md. Their keys are on disk (W7).

    spare: (key id, salt, record key) each, to be used once.
    """

    records: tuple[bytes, ...]
    spare: tuple[tuple[int, bytes, bytes], ...] = ()


class Open(Request, frozen=True, tag="open"):
    """Query, writer (replay), search, backup -> encryption. Answered by Opened, in order.

    items: (collection number, field number, row id, record).
    """

    roles: ClassVar[frozenset[Role]] = INTERNAL
    items: tuple[tuple[int, int, str, bytes], ...]


class Opened(Message, frozen=True, tag="opened"):
    """values: plaintext per record, or None where the record's key was destroyed (erased).

    damaged: indexes whose record does not verify; their value is None too.
    """

    values: tuple[bytes | None, ...]
    damaged: tuple[int, ...] = ()
