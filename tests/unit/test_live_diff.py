"""Differences of results: whatever the two lists, applying the difference to one gives the other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepdb.live.diff import apply_diff, diff_rows, same_value
from messages.queries import Diff

CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(0, 1), st.sampled_from([0.0, 1.0, "x", {"a": 1}, {"a": True}])
)
ROWS = st.lists(st.tuples(CELLS, st.integers(0, 12)), max_size=12, unique_by=lambda row: row[1])


@given(old=ROWS, new=ROWS)
def test_the_difference_of_two_lists_applied_to_the_first_gives_the_second(
    old: list[tuple[Any, int]], new: list[tuple[Any, int]]
) -> None:
    made = diff_rows(old, new, 1)
    applied = apply_diff(
        old, 1, Diff(sub="s", seq=1, exit=made.exit, update=made.update, enter=made.enter, move=made.move)
    )

    assert same_value(applied, new)
    assert (made.size == 0) == same_value(old, new)


@given(new=st.permutations(list(range(7))))
def test_the_moves_are_as_few_as_possible(new: list[int]) -> None:
    made = diff_rows([(n,) for n in range(7)], [(n,) for n in new], 0)

    longest = max(
        len(rising)
        for chosen in range(2**7)
        if (rising := [n for at, n in enumerate(new) if chosen >> at & 1]) == sorted(rising)
    )
    assert len(made.move) == 7 - longest


def test_each_kind_of_change_is_told_as_what_it_is() -> None:
    made = diff_rows([["a", 1], ["b", 1], ["c", 1]], [["c", 1], ["n", 9], ["a", 2]], 0)

    assert made.exit == ["b"]
    assert made.update == [["a", 2]]
    assert made.enter == [(1, ["n", 9])]
    assert [key for _, key in made.move] in (["a"], ["c"])


def test_true_1_and_1_point_0_are_different_values() -> None:
    assert diff_rows([["a", 1]], [["a", True]], 0).update == [["a", True]]
    assert diff_rows([["a", {"k": 1}]], [["a", {"k": 1.0}]], 0).update == [["a", {"k": 1.0}]]


def test_a_difference_for_other_rows_is_noticed() -> None:
    made = diff_rows([["a", 1], ["b", 1]], [["b", 2], ["a", 1], ["c", 1]], 0)

    with pytest.raises((KeyError, IndexError)):
        apply_diff([["x", 1]], 0, made)
    with pytest.raises(IndexError):
        apply_diff([], 0, diff_rows([["a", 1]], [["a", 1], ["b", 1]], 0))
