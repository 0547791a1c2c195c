"""Asking the encryption actor, in pieces that fit a frame: the one way to seal and open values from elsewhere.

A group of commits or a slice of the log may hold far more bytes than one frame may have; past that size the
socket would drop the connection, and the ask would be repeated in vain.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from keepdb.crypto.spare import SealItem, SpareKeys
from keepdb.fabric.ref import RemoteRef
from messages.sealing import Open, Opened, Seal, Sealed

OpenItem = tuple[int, int, str, bytes]
Item = TypeVar("Item", SealItem, OpenItem)

#: Bytes of values in one ask: far below the largest frame, and some milliseconds of the actor's time.
PIECE_BYTES = 1024 * 1024
#: Values in one ask; each costs some bytes of its own.
PIECE_ITEMS = 4_096


class Vault:
    """Opens values. ref: gives the reference to the encryption actor; what its ask raises, is raised here."""

    def __init__(self, ref: Callable[[], RemoteRef]) -> None:
        self._ref = ref

    def open(self, items: Sequence[OpenItem], timeout: float) -> Opened:
        """Opened values in the order of the items, see messages/sealing.py. timeout: seconds for each piece."""
        values: list[bytes | None] = []
        damaged: list[int] = []
        for piece in _pieces(items):
            answer = self._ref().ask(Open(items=tuple(piece)), Opened, timeout=timeout)
            damaged += [len(values) + index for index in answer.damaged]
            values += answer.values
        return Opened(values=tuple(values), damaged=tuple(damaged))


class SealingVault(Vault):
    """Seals, too: with record keys made ahead while there are some, else by asking."""

    def __init__(self, ref: Callable[[], RemoteRef], spare: SpareKeys) -> None:
        super().__init__(ref)
        self._spare = spare

    def seal(self, items: Sequence[SealItem], new_from: int, timeout: float) -> tuple[bytes, ...]:
        """Sealed records in the order of the items. new_from: the first data key that no subject has. timeout:
        seconds for each piece."""
        records: list[bytes] = []
        for piece in _pieces(items):
            records += self._spare.seal(piece) or self._ask(piece, new_from, timeout)
        return tuple(records)

    def _ask(self, piece: list[SealItem], new_from: int, timeout: float) -> Sequence[bytes]:
        wanted = self._spare.wanted(piece, new_from)
        sealed = self._ref().ask(Seal(items=tuple(piece), spare=wanted), Sealed, timeout=timeout)
        self._spare.put(sealed.spare)
        return sealed.records


def _pieces(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Runs of items that fit one ask; the value is the last part of an item."""
    piece: list[Item] = []
    size = 0
    for item in items:
        size += len(item[-1])
        if piece and (size > PIECE_BYTES or len(piece) >= PIECE_ITEMS):
            yield piece
            piece, size = [], len(item[-1])
        piece.append(item)
    if piece:
        yield piece
