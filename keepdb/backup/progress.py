"""How long work reports itself: a generator that yields Progress and returns its result."""

from collections.abc import Callable, Generator
from typing import TypeVar

import msgspec

Result = TypeVar("Result")


class Progress(msgspec.Struct, frozen=True):
    """done of total units of work; the unit is an event, or a little more. phase: what is being done."""

    phase: str
    done: int
    total: int


Steps = Generator[Progress, None, Result]


def run(steps: Steps[Result], progress: Callable[[Progress], None] | None = None) -> Result:
    """Do all of it now, reporting after each step; the steps' result."""
    while True:
        try:
            reached = next(steps)
        except StopIteration as end:
            found: Result = end.value
            return found
        if progress is not None:
            progress(reached)
