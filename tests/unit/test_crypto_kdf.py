"""Key derivation against published vectors, and the bounds that a file cannot talk us out of."""

import hashlib
import time

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keepdb.crypto import kdf
from keepdb.errors import InvariantBroken, KeyringError

# RFC 5869, appendix A, test cases 1 to 3: secret, salt, info, length, output.
RFC5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]

LABELS = [
    kdf.FILE_LOG,
    kdf.FILE_STATE,
    kdf.FILE_SEARCH,
    kdf.AUDIT,
    kdf.ANCHOR,
    kdf.BACKUP,
    kdf.CACHE,
    kdf.KEYRING_KEK,
    kdf.KEYRING_MAC,
    kdf.SLOT_WRAP,
    kdf.SLOT_COMMITMENT,
]

REFUSED = [
    kdf.Argon2idCost(memory_kib=19 * 1024 - 1),
    kdf.Argon2idCost(memory_kib=1024 * 1024 + 1),
    kdf.Argon2idCost(iterations=1),
    kdf.Argon2idCost(iterations=11),
    kdf.Argon2idCost(lanes=0),
    kdf.Argon2idCost(lanes=9),
    kdf.Argon2idCost(memory_kib=-1),
    kdf.Pbkdf2Cost(iterations=599_999),
    kdf.Pbkdf2Cost(iterations=10_000_001),
]


@pytest.mark.parametrize(("secret", "salt", "info", "length", "expected"), RFC5869)
def test_hkdf_gives_the_outputs_of_rfc_5869(
    secret: str, salt: str, info: str, length: int, expected: str
) -> None:
    salt_bytes = bytes.fromhex(salt) or None
    found = kdf.hkdf_sha256(bytes.fromhex(secret), salt=salt_bytes, info=bytes.fromhex(info), length=length)

    assert found.hex() == expected


def test_every_label_and_context_gives_a_key_of_its_own() -> None:
    root = bytes(range(32))

    keys = {kdf.derive(root, label, context) for label in LABELS for context in (b"", b"1", b"\0")}

    assert len(keys) == 3 * len(LABELS)
    assert all(len(key) == 32 for key in keys)


def test_a_derived_key_never_changes_between_releases() -> None:
    """The page key of every existing log depends on it."""
    found = kdf.derive(bytes(range(32)), kdf.FILE_LOG)

    assert found.hex() == "0022f073388725cf10f10366fa8c169b4c87afe4ff64c777a6951297b3468023"


@pytest.mark.parametrize(("root", "label"), [(bytes(31), "audit"), (bytes(32), ""), (bytes(32), "a\0b")])
def test_deriving_from_a_short_key_or_under_an_impossible_label_breaks_an_invariant(
    root: bytes, label: str
) -> None:
    with pytest.raises(InvariantBroken):
        kdf.derive(root, label)


def test_pbkdf2_agrees_with_the_standard_library() -> None:
    expected = hashlib.pbkdf2_hmac("sha256", b"passphrase", b"s" * 32, 600_000, 32)

    assert kdf.stretch(b"passphrase", b"s" * 32, kdf.Pbkdf2Cost()) == expected


def test_argon2id_gives_the_output_of_rfc_9106_and_takes_its_cost_in_that_order() -> None:
    vector = Argon2id(
        salt=b"\x02" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        ad=b"\x04" * 12,
        secret=b"\x03" * 8,
    )
    expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    assert vector.derive(b"\x01" * 32).hex() == expected  # RFC 9106, section 5.3

    cost = kdf.Argon2idCost(memory_kib=20 * 1024, iterations=2, lanes=1)
    same = Argon2id(salt=b"s" * 32, length=32, iterations=2, lanes=1, memory_cost=20 * 1024)
    assert kdf.stretch(b"passphrase", b"s" * 32, cost) == same.derive(b"passphrase")


def test_the_default_costs_are_the_designed_ones() -> None:
    assert kdf.Argon2idCost(memory_kib=65_536, iterations=3, lanes=4) == kdf.ARGON2ID_DEFAULT
    assert kdf.Pbkdf2Cost().iterations == 600_000


@pytest.mark.parametrize("cost", REFUSED)
def test_a_cost_outside_of_its_bounds_is_refused_before_any_work(cost: kdf.Cost) -> None:
    started = time.monotonic()

    with pytest.raises(KeyringError) as caught:
        kdf.stretch(b"passphrase", b"s" * 32, cost)

    assert caught.value.code == "kdf_refused"
    # The cheapest of these would take 100 ms to derive, the refusal takes microseconds.
    assert time.monotonic() - started < 0.05
