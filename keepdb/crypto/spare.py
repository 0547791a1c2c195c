"""Record keys made ahead, so that a commit need not wait for the encryption actor: two hops between processes
cost more than the rest of a commit.

A record has a key of its own, so the encryption actor can hand out the keys of records that do not exist yet. Such a
key opens the one record its holder is about to make from a plaintext it already has; data keys stay where they are.
docs/decisions/0014-record-keys-ahead.md.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from keepdb.crypto.sealing import seal_record

#: (key id, collection number, field number, row id, plaintext).
SealItem = tuple[int, int, int, str, bytes]
#: (key id, salt, record key).
RecordKey = tuple[int, bytes, bytes]

#: Keys for a subject that runs out: few the first time, twice as many each time after. 256 cost the encryption actor
#: 0.4 ms.
FIRST, MOST = 8, 256
#: Data keys that no subject has yet are given out in order. A new subject's first event needs one record for its body
#: and one for each encrypted field.
AHEAD_IDS, AHEAD_KEYS = 16, 4
#: Keys in one answer (70 bytes each on the wire), and keys kept in all: 3 MB.
ANSWER_MAX, TOTAL_MAX = 4_096, 16_384


class _Pool:
    """Keys of one subject. asked: how many it was given last."""

    __slots__ = ("asked", "keys")

    def __init__(self) -> None:
        self.asked = 0
        self.keys: list[RecordKey] = []


class SpareKeys:
    """Record keys by the id of their data key; each seals once. db_id: part of what a record is bound to."""

    def __init__(self, db_id: bytes) -> None:
        self._db_id = db_id
        #: Least recently used first.
        self._pools: dict[int, _Pool] = {}
        self._total = 0

    def __len__(self) -> int:
        """Number of keys kept."""
        return self._total

    def seal(self, items: Sequence[SealItem]) -> list[bytes] | None:
        """Records in the order of the items; None, and no key is used, if there are not keys for all of them."""
        if self._lacking(items):
            return None
        for key_id in dict.fromkeys(item[0] for item in items):
            self._pools[key_id] = self._pools.pop(key_id)
        self._total -= len(items)
        return [seal_record(self._db_id, self._pools[item[0]].keys.pop(), item) for item in items]

    def wanted(self, items: Sequence[SealItem], new_from: int) -> tuple[tuple[int, int], ...]:
        """What to ask for when `seal` gave None: (id of a data key, number of record keys), for subjects that lack
        keys and for the next new ones. new_from: the first data key that no subject has."""
        counts: dict[int, int] = {}
        room = ANSWER_MAX
        for key_id in self._lacking(items):
            pool = self._pools.get(key_id)
            counts[key_id] = min(FIRST if pool is None else 2 * pool.asked, MOST, room)
            room -= counts[key_id]
        for key_id in range(new_from, new_from + AHEAD_IDS):
            if key_id not in self._pools and key_id not in counts:
                counts[key_id] = min(AHEAD_KEYS, room)
                room -= counts[key_id]
        return tuple((key_id, count) for key_id, count in counts.items() if count)

    def put(self, made: Iterable[RecordKey]) -> None:
        """Keep what the encryption actor gave; drop the keys of subjects that were not written for longest."""
        given = Counter[int]()
        for key in made:
            pool = self._pools.get(key[0]) or self._pools.setdefault(key[0], _Pool())
            pool.keys.append(key)
            given[key[0]] += 1
        for key_id, count in given.items():
            self._pools[key_id].asked = count
        self._total += given.total()
        while self._total > TOTAL_MAX:
            self.drop(next(iter(self._pools)))

    def drop(self, key_id: int) -> None:
        """Forget the keys of one subject."""
        pool = self._pools.pop(key_id, None)
        if pool is not None:
            self._total -= len(pool.keys)

    def _lacking(self, items: Sequence[SealItem]) -> list[int]:
        """Data keys for which there are fewer record keys than the items need."""
        needed = Counter([item[0] for item in items])
        return [
            key_id
            for key_id, count in needed.items()
            if (pool := self._pools.get(key_id)) is None or len(pool.keys) < count
        ]
