"""Sealed records: what comes back, what is refused, and that strangers can make them from docs/formats.md."""

import os
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from keepdb.clock import SystemClock
from keepdb.crypto import kdf, keyring
from keepdb.crypto.keyring import KeyStore
from keepdb.crypto.sealing import OVERHEAD_BYTES, Damaged, Erased, Sealer, key_id_of
from keepdb.crypto.slots import Secrets
from keepdb.errors import InvalidRequest, KeyringError

FORMATS = Path(__file__).parents[2] / "docs" / "formats.md"
U32 = st.integers(0, 2**32 - 1)
ROW = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def open_store(directory: Path, *, pool_keys: int = 8, seed: int = 9) -> KeyStore:
    path = directory / f"keyring.{seed}.json"
    unlocked, _ = keyring.create(
        path,
        Secrets(keychain=b"k" * 32),
        SystemClock(),
        random.Random(seed).randbytes,
        pool_keys=pool_keys,
    )
    kek = kdf.derive(unlocked.root, kdf.KEYRING_KEK)
    return keyring.open_keys(path, kek, kdf.derive(unlocked.root, kdf.KEYRING_MAC))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KeyStore:
    return open_store(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def sealer(store: KeyStore) -> Sealer:
    return Sealer(store.db_id, store)


@given(key_id=st.integers(1, 8), collection=U32, field=U32, row=ROW, plaintext=st.binary(max_size=2000))
def test_what_was_sealed_opens_in_its_place(
    sealer: Sealer, key_id: int, collection: int, field: int, row: str, plaintext: bytes
) -> None:
    record = sealer.seal(key_id, collection, field, row, plaintext)

    assert sealer.open(collection, field, row, record) == plaintext
    assert key_id_of(record) == key_id
    assert len(record) == len(plaintext) + OVERHEAD_BYTES


@given(sealed=st.tuples(U32, U32, ROW), opened=st.tuples(U32, U32, ROW))
def test_a_record_opens_in_no_other_place(
    sealer: Sealer, sealed: tuple[int, int, str], opened: tuple[int, int, str]
) -> None:
    record = sealer.seal(1, *sealed, b"content")

    if sealed == opened:
        assert sealer.open(*opened, record) == b"content"
    else:
        with pytest.raises(Damaged):
            sealer.open(*opened, record)


@pytest.mark.parametrize(
    "place", [(2, 1, "r1"), (1, 1, "r1"), (2, 2, "r1"), (1, 2, "r2"), (1, 2, ""), (1, 2, "r11")]
)
def test_swapped_or_changed_parts_of_the_place_are_refused(
    sealer: Sealer, place: tuple[int, int, str]
) -> None:
    record = sealer.seal(1, 1, 2, "r1", b"content")

    with pytest.raises(Damaged):
        sealer.open(*place, record)


def test_a_record_of_another_database_with_the_same_key_is_refused(store: KeyStore) -> None:
    record = Sealer(b"other database!!", store).seal(1, 1, 1, "r", b"content")

    with pytest.raises(Damaged):
        Sealer(store.db_id, store).open(1, 1, "r", record)


def test_every_flipped_bit_and_every_cut_of_a_record_is_noticed(sealer: Sealer) -> None:
    """Verifies: L10"""
    record = sealer.seal(3, 1, 2, "row", b"some content")

    for at in range(len(record) * 8):
        flipped = bytearray(record)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Damaged):
            sealer.open(1, 2, "row", bytes(flipped))
    for length in range(len(record)):
        with pytest.raises(Damaged):
            sealer.open(1, 2, "row", record[:length])
    with pytest.raises(Damaged):
        sealer.open(1, 2, "row", record + b"\0")


