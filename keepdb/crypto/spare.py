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

#: Keys asked for at once: few for a subject that is seen for the first time, more for one that is written often. 256
#: cost the encryption actor 0.4 ms.
FIRST, MOST = 8, 256
#: Ids of data keys are given out in order, so those after a new one come next. A new subject's first event needs
#: one record for its body and one for each encrypted field.
AHEAD_IDS, AHEAD_KEYS = 16, 4
#: Keys in one answer: 70 bytes each on the wire.
ANSWER_MAX = 4_096
#: Subjects with keys kept; past that the longest known are dropped, and asked for again when needed.
SUBJECTS_MAX = 2_048


class SpareKeys:
    """Record keys by the id of their data key; each seals once. db_id: part of what a record is bound to."""

    def __init__(self, db_id: bytes) -> None:
        self._db_id = db_id
        self._keys: dict[int, list[RecordKey]] = {}
        self._asked: dict[int, int] = {}

    def seal(self, items: Sequence[SealItem]) -> list[bytes] | None:
        """Records in the order of the items; None, and no key is used, if there are not keys for all of them."""
        for key_id, needed in Counter([item[0] for item in items]).items():
            if len(self._keys.get(key_id, ())) < needed:
                return None
        return [seal_record(self._db_id, self._keys[item[0]].pop(), item) for item in items]

    def wanted(self, items: Iterable[SealItem]) -> tuple[tuple[int, int], ...]:
        """What to ask for when `seal` gave None: (id of a data key, number of record keys)."""
        counts: dict[int, int] = {}
        for key_id in {item[0] for item in items}:
            if sum(counts.values()) >= ANSWER_MAX - MOST - AHEAD_IDS * AHEAD_KEYS:
                break
            if key_id not in self._asked:
                ahead = range(key_id + 1, key_id + 1 + AHEAD_IDS)
                counts.update((other, AHEAD_KEYS) for other in ahead if other not in self._asked)
            counts[key_id] = min(MOST, max(FIRST, 2 * self._asked.get(key_id, 0)))
        return tuple(counts.items())

    def put(self, made: Iterable[RecordKey]) -> None:
        """Keep what the encryption actor gave."""
        given = Counter[int]()
        for key in made:
            given[key[0]] += 1
            self._keys.setdefault(key[0], []).append(key)
        self._asked.update(given)
        for key_id in list(self._asked)[: max(0, len(self._asked) - SUBJECTS_MAX)]:
            del self._asked[key_id]
            self._keys.pop(key_id, None)
