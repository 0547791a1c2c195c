"""The cache's writing side on a disk that does not go along."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keepdb.cache.store import CacheStore
from keepdb.errors import StorageError

MIB = 1024 * 1024


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Writing past this many bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def pairs(count: int) -> list[tuple[bytes, bytes]]:
    return [(f"{number}".encode() * 8, bytes(20_000)) for number in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CacheStore]:
    made = CacheStore(tmp_path / "cache", 8 * MIB)
    yield made
    made.close()


def test_a_store_that_cannot_write_says_so_and_can_begin_anew(store: CacheStore) -> None:
    """Verifies: L10."""
    store.renew()
    with files_end_at(100_000), pytest.raises(StorageError) as caught:
        store.put(pairs(50))
    assert (caught.value.code, caught.value.retryable) == ("cache_unusable", True)

    store.renew()
    store.put(pairs(50))
    assert store.entries == 50


def test_a_cleared_store_is_closed_and_leaves_no_file(store: CacheStore, tmp_path: Path) -> None:
    path = store.renew()
    store.put(pairs(3))

    store.clear()

    assert (store.is_open, store.entries, store.bytes) == (False, 0, 0)
    assert list((tmp_path / "cache").iterdir()) == []
    assert store.renew() != path


def test_a_place_that_is_no_directory_is_told_by_code(store: CacheStore, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(StorageError) as caught:
        store.renew()
    assert caught.value.code == "cache_unusable"
    assert not store.is_open


def test_a_full_map_makes_room_for_new_entries(store: CacheStore) -> None:
    store.renew()
    for start in range(0, 1_000, 50):
        store.put([(f"{start}-{key!r}".encode(), value) for key, value in pairs(50)])
    assert store.evicted > 0
    assert store.is_open
