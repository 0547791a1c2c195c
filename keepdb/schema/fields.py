"""Compiles the description of one field or argument: name, type, limits, default."""

import re
from typing import Any, cast, get_args

import msgspec

from .model import AT, Field, FieldType
from .source import Spot
from .values import LENGTH_MAX, TIMESTAMP_MAX, TIMESTAMP_MIN, Mismatch, check_wire

VALUES_MAX = 256
#: Numbers go into the AAD as 32 bits; 0 is the body of an event.
NUMBER_MAX = 65_535

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}\Z")
_NAME_ALLOWED = "a name: a letter, then at most 63 letters and digits"
#: Compared without case, as SQLite compares column names. The query language and SQLite own these.
RESERVED = frozenset({"and", "or", "not", "id", "createdat", "updatedat", "deletedat", "rowid", "oid"})
RESERVED_IN_ROWS = RESERVED | {"parent", "position"}

_TYPES: tuple[str, ...] = get_args(FieldType)
_BOUNDED = ("integer", "real", "timestamp")

FIELD_KEYS = (
    "values",
    "required",
    "nullable",
    "default",
    "encrypted",
    "min",
    "max",
    "maxLength",
    "ref",
    "description",
)


def check_name(spot: Spot, name: str, reserved: frozenset[str]) -> None:
    """Raise unless `name`, the key of `spot`, may be used."""
    if name.startswith("_"):
        raise spot.fail(f"{_NAME_ALLOWED}; names with _ in front are KeepDB's own", f"the name {name!r}")
    if not _NAME.match(name):
        raise spot.fail(_NAME_ALLOWED, f"the name {name[:80]!r}")
    if name.casefold() in reserved:
        raise spot.fail("any name but the reserved " + ", ".join(sorted(reserved)), f"the name {name!r}")


def make_field(name: str, number: int, spot: Spot, entries: dict[str, Spot]) -> Field:
    """Compile the description of one field or argument; number and was are the caller's business."""
    kind = cast(FieldType, entries["type"].choice(_TYPES))
    _check_keys_fit_type(kind, spot, entries)
    required = "required" in entries and entries["required"].flag()
    has_default = "default" in entries and entries["default"].value is not None
    if required and has_default:
        raise entries["default"].fail("no default, because the field is required")
    nullable = entries["nullable"].flag() if "nullable" in entries else not required and not has_default
    field = Field(
        name=name,
        number=number,
        type=kind,
        values=_values(entries["values"]) if "values" in entries else (),
        required=required,
        nullable=nullable,
        encrypted="encrypted" in entries and entries["encrypted"].flag(),
        min=_bound(entries.get("min"), kind),
        max=_bound(entries.get("max"), kind),
        max_length=entries["maxLength"].whole(1, LENGTH_MAX[kind]) if "maxLength" in entries else None,
        ref=entries["ref"].text() if "ref" in entries else None,
        description=read_description(entries),
    )
    if field.min is not None and field.max is not None and field.min > field.max:
        raise entries["max"].fail(f"at least min, which is {field.min}")
    return with_default(field, entries.get("default"))


def with_default(field: Field, spot: Spot | None) -> Field:
    """The field with the default given in the file, checked like any other value."""
    if spot is None or spot.value is None:
        return field
    return msgspec.structs.replace(field, default=check_literal(field, spot, at_allowed=True))


def check_literal(field: Field, spot: Spot, at_allowed: bool = False) -> Any:
    """A value written in the file that is to go into `field`, in canonical form."""
    at_allowed = at_allowed and field.type == "timestamp" and not field.encrypted
    if at_allowed and spot.value == AT:
        return AT
    try:
        return check_wire(field)(spot.value)
    except Mismatch as mismatch:
        extra = " or $at" if at_allowed else ""
        raise spot.fail(mismatch.allowed + extra, mismatch.found) from None


def _check_keys_fit_type(kind: str, spot: Spot, entries: dict[str, Spot]) -> None:
    fitting = {
        "min": _BOUNDED,
        "max": _BOUNDED,
        "maxLength": tuple(LENGTH_MAX),
        "values": ("enum",),
        "ref": ("ref",),
    }
    for key, types in fitting.items():
        if key in entries and kind not in types:
            raise entries[key].fail(f"{key} only with type {', '.join(types)}", f"{key} with type {kind}")
    if kind in ("enum", "ref"):
        spot.mapping(("type", "values" if kind == "enum" else "ref"), (*entries,))


def _values(spot: Spot) -> tuple[str, ...]:
    values = tuple(item.text("text; put true, no, on and numbers in quotes") for item in spot.items())
    if not 0 < len(values) <= VALUES_MAX or len(set(values)) < len(values):
        raise spot.fail(f"1 to {VALUES_MAX} different values")
    for item in spot.items():
        if not item.value or len(item.value) > 128 or not item.value.isprintable():
            raise item.fail("1 to 128 printable characters")
    return values


def _bound(spot: Spot | None, kind: str) -> int | float | None:
    if spot is None:
        return None
    if kind == "real":
        return float(spot.number())
    if kind == "timestamp":
        return spot.whole(TIMESTAMP_MIN, TIMESTAMP_MAX)
    return spot.whole(-(2**63), 2**63 - 1)


def read_description(entries: dict[str, Spot]) -> str:
    """The free text of a part; it has no effect."""
    return entries["description"].text() if "description" in entries else ""
