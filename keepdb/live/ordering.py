"""Sort keys in Python that order rows exactly as SQLite does: the ground under windows that are kept in memory.

Missing values come first ascending and last descending, texts go by code point (as UTF-8 bytes do), numbers by
value. Each shape of order becomes one function that makes a tuple of a row; tuples compare at C speed.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from keepdb.query.order import OrderTerm

SortKey = tuple[Any, ...]
MakeKey = Callable[[Sequence[Any]], SortKey]

#: UTF-8 has no byte above 0xF4. Turned around below that, 0xFF is left to mark the end, so that "ab" sorts
#: before "a" when descending.
_TURNED = bytes(max(0xF5 - byte, 0) for byte in range(256))
_TEXTS = frozenset({"text", "ref", "enum"})


def sort_key(terms: Sequence[OrderTerm], places: Sequence[int]) -> MakeKey:
    """A function from a row to its sort key. places: where the terms' values stand in a row.

    Keys of one order are comparable with each other; different rows have different keys, as an order ends with
    something unique.
    """
    parts = [_part(term, f"r[{place}]") for term, place in zip(terms, places, strict=True)]
    return _compiled("".join(f"{part}, " for part in parts))


def _part(term: OrderTerm, value: str) -> str:
    """One term as an expression: whether the value is there, unless it always is, and the value."""
    if not term.descending:
        turned = value
    elif term.field.kind in _TEXTS:
        turned = f"turn({value})"
    else:
        turned = f"-{value}"
    if not term.field.nullable:
        return turned
    present, missing = ("0", "1") if term.descending else ("1", "0")
    return f"*(({missing}, 0) if {value} is None else ({present}, {turned}))"


@lru_cache(maxsize=1024)
def _compiled(parts: str) -> MakeKey:
    # The source holds positions and nothing a client sent.
    made: MakeKey = eval(compile(f"lambda r: ({parts})", "<order>", "eval"), {"turn": _turn})
    return made


def _turn(text: str) -> bytes:
    """Bytes that sort in the opposite way."""
    return text.encode().translate(_TURNED) + b"\xff"
