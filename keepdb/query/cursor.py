"""Cursors: where a page ended, as an opaque text.

They are not authenticated: a forged one can only name another place in an order its sender may read anyway.
So each is checked strictly and bound as parameters, like any other input.
"""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from keepdb.errors import InvalidRequest

from .order import OrderTerm
from .refusal import too_large

_VERSION = 1
_HASH_CHARACTERS = 12

_TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "ref": str,
    "enum": str,
    "integer": int,
    "timestamp": int,
    "boolean": int,
    "real": float,
}


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    schema: str
    order: bytes
    key: list[Any]


_decoder = msgspec.msgpack.Decoder(_Cursor)


def encode_cursor(schema_hash: str, order: bytes, key: Sequence[Any], most: int) -> str:
    """Cursor after the row with these order values (as stored). Raises InvalidRequest query_too_large."""
    packed = msgspec.msgpack.encode(_Cursor(_VERSION, schema_hash[:_HASH_CHARACTERS], order, list(key)))
    made = base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
    if len(made) > most:
        raise too_large("orderBy", len(made), "characters of cursor (long texts to order by)", most)
    return made


def decode_cursor(
    cursor: str, schema_hash: str, order: bytes, terms: Sequence[OrderTerm], most: int, path: str = "after"
) -> tuple[Any, ...]:
    """The order values a cursor holds. Raises InvalidRequest cursor_invalid for anything but our own."""
    if len(cursor) > most:
        raise _invalid(path, f"it has {len(cursor)} characters, the limit is {most}")
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = _decoder.decode(packed)
    except (binascii.Error, ValueError, RecursionError):
        # msgspec's errors and those about Unicode are ValueErrors.
        raise _invalid(path, "it is not a cursor KeepDB made") from None
    if found.version != _VERSION:
        raise _invalid(path, f"it has version {found.version}, this server reads {_VERSION}")
    if found.schema != schema_hash[:_HASH_CHARACTERS]:
        raise _invalid(path, "it was made under another schema")
    if found.order != order:
        raise _invalid(path, "it belongs to another collection or order")
    if len(found.key) != len(terms) or not all(map(_fits, terms, found.key)):
        raise _invalid(path, "its values do not fit the order")
    return tuple(found.key)


def _fits(term: OrderTerm, value: Any) -> bool:
    if value is None:
        return term.field.nullable
    if type(value) is int and not -(2**63) <= value < 2**63:
        return False
    # Sums of numbers can be infinite, but nothing that is stored or computed is NaN.
    if type(value) is float and math.isnan(value):
        return False
    return type(value) is _TYPES[term.field.kind]


def _invalid(path: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        "cursor_invalid", f"{path}: this cursor cannot be used: {why}.", fix="Read again from the first page."
    )
