"""What a value of each type must look like, as one closure per field made once when the schema is compiled.

A closure takes a value from the wire (never None) and returns what SQLite stores, or raises `Mismatch`.
Clients' events, defaults and literals in schema.yaml all pass through the same closures.
"""

import math
import sys
from array import array
from collections.abc import Callable
from typing import Any

import msgspec

from .model import AT, Field

Check = Callable[[Any], Any]

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
#: The years 1 to 9999, what every date library can show.
TIMESTAMP_MIN, TIMESTAMP_MAX = -62_135_596_800_000, 253_402_300_799_999
ID_CHARACTERS_MAX = 128
#: An event must fit one frame (8 MiB) together with its neighbours in a batch.
LENGTH_MAX = {"text": 1_000_000, "json": 1_000_000, "list": 10_000, "vector": 8_192}
LIST_BYTES_MAX = 1_000_000
#: Deeper documents break recursive readers in other languages before they break ours.
JSON_DEPTH_MAX = 32

#: Stands for the time of the commit among default values; no value from the wire is this object.
NOW = object()

_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()


class Mismatch(Exception):
    """The value is not allowed. found: overrides its description; allowed: what would have been right."""

    def __init__(self, allowed: str, found: str | None = None) -> None:
        super().__init__(allowed)
        self.allowed = allowed
        self.found = found


def describe_value(value: Any, secret: bool = False) -> str:
    """Type and short form of a value for an error message; of a secret one the type and size only."""
    match value:
        case None:
            return "null"
        case bool():
            kind, short = "boolean", str(value).lower()
        case int():
            kind, short = (
                "integer",
                str(value) if value.bit_length() < 128 else f"of {value.bit_length()} bits",
            )
        case float():
            kind, short = "real", repr(value)
        case str():
            kind, short = (
                "text",
                repr(value) if len(value) <= 40 else f"{value[:40]!r}… ({len(value)} characters)",
            )
        case bytes() | bytearray() | memoryview():
            return f"{len(value)} bytes"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return f"a map of {len(value)}"
        case _:
            return type(value).__name__
    return kind if secret else f"{kind} {short}"


def is_id(value: Any) -> bool:
    """1 to 128 characters of printable text: no control characters, no line breaks, no lone surrogates."""
    return type(value) is str and 0 < len(value) <= ID_CHARACTERS_MAX and value.isprintable()


ID_ALLOWED = f"an id: 1 to {ID_CHARACTERS_MAX} printable characters"


def check_storage(field: Field) -> Check:
    """Closure: wire value -> storage value (for an encrypted field: the msgpack bytes to be sealed)."""
    check = check_wire(field)
    if field.encrypted:
        return _then_pack(check, field)
    match field.type:
        case "boolean":
            return lambda value: 1 if check(value) else 0
        case "json" | "list":
            limit = _length_max(field) if field.type == "json" else LIST_BYTES_MAX
            return lambda value: _json_text(check(value), limit)
        case "vector":
            return lambda value: vector_bytes(check(value))
        case _:
            return check


def check_wire(field: Field) -> Check:
    """Closure: wire value -> the same value in its one canonical form."""
    return _MAKERS[field.type](field)


def default_storage(field: Field) -> Any:
    """Storage value of a field's default, NOW for "$at". None where there is none."""
    if field.type == "timestamp" and field.default == AT:
        return NOW
    if field.default is None:
        return None
    return check_storage(field)(field.default)


def vector_bytes(value: list[float]) -> bytes:
    """float32, little-endian. Mismatch where a number does not fit a float32."""
    packed = array("f", value)
    if not all(map(math.isfinite, packed)):
        raise Mismatch("numbers within the range of a float32", "a number beyond it")
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _text(field: Field) -> Check:
    limit = _length_max(field)
    allowed = f"text of at most {limit} characters"

    def check(value: Any) -> Any:
        if type(value) is not str or len(value) > limit or not _is_unicode(value):
            raise Mismatch(allowed)
        return value

    return check


def _integer(field: Field) -> Check:
    low = INTEGER_MIN if field.min is None else field.min
    high = INTEGER_MAX if field.max is None else field.max
    bounds = "of 64 bits" if field.min is None and field.max is None else f"from {low} to {high}"
    allowed = f"an integer {bounds}"

    def check(value: Any) -> Any:
        if type(value) is not int or not low <= value <= high:
            raise Mismatch(allowed)
        return value

    return check


def _real(field: Field) -> Check:
    low = -sys.float_info.max if field.min is None else field.min
    high = sys.float_info.max if field.max is None else field.max
    bounds = "" if field.min is None and field.max is None else f" from {low:g} to {high:g}"
    allowed = f"a finite number{bounds}"

    def check(value: Any) -> Any:
        # NaN fails every comparison, infinities exceed the bounds.
        if type(value) not in (float, int) or not low <= value <= high:
            raise Mismatch(allowed)
        return float(value)

    return check


