"""What the latest changes did to live queries that somebody has asked about, and why. Others cost nothing."""

from collections import deque
from collections.abc import Container, Iterable, Sequence

from keepdb.storage.changes import Change, ChangeBatch

from .window import Decision, Strategy, Window

#: Queries whose decisions are noted, and how many of each.
_WINDOWS_MAX = 16
_DECISIONS_MAX = 32

#: Why a window read its tables, other than for the first time.
_READ: dict[Strategy, str] = {
    "window": "too few rows were left behind the visible ones",
    "groups": "a figure could not be followed from the changed rows alone",
    "rerun": "a row changed in a column that it reads",
}
#: Why a change was skipped, from the one that had least to do with the query to the one that almost mattered.
_SKIPPED = (
    "no row of its collections changed",
    "no changed row has what its guard asks for",
    "no changed row meets its filter, before or after",
    "only columns changed that it does not read",
    "what changed lies behind the rows that it keeps, or is not shown",
)


class Journal:
    """Decisions by window."""

    def __init__(self) -> None:
        self._kept: dict[Window, deque[Decision]] = {}
        self._read: dict[Window, str] = {}

    def open(self, window: Window) -> list[Decision]:
        """The decisions noted so far; from now on they are."""
        noted = self._kept.pop(window, None) or deque(maxlen=_DECISIONS_MAX)
        self._kept[window] = noted
        if len(self._kept) > _WINDOWS_MAX:
            del self._kept[next(iter(self._kept))]
        return list(noted)

    def close(self, window: Window) -> None:
        """The query has ended."""
        self._kept.pop(window, None)
        self._read.pop(window, None)

    def followed(self, seq: int, batches: Sequence[ChangeBatch], touched: Container[Window]) -> None:
        """The changes up to `seq` were given to the windows and made a difference to those touched."""
        for window, noted in self._kept.items():
            if window not in touched and not window.stale:
                changes = (change for batch in batches for change in batch.changes if change.seq > window.seq)
                noted.append((seq, "skipped", _why_skipped(window, changes)))

    def reads(self, window: Window) -> None:
        """It is about to read its tables."""
        if window in self._kept:
            broken = window.stale and window.result is not None
            self._read[window] = "it was read anew" if broken else _READ[window.strategy]

    def shown(self, window: Window, seq: int, changed: bool) -> None:
        """Its result was made anew."""
        noted = self._kept.get(window)
        if noted is None:
            return
        result = "the result changed" if changed else "the result is the same"
        why = self._read.pop(window, "")
        if why:
            noted.append((seq, "ran" if window.strategy == "rerun" else "refilled", f"{why}; {result}"))
        else:
            noted.append((seq, "sent" if changed else "silent", result))


def _why_skipped(window: Window, changes: Iterable[Change]) -> str:
    routes = {route.table: route for route in window.routes}
    nearest = 0
    for change in changes:
        route = routes.get(change.collection)
        if route is None:
            continue
        images = [image for image in (change.before, change.after) if image is not None]
        if route.guard is not None and all(image[route.guard[0]] not in route.guard[1] for image in images):
            near = 1
        elif not any(route.filter.matches(image) for image in images):
            near = 2
        else:
            near = 3 if route.is_silent(change.before, change.after) else 4
        nearest = max(nearest, near)
    return _SKIPPED[nearest]
