"""Raw rows to rows as clients get them: the sealed values of all windows of a turn are opened in one ask."""

from collections.abc import Iterator, Sequence

from keepdb.errors import KeepError
from keepdb.query.opening import Opening, OpenValues, convert
from keepdb.query.plan import CompiledQuery, Shape

from .buffer import Entry
from .window import Window

#: A window, and the rows of it that are not rendered yet.
Part = tuple[Window, list[Entry]]


def render(parts: Sequence[Part], open_values: OpenValues) -> Iterator[tuple[Window, KeepError]]:
    """Render the rows of each window. Gives those windows whose rows stay as they were, and why."""
    sealed = [(window, entries) for window, entries in parts if _shape(window).opens and entries]
    for window, entries in parts:
        if not _shape(window).opens:
            _render([(window, entries)], open_values)
    if not sealed:
        return
    try:
        _render(sealed, open_values)
    except KeepError as error:
        if error.retryable or len(sealed) == 1:
            yield from ((window, error) for window, _ in sealed)
            return
        # One value that does not open must not end the others' queries.
        for part in sealed:
            try:
                _render([part], open_values)
            except KeepError as its_own:
                yield part[0], its_own


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
