"""JSON that can say everything msgpack can: bytes, and integers that a double cannot hold.

`{"$bin": "00ff"}` is bytes in hex, `{"$int": "9007199254740993"}` an integer. Everything else is itself; a number is
a float if it is written with a point, `1.0`, where the language can tell.
"""

import json
from typing import Any

#: Integers of at most this size are the same number in every language.
SAFE_INTEGER = 2**53 - 1


def plain(value: Any) -> Any:
    """Tagged JSON as plain values."""
    match value:
        case {"$bin": str(text), **rest} if not rest:
            return bytes.fromhex(text)
        case {"$int": str(text), **rest} if not rest:
            return int(text)
        case dict():
            return {name: plain(part) for name, part in value.items()}
        case list():
            return [plain(part) for part in value]
    return value


def tagged(value: Any) -> Any:
    """Plain values as tagged JSON."""
    match value:
        case bytes():
            return {"$bin": value.hex()}
        case bool():
            return value
        case int() if abs(value) > SAFE_INTEGER:
            return {"$int": str(value)}
        case dict():
            return {name: tagged(part) for name, part in value.items()}
        case list() | tuple():
            return [tagged(part) for part in value]
    return value


def line(value: Any) -> str:
    """One line of tagged JSON."""
    return json.dumps(tagged(value), ensure_ascii=False, allow_nan=False)