def test_a_batch_answers_in_order_and_tells_erased_from_damaged(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sealer = Sealer(store.db_id, store)
    items = [(1 + n % 3, 7, n, f"row{n}", b"plaintext %d" % n) for n in range(9)]
    records = sealer.seal_many(items)
    records[4] = records[4][:-1] + bytes([records[4][-1] ^ 1])
    opened = [(7, n, f"row{n}", records[n]) for n in range(9)]

    store.destroy(3)
    values, damaged = sealer.open_many(opened)

    assert damaged == [4]
    assert values == [None if n % 3 == 2 or n == 4 else b"plaintext %d" % n for n in range(9)]
    assert sealer.open_many([]) == ([], [])
    assert sealer.seal_many([]) == []


def test_a_sealer_that_used_a_key_before_cannot_use_it_after_its_destruction(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sealer = Sealer(store.db_id, store)
    record = sealer.seal(2, 1, 1, "r", b"content")
    assert sealer.open(1, 1, "r", record) == b"content"

    store.destroy(2)

    with pytest.raises(Erased):
        sealer.open(1, 1, "r", record)
    with pytest.raises(Erased):
        sealer.seal(2, 1, 1, "r", b"content")


def test_a_sealer_uses_new_keys_as_soon_as_the_pool_has_them(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sealer = Sealer(store.db_id, store)
    with pytest.raises(KeyringError, match="key_unknown"):
        sealer.seal(9, 1, 1, "r", b"content")

    store.extend(10)

    assert sealer.open(1, 1, "r", sealer.seal(9, 1, 1, "r", b"content")) == b"content"


def test_more_keys_in_use_than_are_held_ready_still_serve(tmp_path: Path) -> None:
    store = open_store(tmp_path, pool_keys=5000)
    sealer = Sealer(store.db_id, store)

    records = sealer.seal_many([(key_id, 1, 1, "r", b"%d" % key_id) for key_id in range(1, 5001)])

    values, damaged = sealer.open_many([(1, 1, "r", record) for record in records])
    assert values == [b"%d" % key_id for key_id in range(1, 5001)]
    assert damaged == []


@pytest.mark.parametrize("place", [(-1, 0, "r"), (2**32, 0, "r"), (0, 2**32, "r"), (0, 0, "\ud800")])
def test_a_place_that_cannot_exist_is_an_invalid_request(sealer: Sealer, place: tuple[int, int, str]) -> None:
    record = sealer.seal(1, 0, 0, "r", b"")

    with pytest.raises(InvalidRequest, match="seal_place_invalid"):
        sealer.seal(1, *place, b"")
    with pytest.raises(InvalidRequest, match="seal_place_invalid"):
        sealer.open(*place, record)


def test_the_same_plaintext_never_gives_the_same_record(sealer: Sealer) -> None:
    records = sealer.seal_many([(1, 1, 1, "r", b"same")] * 1000)

    assert len({record[6:30] for record in records}) == 1000
    assert len({record[30:] for record in records}) == 1000


def test_a_record_made_with_other_tools_after_the_document_opens(sealer: Sealer, store: KeyStore) -> None:
    data_key = store.get(5)
    assert data_key is not None
    head, salt = bytes.fromhex("010100000005"), os.urandom(24)
    key = HKDFExpand(SHA256(), 32, b"keepdb rec1" + bytes.fromhex("00000005") + salt).derive(data_key)
    aad = store.db_id + bytes.fromhex("0000000700000002") + "zeile ä".encode()
    record = head + salt + AESGCM(key).encrypt(bytes(12), b"content", aad)

    assert sealer.open(7, 2, "zeile ä", record) == b"content"


def test_the_worked_example_of_the_document_is_what_we_make(tmp_path: Path) -> None:
    """Data key 000102…1f as key 1, a database id of sixteen 0xdd, a salt of twenty-four 0x55."""
    store = open_store(tmp_path)
    kek = store._kek
    wrapped = AESGCM(kek).encrypt(bytes(12), bytes(range(32)), store.db_id + bytes.fromhex("00000001"))
    store._keys = (bytes(12) + wrapped, *store._keys[1:])
    sealer = Sealer(b"\xdd" * 16, store, random=lambda count: b"\x55" * count)

    record = sealer.seal(1, 7, 2, "row-1", b"hello")

    assert record.hex() in FORMATS.read_text().replace("\n", "").replace(" ", "")
    assert sealer.open(7, 2, "row-1", record) == b"hello"
