"""Slots and the recovery code: who gets to ROOT, who does not, and what a mistake is called."""

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepdb.crypto import kdf, recovery, slots
from keepdb.crypto.slots import Secrets, Slot, SlotKind
from keepdb.errors import KeyringError

ROOT = bytes(range(32))
DB_ID = b"d" * 16
KEYCHAIN = b"k" * 32
CHEAP = kdf.Argon2idCost(memory_kib=19 * 1024, iterations=2, lanes=1)


class FixedClock:
    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic(self) -> float:
        return 0.0


def keychain_slot() -> Slot:
    return slots.make_slot(
        "keychain",
        KEYCHAIN,
        ROOT,
        DB_ID,
        FixedClock(),
        random.Random(1).randbytes,
        cost=kdf.HkdfCost(),
        note="gnome_libsecret",
    )


@pytest.mark.parametrize(
    ("kind", "secret", "cost"),
    [
        ("passphrase", b"correct horse", CHEAP),
        ("passphrase", b"correct horse", kdf.Pbkdf2Cost()),
        ("keychain", KEYCHAIN, kdf.HkdfCost()),
        ("recovery", b"r" * 20, kdf.HkdfCost()),
    ],
)
def test_a_slot_of_each_kind_opens_with_its_secret_and_with_no_other(
    kind: SlotKind, secret: bytes, cost: kdf.Cost
) -> None:
    slot = slots.make_slot(kind, secret, ROOT, DB_ID, FixedClock(), random.Random(1).randbytes, cost=cost)

    assert slots.open_slot(slot, secret, DB_ID) == ROOT
    assert slots.open_slot(slot, secret + b"x", DB_ID) is None
    assert slots.open_slot(slot, secret, b"e" * 16) is None
    assert slot.created_ms == 1_700_000_000_000
    assert ROOT not in msgspec.json.encode(slot)


def test_the_key_commitment_is_checked_although_the_wrapping_itself_would_open() -> None:
    """The wrapping is made again over the false commitment, so only the comparison can refuse it."""
    slot = keychain_slot()
    false = msgspec.structs.replace(slot, commitment=bytes(32))
    material = kdf.stretch(KEYCHAIN, slot.salt, slot.kdf)
    aad = slots._slot_aad(false, DB_ID)
    key = kdf.derive(material, kdf.SLOT_WRAP, DB_ID)
    false = msgspec.structs.replace(false, wrapped=slots.wrap(key, b"n" * 12, ROOT, aad))

    assert slots.unwrap(key, false.wrapped, aad) == ROOT
    assert slots.open_slot(false, KEYCHAIN, DB_ID) is None


@pytest.mark.parametrize(
    "alter",
    [
        lambda slot: msgspec.structs.replace(slot, id="00000000"),
        lambda slot: msgspec.structs.replace(slot, kind="recovery"),
        lambda slot: msgspec.structs.replace(slot, created_ms=slot.created_ms + 1),
        lambda slot: msgspec.structs.replace(slot, note="basic_text"),
        lambda slot: msgspec.structs.replace(slot, salt=bytes(32)),
        lambda slot: msgspec.structs.replace(slot, wrapped=bytes(60)),
    ],
)
def test_a_slot_does_not_open_once_any_part_of_it_was_altered(alter: Callable[[Slot], Slot]) -> None:
    assert slots.open_slot(alter(keychain_slot()), KEYCHAIN, DB_ID) is None


@pytest.mark.parametrize(
    ("kind", "cost"),
    [
        ("passphrase", kdf.HkdfCost()),
        ("passphrase", kdf.Argon2idCost(memory_kib=8, iterations=1, lanes=1)),
        ("passphrase", kdf.Pbkdf2Cost(iterations=1)),
        ("keychain", kdf.Pbkdf2Cost()),
    ],
)
def test_a_downgraded_key_derivation_is_refused_on_reading_and_on_making(
    kind: SlotKind, cost: kdf.Cost
) -> None:
    downgraded = msgspec.structs.replace(keychain_slot(), kind=kind, kdf=cost)

    with pytest.raises(KeyringError) as reading:
        slots.open_slot(downgraded, KEYCHAIN, DB_ID)
    with pytest.raises(KeyringError) as making:
        slots.make_slot(kind, KEYCHAIN, ROOT, DB_ID, FixedClock(), random.Random(1).randbytes, cost=cost)

    assert reading.value.code == making.value.code == "kdf_refused"


