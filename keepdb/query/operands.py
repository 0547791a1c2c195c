"""Checks one operand of a filter against its field and turns it into what SQLite compares with.

The kinds differ from those of a write on purpose: a filter may compare with a value no row could hold.
"""

import math
from typing import Any

from keepdb.errors import InvalidRequest

from .catalog import QueryField
from .refusal import bad_value, names, short

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1


def operand(field: QueryField, value: Any, path: str) -> Any:
    """Storage value of a wire value, for a field that holds one value. Raises InvalidRequest."""
    match field.kind:
        case "text" | "ref":
            return text(value, path)
        case "enum":
            return _choice(field, value, path)
        case "integer":
            return _integer(value, path, "an integer")
        case "timestamp":
            return _integer(value, path, "a time as integer milliseconds since 1970 (UTC)")
        case "real":
            return _number(value, path)
        case "boolean":
            if value is True or value is False:
                return int(value)
            raise bad_value(path, value, "true or false")
        case _:
            raise InvalidRequest(
                "query_bad_operator",
                f"{path}: {field.name} is a {field.kind} and cannot be compared with {short(value)}.",
                fix="Use isNull, and contains for a list.",
            )


def text(value: Any, path: str) -> str:
    """A text that can be bound: half of a surrogate pair has no UTF-8 form."""
    if type(value) is not str:
        raise bad_value(path, value, "a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise bad_value(path, value, "a text in well-formed Unicode") from None
    return value


def _integer(value: Any, path: str, expected: str) -> int:
    # JavaScript clients send large integers as floats.
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not _INTEGER_MIN <= value <= _INTEGER_MAX:
        raise bad_value(path, value, expected)
    return value


def _number(value: Any, path: str) -> float:
    if type(value) not in (int, float):
        raise bad_value(path, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise bad_value(path, value, "a number a 64-bit float can hold") from None
    if not math.isfinite(number):
        raise bad_value(path, value, "a finite number")
    return number


def _choice(field: QueryField, value: Any, path: str) -> str:
    if isinstance(value, str) and value in field.choices:
        return value
    choices = names(field.choices)
    raise bad_value(path, value, f"one of {choices}", fix=f"Choices of {field.name}: {choices}.")
