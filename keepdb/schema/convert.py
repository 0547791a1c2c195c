"""Storage values back to wire values, for whoever returns rows."""

import sys
from array import array
from collections.abc import Callable
from typing import Any

import msgspec

from .model import Column

ToWire = Callable[[Any], Any]

_json = msgspec.json.Decoder()
_msgpack = msgspec.msgpack.Decoder()


def to_wire(column: Column) -> ToWire | None:
    """Converter of one column's values, or None where storage and wire are the same. Converters pass None on.

    For an encrypted column it takes the plaintext after Open (msgpack), not the sealed record.
    """
    field = column.field
    if field is None:
        return None
    if field.encrypted:
        return _from_msgpack
    return _CONVERTERS.get(field.type)


def _from_msgpack(value: Any) -> Any:
    return None if value is None else _msgpack.decode(value)


def _from_json(value: Any) -> Any:
    return None if value is None else _json.decode(value)


def _from_integer(value: Any) -> Any:
    return None if value is None else value != 0


def _from_float32(value: Any) -> Any:
    if value is None:
        return None
    numbers = array("f", value)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


_CONVERTERS: dict[str, ToWire] = {
    "boolean": _from_integer,
    "json": _from_json,
    "list": _from_json,
    "vector": _from_float32,
}
