"""Diffs with the rows before and after, for the vectors: edge cases, and random ones from a fixed seed."""

import random
from collections.abc import Iterator
from typing import Any

from keepdb.live.diff import diff_rows

from .tagged import line

SEED = 20_261_123
RANDOM_DIFFS = 160

Rows = list[list[Any]]
Diff = dict[str, list[Any]]

#: (what, key, before, diff, after).
EDGES: tuple[tuple[str, int, Rows, Diff, Rows], ...] = (
    ("nothing", 0, [["a"]], {}, [["a"]]),
    ("nothing of nothing", 0, [], {}, []),
    ("the first row", 0, [], {"enter": [[0, ["a"]]]}, [["a"]]),
    ("the last row goes", 0, [["a"]], {"exit": ["a"]}, []),
    ("all rows go and others come", 0, [["a"], ["b"]],
     {"exit": ["b", "a"], "enter": [[0, ["c"]], [1, ["d"]]]}, [["c"], ["d"]]),
    ("an update in its place", 0, [["a", 1], ["b", 2]], {"update": [["b", 3]]}, [["a", 1], ["b", 3]]),
    ("a moved row that is updated too", 0, [["a", 1], ["b", 2], ["c", 3]],
     {"update": [["c", 0]], "move": [[0, "c"]]}, [["c", 0], ["a", 1], ["b", 2]]),
    ("every row moves", 0, [["a"], ["b"], ["c"]], {"move": [[0, "c"], [1, "b"], [2, "a"]]}, [["c"], ["b"], ["a"]]),
    ("a move to where it was", 0, [["a"], ["b"]], {"move": [[1, "b"]]}, [["a"], ["b"]]),
    ("enter and move together, in ascending index", 0, [["a"], ["b"], ["c"]],
     {"exit": ["b"], "enter": [[0, ["x"]], [2, ["y"]]], "move": [[1, "c"]]}, [["x"], ["c"], ["y"], ["a"]]),
    ("a key that goes and comes again as another row", 0, [["a", 1], ["b", 2]],
     {"exit": ["a"], "enter": [[1, ["a", 9]]]}, [["b", 2], ["a", 9]]),
    ("behind the last row", 0, [["a"]], {"enter": [[1, ["b"]], [2, ["c"]]]}, [["a"], ["b"], ["c"]]),
    ("the key is not the first column", 2, [[1, "x", "a"], [2, "y", "b"]],
     {"update": [[3, "z", "a"]], "move": [[0, "b"]]}, [[2, "y", "b"], [3, "z", "a"]]),
    ("one key is null", 0, [[None, 1], ["a", 2]], {"update": [[None, 5]], "move": [[0, "a"]]}, [["a", 2], [None, 5]]),
    ("null goes", 0, [[None, 1], ["a", 2]], {"exit": [None]}, [["a", 2]]),
    ("keys are integers, zero and negative ones too", 0, [[-1], [0], [1]],
     {"exit": [0], "enter": [[0, [2**53 + 1]]], "move": [[2, -1]]}, [[2**53 + 1], [1], [-1]]),
    ("keys that doubles cannot tell apart", 0, [[2**53, "a"], [2**53 + 1, "b"]],
     {"exit": [2**53], "update": [[2**53 + 1, "c"]]}, [[2**53 + 1, "c"]]),
    ("keys are floats", 0, [[0.5, 1], [-0.25, 2]], {"update": [[-0.25, 3]], "exit": [0.5]}, [[-0.25, 3]]),
    ("keys are booleans", 1, [[2, False], [5, True]],
     {"update": [[1, True]], "move": [[0, True]]}, [[1, True], [2, False]]),
    ("keys look like names that objects have", 0, [["__proto__", 1], ["constructor", 2], ["toString", 3], ["", 4]],
     {"exit": ["constructor"], "update": [["__proto__", 9]], "move": [[0, ""]]},
     [["", 4], ["__proto__", 9], ["toString", 3]]),
    ("keys that are equal only when normalised", 0, [["é", 1], ["e\u0301", 2]], {"exit": ["é"]}, [["e\u0301", 2]]),
    ("keys look like numbers", 0, [["1", "a"], ["01", "b"], ["1.0", "c"]], {"exit": ["1"], "move": [[0, "1.0"]]},
     [["1.0", "c"], ["01", "b"]]),
    ("equal values of another type are a change", 0, [["a", 1], ["b", None], ["c", 0]],
     {"update": [["a", "1"], ["b", ""], ["c", False]]}, [["a", "1"], ["b", ""], ["c", False]]),
    ("values with depth", 0, [["a", {"tags": ["x"]}]], {"update": [["a", {"tags": ["x", {"n": None}]}]]},
     [["a", {"tags": ["x", {"n": None}]}]]),
)  # fmt: skip


