"""Raw rows to rows as clients get them: the sealed values of all windows of a turn are opened in one ask."""

from collections.abc import Iterator, Sequence

from keepdb.errors import KeepError
from keepdb.query.opening import Opening, OpenValues, convert
from keepdb.query.plan import CompiledQuery, Shape

from .buffer import Entry
from .failures import failure_of
from .window import Window

#: A window, and the rows of it that are not rendered yet.
Part = tuple[Window, list[Entry]]


def render(parts: Sequence[Part], open_values: OpenValues) -> Iterator[tuple[Window, KeepError]]:
    """Render the rows of each window. Gives those windows whose rows stay as they were, and why."""
    sealed = [part for part in parts if part[0].plan.opens]
    for part in parts:
        if not part[0].plan.opens:
            yield from _failing([part], open_values)
    failed = [*_failing(sealed, open_values)]
    if len(failed) > 1 and not failed[0][1].retryable:
        # One value that does not open must not end the others' queries.
        failed = [each for part in sealed for each in _failing([part], open_values)]
    yield from failed


def _failing(parts: Sequence[Part], open_values: OpenValues) -> list[tuple[Window, KeepError]]:
    try:
        _render(parts, open_values)
    except Exception as error:
        failure = failure_of(error)
        return [(window, failure) for window, _ in parts]
    return []


def _render(parts: Sequence[Part], open_values: OpenValues) -> None:
    opening = Opening()
    made = []
    for window, entries in parts:
        columns = _shape(window).columns
        rows = [list(entry.raw[: len(columns)]) for entry in entries]
        opening.collect(rows, columns)
        made.append((columns, entries, rows))
    opening.open(open_values)
    for columns, entries, rows in made:
        convert(rows, columns)
        for entry, row in zip(entries, rows, strict=True):
            entry.wire = row


def _shape(window: Window) -> Shape:
    plan = window.plan
    assert isinstance(plan, CompiledQuery)
    return plan.shape
