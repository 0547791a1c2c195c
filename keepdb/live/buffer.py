"""Rows of one live query in order, in memory, and what has become of them since the client was last told.

Pure data: which rows belong in here is the window's business, see horizon.py and groups.py.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .ordering import SortKey

RawRow = tuple[Any, ...]

_packer = msgspec.msgpack.Encoder()


def weigh(value: Any) -> int:
    """Bytes of rows as MessagePack, which is how the results of reads are measured, too."""
    return len(_packer.encode(value))


class Entry:
    """One row. raw: storage values, nothing opened. wire: as clients get it, None until it is first shown."""

    __slots__ = ("raw", "wire")

    def __init__(self, raw: RawRow) -> None:
        self.raw = raw
        self.wire: list[Any] | None = None


class _Touch:
    """A row that changed: where and what it was when the result was last shown, and where it is now."""

    __slots__ = ("now_key", "was", "was_key")

    def __init__(self, key: SortKey | None, entry: Entry | None) -> None:
        self.was_key = self.now_key = key
        self.was = entry


@dataclass(slots=True)
class Changes:
    """What turns the rows shown before into those visible now, in places and entries.

    exit: places in the old rows. enter: (place in the new rows, entry). update: (entry as it was, as it is).
    move: (place in the new rows, entry).
    """

    exit: list[int] = field(default_factory=list)
    enter: list[tuple[int, Entry]] = field(default_factory=list)
    update: list[tuple[Entry, Entry]] = field(default_factory=list)
    move: list[tuple[int, Entry]] = field(default_factory=list)


class Buffer:
    """Rows by sort key. keys and entries are parallel and ascending. size: bytes of the raw rows, see weigh()."""

    __slots__ = ("_touched", "entries", "keys", "replaced", "size")

    def __init__(self) -> None:
        self.keys: list[SortKey] = []
        self.entries: list[Entry] = []
        self.size = 0
        #: Whether the rows were read anew, so that what changed is not known row by row.
        self.replaced = True
        self._touched: dict[Hashable, _Touch] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def insert(self, name: Hashable, key: SortKey, raw: RawRow) -> bool:
        """Add a row; False if one of this key is there already, which must not be."""
        at = bisect_left(self.keys, key)
        if at < len(self.keys) and self.keys[at] == key:
            return False
        entry = Entry(raw)
        self.keys.insert(at, key)
        self.entries.insert(at, entry)
        self.size += weigh(raw)
        touch = self._touched.get(name)
        if touch is None:
            touch = self._touched[name] = _Touch(None, None)
        touch.now_key = key
        return True

    def remove(self, name: Hashable, key: SortKey) -> bool:
        """Take a row out; False if it is not there, which must not be."""
        at = bisect_left(self.keys, key)
        if at == len(self.keys) or self.keys[at] != key:
            return False
        del self.keys[at]
        entry = self.entries.pop(at)
        self.size -= weigh(entry.raw)
        touch = self._touched.get(name)
        if touch is None:
            touch = self._touched[name] = _Touch(key, entry)
        touch.now_key = None
        return True

    def replace(self, rows: Iterable[tuple[SortKey, RawRow]], reuse: bool) -> None:
        """Hold these rows, which come in order. reuse: those that are as before need not be rendered again."""
        known = dict(zip(self.keys, self.entries, strict=True)) if reuse else {}
        self.keys, self.entries = [], []
        for key, raw in rows:
            entry = known.get(key)
            self.keys.append(key)
            self.entries.append(entry if entry is not None and entry.raw == raw else Entry(raw))
        self.size = sum(weigh(entry.raw) for entry in self.entries)
        self.replaced = True

    def cut(self, rows: int) -> None:
        """Drop what lies behind this many rows. Not visible, so nobody needs to be told."""
        self.size -= sum(weigh(entry.raw) for entry in self.entries[rows:])
        del self.keys[rows:], self.entries[rows:]

    def shown(self) -> None:
        """The rows are as the last result has them: count changes from here."""
        self.replaced = False
        self._touched.clear()

    def changes(self, old_keys: list[SortKey], limit: int) -> Changes | None:
        """From the rows with `old_keys` to the first `limit` of now; None if only a comparison can tell."""
        if self.replaced:
            return None
        new_keys = self.keys[:limit]
        made = Changes()
        moved: list[tuple[int, int, Entry]] = []
        for touch in self._touched.values():
            old_at, new_at = _place(old_keys, touch.was_key), _place(new_keys, touch.now_key)
            if old_at is None and new_at is not None:
                made.enter.append((new_at, self.entries[new_at]))
            elif old_at is not None and new_at is None:
                made.exit.append(old_at)
            elif old_at is not None and new_at is not None and touch.was is not None:
                made.update.append((touch.was, self.entries[new_at]))
                if touch.was_key != touch.now_key:
                    moved.append((old_at, new_at, self.entries[new_at]))
        if len(moved) > 1:
            return None
        self._slide(made, old_keys, new_keys, limit)
        made.enter.sort(key=lambda place: place[0])
        for old_at, new_at, entry in moved:
            # Whether its rank among the rows that stay is another.
            before = old_at - sum(at < old_at for at in made.exit)
            after = new_at - sum(at < new_at for at, _ in made.enter)
            if before != after:
                made.move.append((new_at, entry))
        return made

    def _slide(self, made: Changes, old_keys: list[SortKey], new_keys: list[SortKey], limit: int) -> None:
        """Rows that did not change but lie on the other side of the limit now."""
        if len(new_keys) == limit:
            gone = {touch.was_key for touch in self._touched.values()}
            at = len(old_keys) - 1
            while at >= 0 and old_keys[at] > new_keys[-1]:
                if old_keys[at] not in gone:
                    made.exit.append(at)
                at -= 1
        if len(old_keys) == limit:
            come = {touch.now_key for touch in self._touched.values()}
            at = len(new_keys) - 1
            while at >= 0 and new_keys[at] > old_keys[-1]:
                if new_keys[at] not in come:
                    made.enter.append((at, self.entries[at]))
                at -= 1


def _place(visible: list[SortKey], key: SortKey | None) -> int | None:
    """Where a key is among the visible ones, None if it is not there."""
    if key is None:
        return None
    at = bisect_left(visible, key)
    return at if at < len(visible) and visible[at] == key else None