def _boolean(_field: Field) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not bool:
            raise Mismatch("true or false")
        return value

    return check


def _timestamp(field: Field) -> Check:
    low = TIMESTAMP_MIN if field.min is None else field.min
    high = TIMESTAMP_MAX if field.max is None else field.max
    allowed = f"a time in milliseconds since 1970, an integer from {low} to {high}"

    def check(value: Any) -> Any:
        if type(value) is not int or not low <= value <= high:
            raise Mismatch(allowed)
        return value

    return check


def _enum(field: Field) -> Check:
    values = frozenset(field.values)
    allowed = f"one of {', '.join(field.values)}"

    def check(value: Any) -> Any:
        if type(value) is not str or value not in values:
            raise Mismatch(allowed + _suggestion(value, field.values))
        return value

    return check


def _ref(_field: Field) -> Check:
    def check(value: Any) -> Any:
        if not is_id(value):
            raise Mismatch(ID_ALLOWED)
        return value

    return check


def _document(_field: Field) -> Check:
    def check(value: Any) -> Any:
        _check_json(value, 1)
        return value

    return check


def _list(field: Field) -> Check:
    limit = _length_max(field)
    allowed = f"a list of at most {limit} texts"

    def check(value: Any) -> Any:
        if type(value) not in (list, tuple) or len(value) > limit:
            raise Mismatch(allowed)
        for position, item in enumerate(value):
            if type(item) is not str or not _is_unicode(item):
                raise Mismatch(allowed, f"{describe_value(item, field.encrypted)} at position {position}")
        return value

    return check


def _vector(field: Field) -> Check:
    limit = _length_max(field)
    allowed = f"a list of 1 to {limit} finite numbers"

    def check(value: Any) -> Any:
        if type(value) not in (list, tuple) or not 0 < len(value) <= limit:
            raise Mismatch(allowed)
        for position, item in enumerate(value):
            # 3.5e38 is just past the float32 range; integers beyond the double range never reach float().
            if type(item) not in (float, int) or not -3.5e38 < item < 3.5e38:
                raise Mismatch(allowed, f"{describe_value(item, field.encrypted)} at position {position}")
        return [float(item) for item in value]

    return check


_MAKERS: dict[str, Callable[[Field], Check]] = {
    "text": _text,
    "integer": _integer,
    "real": _real,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "enum": _enum,
    "ref": _ref,
    "json": _document,
    "list": _list,
    "vector": _vector,
}


def _length_max(field: Field) -> int:
    return LENGTH_MAX[field.type] if field.max_length is None else field.max_length


def _is_unicode(value: str) -> bool:
    """False for lone surrogates, which no UTF-8 reader could take back."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_json(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        if not _is_unicode(value):
            raise Mismatch("well-formed Unicode text", "text with a lone surrogate")
    elif kind is dict or kind is list or kind is tuple:
        if depth > JSON_DEPTH_MAX:
            raise Mismatch(f"JSON nested at most {JSON_DEPTH_MAX} deep", "deeper nesting")
        if kind is dict:
            for key in value:
                if type(key) is not str or not _is_unicode(key):
                    raise Mismatch("maps whose keys are text", "a map with another key")
        for item in value.values() if kind is dict else value:
            _check_json(item, depth + 1)
    elif kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise Mismatch("JSON with integers of 64 bits", "a larger integer")
    elif kind is float:
        if not math.isfinite(value):
            raise Mismatch("JSON with finite numbers", "NaN or an infinity")
    elif value is not None and kind is not bool:
        raise Mismatch(
            "JSON: text, numbers, booleans, null, lists and maps", describe_value(value, secret=True)
        )


def _json_text(value: Any, limit: int) -> str:
    encoded = _json.encode(value)
    if len(encoded) > limit:
        raise Mismatch(f"at most {limit} bytes as JSON", f"{len(encoded)} bytes")
    return encoded.decode()


def _then_pack(check: Check, field: Field) -> Check:
    sized = field.type in ("json", "list")
    limit = _length_max(field) if field.type == "json" else LIST_BYTES_MAX

    def pack(value: Any) -> Any:
        packed = _msgpack.encode(check(value))
        if sized and len(packed) > limit:
            raise Mismatch(f"at most {limit} bytes", f"{len(packed)} bytes")
        return packed

    return pack


def _suggestion(value: Any, known: tuple[str, ...]) -> str:
    near = near_miss(value, known)
    return f" (did you mean {near}?)" if near else ""


def near_miss(value: Any, known: tuple[str, ...]) -> str | None:
    """The known name that `value` was probably meant to be, ignoring case first."""
    # Imported late: difflib costs milliseconds and only errors need it.
    import difflib

    if not isinstance(value, str) or len(value) > 100:
        return None
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.7)
    return folded[close[0]] if close else None
