"""Values that go wrong elsewhere: ties, NULL, the ends of 64 bits, negative zero, NUL bytes, Unicode beyond 16 bits.

An episode draws a few of each kind, so that ties, matches and values that come back are the rule.
"""

from random import Random
from typing import Any

from .world import Row

TEXTS = [
    "", "a", "A", "b", "ab", "aB", "Ab", "ä", "Ä", "a\u0308", "\uffff", "\U0001f600", "a\0", "a\0b", "\0", "%",
    "_", "a%b", "a_b", "\\", "a\\", "z" * 40, "1", "1.0", "low",
]  # fmt: skip
INTEGERS = [0, 1, 2, 3, -1, 10, 2**53, 2**53 + 1, 2**63 - 1, 2**63 - 2, -(2**63), -(2**63) + 1]
REALS = [0.0, -0.0, 1.0, 1.5, -1.5, 0.1, 0.2, 0.3, 1e300, -1e300, 5e-324, 2.0**53, -3.0]
TIMES = [0, 1, 1_700_000_000_000, 1_700_000_000_001, -5, 2**53]
ITEMS = ["a", "A", "ab", "ä", "", "\U0001f600", '"', "a\0b", "1"]
DOCUMENTS = [None, 0, 1.5, "a", [], {}, {"a": [1, None, "ä"]}, [[1], {"b": False}], "a\0"]
CHOICES = ["low", "mid", "top"]

THING_IDS = [f"a{n:02}" for n in range(46)] + ["A01", "ä", "", "\U0001f600", "\uffff", "a\0"]
PART_IDS = [f"p{n:02}" for n in range(24)]
OTHER_IDS = [f"o{n}" for n in range(6)]
#: Where a ref may point: also to nothing that is there.
REFS = [*OTHER_IDS[:4], "o9", "O1"]


class Domain:
    """A few values of each kind. nulls: share of missing values."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.nulls = rng.choice((0.0, 0.1, 0.3))
        lists = [rng.sample(ITEMS, rng.randrange(4)) for _ in range(3)]
        self._kinds: dict[str, list[Any]] = {
            "text": _some(rng, TEXTS, 8),
            "integer": _some(rng, INTEGERS[: rng.choice((4, 6, len(INTEGERS)))], 6),
            "real": _some(rng, REALS, 6),
            "boolean": [False, True],
            "timestamp": _some(rng, TIMES, 4),
            "enum": CHOICES,
            "ref": _some(rng, REFS, 4),
            "self": _some(rng, THING_IDS, 6),
            "list": [[], ["a"], *lists],
            "json": _some(rng, DOCUMENTS, 4),
        }

    def some(self, kind: str) -> Any:
        """A value that is there."""
        return self._rng.choice(self._kinds[kind])

    def maybe(self, kind: str) -> Any:
        """A value, or None."""
        return None if self._rng.random() < self.nulls else self.some(kind)

    def strange(self, kind: str) -> Any:
        """A value that rows need not have, to compare with."""
        everything: dict[str, list[Any]] = {
            "text": TEXTS, "integer": INTEGERS, "real": [*REALS, 1, -7], "timestamp": TIMES, "ref": REFS
        }  # fmt: skip
        return self._rng.choice(everything.get(kind, self._kinds.get(kind, [])))

    def thing(self, name: str) -> Row:
        """A row of things, every column of it."""
        row = {"id": name} | {column: self.maybe(kind) for column, kind in THINGS.items()}
        return row | {
            "createdAt": self.maybe("timestamp"),
            "updatedAt": self.maybe("timestamp"),
            "deletedAt": None,
        }

    def other(self, name: str) -> Row:
        row = {"id": name, "name": self.maybe("text"), "rank": self.maybe("integer")}
        return row | {"createdAt": None, "updatedAt": None, "deletedAt": None}

    def part(self, name: str, parent: str) -> Row:
        return {
            "id": name,
            "parent": parent,
            "position": self._rng.randrange(4),
            "label": self.some("text"),
            "hidden": self.maybe("text"),
            "done": self.maybe("boolean"),
        }


#: Fields of things and their kinds; a sealed one has the kind of its plaintext, "self" is a ref to things.
THINGS = {
    "t": "text",
    "u": "text",
    "i": "integer",
    "r": "real",
    "b": "boolean",
    "w": "timestamp",
    "e": "enum",
    "x": "ref",
    "j": "json",
    "l": "list",
    "secret": "json",
    "y": "ref",
    "z": "self",
}


def _some(rng: Random, values: list[Any], most: int) -> list[Any]:
    return rng.sample(values, min(len(values), rng.randint(2, most)))
