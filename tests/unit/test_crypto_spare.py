"""Record keys made ahead: they seal like the encryption actor does, each once, and never run into a wrong subject."""

from pathlib import Path

import pytest
from test_crypto_sealing import open_store

from keepdb.crypto.sealing import Sealer, key_id_of
from keepdb.crypto.spare import (
    AHEAD_IDS,
    ANSWER_MAX,
    FIRST,
    MOST,
    SUBJECTS_MAX,
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


def test_a_new_subject_brings_keys_for_those_that_come_next_and_a_busy_one_gets_more_each_time() -> None:
    spare = SpareKeys(DB)
    first = dict(spare.wanted(items(5)))
    assert first[5] == FIRST
    assert set(first) == {5, *range(6, 6 + AHEAD_IDS)}

    counts = []
    for _ in range(8):
        wanted = dict(spare.wanted(items(5)))
        counts.append(wanted[5])
        spare.put(made(5, wanted[5]))
    assert counts == sorted(counts)
    assert counts[-1] == MOST


def test_what_is_asked_for_and_what_is_kept_are_bounded() -> None:
    """Verifies: L8"""
    spare = SpareKeys(DB)
    assert sum(count for _, count in spare.wanted(items(*range(1, 100_000, 40)))) <= ANSWER_MAX

    for key_id in range(1, SUBJECTS_MAX + 10):
        spare.put(made(key_id, 1))
    assert spare.seal(items(1)) is None, "the longest known was dropped"
    assert spare.seal(items(SUBJECTS_MAX)) is not None


def test_a_place_that_cannot_be_is_refused(sealer: Sealer) -> None:
    spare = SpareKeys(DB)
    spare.put(sealer.record_keys([(1, 1)]))
    with pytest.raises(InvalidRequest) as refused:
        spare.seal([(1, 2**32, 0, "row", b"")])
    assert refused.value.code == "seal_place_invalid"