def diff_lines() -> Iterator[str]:
    """`diffs.json`: edge cases, then random ones."""
    for name, key, before, diff, after in EDGES:
        yield line({"name": name, "key": key, "before": before, "diff": diff, "after": after})
    chance = random.Random(SEED)
    for number in range(RANDOM_DIFFS):
        key = chance.randrange(3)
        before = _rows(chance, key)
        after = _changed(chance, key, before)
        # Half are the fewest operations, as our server sends them; the others are right but clumsy.
        make = _fewest if number % 2 else _clumsy
        diff = make(chance, before, after, key)
        shown = {name: part for name, part in diff.items() if part}
        yield line({"name": f"random {number}", "key": key, "before": before, "diff": shown, "after": after})


def _rows(chance: random.Random, key: int) -> Rows:
    keys = chance.sample(range(40), chance.choice((0, 1, 2, 5, 9, 14)))
    return [_row(chance, key, f"k{name}") for name in keys]


def _row(chance: random.Random, key: int, name: str) -> list[Any]:
    row: list[Any] = [
        chance.choice((None, 0, 1, 2**53 + 1, 0.5, "x", "ä", [1], {"a": None})) for _ in range(2)
    ]
    return [*row[:key], name, *row[key:]]


def _changed(chance: random.Random, key: int, before: Rows) -> Rows:
    """Some rows gone, changed, moved; some new."""
    after = [
        row if chance.random() < 0.7 else _row(chance, key, row[key])
        for row in before
        if chance.random() < 0.8
    ]
    for _ in range(chance.choice((0, 0, 1, 2, 4))):
        if after:
            row = after.pop(chance.randrange(len(after)))
            after.insert(chance.randrange(len(after) + 1), row)
    for number in range(chance.choice((0, 1, 1, 3))):
        after.insert(chance.randrange(len(after) + 1), _row(chance, key, f"n{number}"))
    return after


def _fewest(chance: random.Random, before: Rows, after: Rows, key: int) -> Diff:
    made = diff_rows(before, after, key)
    return {name: [list(one) if isinstance(one, tuple) else one for one in getattr(made, name)]
            for name in ("exit", "update", "enter", "move")}  # fmt: skip


def _clumsy(chance: random.Random, before: Rows, after: Rows, key: int) -> Diff:
    """Without any look for the fewest: each row that stays moves or is replaced; the lists come in no order."""
    old, new = {row[key] for row in before}, {row[key] for row in after}
    stays = {name for name in old & new if chance.random() < 0.7}
    enter: list[Any] = [[at, row] for at, row in enumerate(after) if row[key] not in stays]
    move: list[Any] = [[at, row[key]] for at, row in enumerate(after) if row[key] in stays]
    update: list[Any] = [row for row in after if row[key] in stays]
    gone: list[Any] = [row[key] for row in before if row[key] not in stays]
    for part in (enter, move, update, gone):
        chance.shuffle(part)
    return {"exit": gone, "update": update, "enter": enter, "move": move}
