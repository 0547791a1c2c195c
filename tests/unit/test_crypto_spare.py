"""Record keys made ahead: they seal like the encryption actor does, each once, and never run into a wrong subject."""

import random
from pathlib import Path

import pytest
from test_crypto_sealing import open_store

from keepdb.crypto.sealing import Sealer, key_id_of
from keepdb.crypto.spare import (
    AHEAD_IDS,
    AHEAD_KEYS,
    ANSWER_MAX,
    FIRST,
    MOST,
    TOTAL_MAX,
    RecordKey,
    SealItem,
    SpareKeys,
)
from keepdb.errors import InvalidRequest

DB = b"d" * 16


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    store = open_store(tmp_path, pool_keys=64)
    return Sealer(DB, store)


def items(*key_ids: int) -> list[SealItem]:
    return [(key_id, 7, 2, f"row-{at}", b"hello %d" % at) for at, key_id in enumerate(key_ids)]


def made(key_id: int, count: int) -> list[RecordKey]:
    return [(key_id, b"s" * 24, bytes([at % 256]) * 32) for at in range(count)]


def test_a_record_sealed_with_a_spare_key_opens_like_any_other(sealer: Sealer) -> None:
    """Verifies: L4"""
    spare = SpareKeys(DB)
    spare.put(sealer.record_keys([(1, 2), (3, 1)]))

    records = spare.seal(items(1, 3, 1))

    assert records is not None
    assert [key_id_of(record) for record in records] == [1, 3, 1]
    for (_, collection, field, row, plaintext), record in zip(items(1, 3, 1), records, strict=True):
        assert sealer.open(collection, field, row, record) == plaintext


def test_each_key_seals_one_record(sealer: Sealer) -> None:
    spare = SpareKeys(DB)
    spare.put(sealer.record_keys([(1, 3)]))

    records = [*(spare.seal(items(1)) or []), *(spare.seal(items(1, 1)) or [])]

    assert len({record[6:30] for record in records}) == 3, "three salts, so three keys"
    assert spare.seal(items(1)) is None


def test_keys_are_not_used_up_by_a_batch_they_do_not_suffice_for(sealer: Sealer) -> None:
    spare = SpareKeys(DB)
    spare.put(sealer.record_keys([(1, 1)]))

    assert spare.seal(items(1, 2)) is None
    assert spare.seal(items(1)) is not None


def test_only_subjects_that_lack_keys_get_more_and_twice_as_many_each_time() -> None:
    spare = SpareKeys(DB)
    spare.put(made(9, 5))
    counts = []
    for _ in range(8):
        wanted = dict(spare.wanted(items(5, 9), 100))
        assert 9 not in wanted
        counts.append(wanted[5])
        spare.put(made(5, wanted[5]))
        while spare.seal(items(5)):
            pass
    assert counts == [FIRST, 16, 32, 64, 128, MOST, MOST, MOST]


def test_the_data_keys_that_come_next_get_some_before_they_have_a_subject() -> None:
    spare = SpareKeys(DB)
    first = dict(spare.wanted(items(5), 6))
    assert first == {5: FIRST, **dict.fromkeys(range(6, 6 + AHEAD_IDS), AHEAD_KEYS)}

    spare.put([key for key_id, count in first.items() for key in made(key_id, count)])
    assert set(dict(spare.wanted(items(*[5] * 9), 8))) == {5, 6 + AHEAD_IDS, 7 + AHEAD_IDS}


def test_after_an_ask_the_same_group_seals_without_one_and_what_is_kept_is_bounded() -> None:
    """Verifies: L8"""
    spare, chance = SpareKeys(DB), random.Random(1)
    asks = 0
    for _ in range(2_000):
        group = items(*(chance.randrange(1, 60) for _ in range(chance.randrange(1, 40))))
        if spare.seal(group) is not None:
            continue
        asks += 1
        wanted = spare.wanted(group, 60)
        assert 0 < sum(count for _, count in wanted) <= ANSWER_MAX
        spare.put(key for key_id, count in wanted for key in made(key_id, count))
        assert len(spare) <= TOTAL_MAX
        assert spare.seal(group) is not None
    assert asks < 400, "most groups need none"


def test_the_subjects_not_written_for_longest_are_dropped_first() -> None:
    """Verifies: L8"""
    spare = SpareKeys(DB)
    subjects = TOTAL_MAX // MOST
    for key_id in range(1, subjects + 1):
        spare.put(made(key_id, MOST))
    assert spare.seal(items(1)) is not None
    spare.put(made(subjects + 1, MOST))

    assert len(spare) <= TOTAL_MAX
    assert spare.seal(items(2)) is None
    assert spare.seal(items(1, 3, subjects + 1)) is not None


def test_a_place_that_cannot_be_is_refused(sealer: Sealer) -> None:
    spare = SpareKeys(DB)
    spare.put(sealer.record_keys([(1, 1)]))
    with pytest.raises(InvalidRequest) as refused:
        spare.seal([(1, 2**32, 0, "row", b"")])
    assert refused.value.code == "seal_place_invalid"
