"""Raw rows to wire rows: sealed values are opened in one batch, then columns are converted."""

from collections.abc import Callable, Sequence
from typing import Any

from keepdb.errors import InvalidRequest, InvariantBroken

from .plan import ResultColumn

#: (collection number, field number, row id, record).
SealedItem = tuple[int, int, str, bytes]
#: Plaintexts in the same order, None where the key was destroyed. Raises what the encryption actor refuses.
OpenValues = Callable[[list[SealedItem]], Sequence[bytes | None]]

Row = list[Any]


class Opening:
    """Sealed values of one result, collected from all its row lists and then opened at once."""

    def __init__(self) -> None:
        self._items: list[SealedItem] = []
        self._places: list[tuple[Row, int]] = []

    def collect(self, rows: list[Row], columns: Sequence[ResultColumn]) -> None:
        """Note the sealed values of these rows."""
        for at, column in enumerate(columns):
            if not column.sealed:
                continue
            collection, number, id_at = column.collection_number, column.field_number, column.id_at
            for row in rows:
                # Anything but a record is NULL, or SQL put it there itself.
                if type(record := row[at]) is bytes:
                    if type(row[id_at]) is not str:
                        raise _no_id(column)
                    self._items.append((collection, number, row[id_at], record))
                    self._places.append((row, at))

    def open(self, open_values: OpenValues) -> None:
        """Replace the records in their rows by plaintexts, still as msgpack."""
        if not self._items:
            return
        opened = open_values(self._items)
        if len(opened) != len(self._places):
            raise InvariantBroken(
                "open_mismatch",
                f"{len(self._places)} records gave {len(opened)} values.",
                fix="Report a bug.",
            )
        for (row, at), value in zip(self._places, opened, strict=True):
            row[at] = value


def convert(rows: list[Row], columns: Sequence[ResultColumn]) -> None:
    """Storage values to wire values, in place, after sealed ones were opened."""
    for at, column in enumerate(columns):
        if (to_wire := column.convert) is not None:
            for row in rows:
                if row[at] is not None:
                    row[at] = to_wire(row[at])


def _no_id(column: ResultColumn) -> InvalidRequest:
    return InvalidRequest(
        "sql_sealed",
        f"SQL: {column.table}.{column.column} is encrypted, and a row has no id to open it with.",
        fix="Select the id of the same row.",
    )