def test_printing_secrets_shows_which_kinds_were_given_and_nothing_more() -> None:
    """Verifies: L4"""
    secrets = Secrets(passphrase="hunter2", keychain=b"canary-bytes" * 3, recovery="CANARY")

    shown = f"{secrets} {secrets!r} {[secrets]} {list(secrets.__rich_repr__())}"

    assert "hunter2" not in shown
    assert "canary" not in shown.lower()
    assert "keychain" in shown


def test_errors_about_a_secret_do_not_quote_it() -> None:
    """Verifies: L4"""
    cases: list[tuple[Secrets, SlotKind]] = [
        (Secrets(passphrase="canary\ud800"), "passphrase"),
        (Secrets(passphrase="canary" * 1000), "passphrase"),
        (Secrets(passphrase=""), "passphrase"),
        (Secrets(keychain=b"canary"), "keychain"),
        (Secrets(recovery="CANARY"), "recovery"),
    ]
    for secrets, kind in cases:
        with pytest.raises(KeyringError) as caught:
            slots.secret_bytes(secrets, kind)

        assert caught.value.code in ("secret_unusable", "recovery_code_mistyped")
        assert "canary" not in str(caught.value).lower()
        assert caught.value.__cause__ is None


def test_a_passphrase_typed_with_a_combining_accent_is_the_same_passphrase() -> None:
    composed = slots.secret_bytes(Secrets(passphrase="caf\u00e9"), "passphrase")
    combining = slots.secret_bytes(Secrets(passphrase="cafe\u0301"), "passphrase")

    assert composed == combining


def test_a_recovery_code_is_shown_in_groups_with_two_check_letters() -> None:
    code = recovery.format_code(bytes(range(20)))

    assert [len(group) for group in code.split("-")] == [4] * 8 + [2]
    assert not set(code) & set("ILOU")


@given(st.binary(min_size=20, max_size=20))
def test_a_recovery_code_reads_back_however_it_is_written(secret: bytes) -> None:
    code = recovery.format_code(secret)
    sloppy = " " + code.lower().replace("-", "  ").replace("0", "o").replace("1", "l") + "\n"

    assert recovery.parse_code(code) == secret
    assert recovery.parse_code(sloppy) == secret


def test_every_single_wrong_letter_and_every_swap_of_neighbours_is_called_a_typo() -> None:
    letters = recovery.format_code(random.Random(3).randbytes(20)).replace("-", "")
    wrong = {
        letters[:at] + other + letters[at + 1 :]
        for at in range(len(letters))
        for other in "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    }
    wrong |= {
        letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :] for at in range(len(letters) - 1)
    }
    wrong.discard(letters)

    for text in sorted(wrong):
        with pytest.raises(KeyringError, match="recovery_code_mistyped"):
            recovery.parse_code(text)
    assert len(wrong) > 1000


@pytest.mark.parametrize("text", ["", "ABCD", "U" * 34, "0" * 35, "é" * 34, "0" * 100_000])
def test_a_text_that_is_no_recovery_code_is_called_mistyped(text: str) -> None:
    with pytest.raises(KeyringError, match="recovery_code_mistyped"):
        recovery.parse_code(text)


def test_a_keychain_that_protects_nothing_is_refused_unless_a_passphrase_is_given() -> None:
    with pytest.raises(KeyringError, match="basic_text"):
        slots.refuse_unprotected_keychain(Secrets(keychain=KEYCHAIN), "basic_text")

    slots.refuse_unprotected_keychain(Secrets(keychain=KEYCHAIN, passphrase="p"), "basic_text")
    slots.refuse_unprotected_keychain(Secrets(keychain=KEYCHAIN), "kwallet6")
