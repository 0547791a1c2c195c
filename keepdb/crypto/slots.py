"""Slots: the ways to ROOT. Each wraps the same 32 bytes under another secret, so a forgotten passphrase or a
lost keychain costs one slot and not the data.
"""

import hmac
import unicodedata
from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepdb.clock import Clock
from keepdb.crypto import kdf, recovery
from keepdb.errors import KeyringError

# How many random bytes to give; os.urandom outside of tests.
Random = Callable[[int], bytes]
SlotKind = Literal["passphrase", "keychain", "recovery"]

ROOT_BYTES: Final = 32
NONCE_BYTES: Final = 12
WRAPPED_BYTES: Final = NONCE_BYTES + 32 + 16
_SLOT_ID_BYTES: Final = 4
_KEYCHAIN_BYTES: Final = (32, 1024)
# Above any sentence a person types; keeps a pasted file out of the key derivation.
_PASSPHRASE_BYTES_MAX: Final = 4096
_NOTE_MAX: Final = 200
# What Electron calls safeStorage on a Linux without a keychain: a fixed password, known to everybody.
_UNPROTECTED_BACKEND: Final = "basic_text"

Exactly32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Wrapped = Annotated[bytes, msgspec.Meta(min_length=WRAPPED_BYTES, max_length=WRAPPED_BYTES)]


class Secrets(msgspec.Struct, frozen=True):
    """What the user or the app brought along. None means not given; printing it shows no secret.

    keychain: 32 or more random bytes that the app keeps with the system (Electron safeStorage).
    """

    passphrase: str | None = None
    keychain: bytes | None = None
    recovery: str | None = None

    def given(self) -> tuple[SlotKind, ...]:
        """The kinds given, cheapest to try first: a keychain that opens spares the passphrase's Argon2id."""
        kinds: tuple[SlotKind, ...] = ("keychain", "recovery", "passphrase")
        return tuple(kind for kind in kinds if getattr(self, kind) is not None)

    def __repr__(self) -> str:
        return f"Secrets(given={self.given()!r})"

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]
        yield "given", self.given()


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to ROOT, as it stands in the keyring file.

    created_ms: ms since the Unix epoch, UTC. note: free text, e.g. the safeStorage backend. commitment: 32
    bytes that depend on the secret alone and are compared before decryption, since AES-GCM does not commit to
    its key. wrapped: nonce 12 | ciphertext 32 | tag 16.
    """

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$")]
    kind: SlotKind
    created_ms: int
    note: Annotated[str, msgspec.Meta(max_length=_NOTE_MAX)]
    kdf: kdf.Cost
    salt: Exactly32
    commitment: Exactly32
    wrapped: Wrapped


def make_slot(
    kind: SlotKind,
    secret: bytes,
    root: bytes,
    db_id: bytes,
    clock: Clock,
    random: Random,
    *,
    cost: kdf.Cost,
    note: str = "",
) -> Slot:
    """Wrap ROOT (32 bytes) under `secret` (see secret_bytes) in a new slot of the database `db_id` (16
    bytes).
    """
    _check_cost_of_kind(kind, cost)
    salt = random(kdf.SALT_BYTES)
    material = kdf.stretch(secret, salt, cost)
    slot = Slot(
        id=random(_SLOT_ID_BYTES).hex(),
        kind=kind,
        created_ms=clock.now_ms(),
        note=note[:_NOTE_MAX],
        kdf=cost,
        salt=salt,
        commitment=kdf.derive(material, kdf.SLOT_COMMITMENT, db_id),
        wrapped=bytes(WRAPPED_BYTES),
    )
    key = kdf.derive(material, kdf.SLOT_WRAP, db_id)
    wrapped = wrap(key, random(NONCE_BYTES), root, _slot_aad(slot, db_id))
    return msgspec.structs.replace(slot, wrapped=wrapped)


def open_slot(slot: Slot, secret: bytes, db_id: bytes) -> bytes | None:
    """ROOT, or None where this secret does not open the slot. KeyringError `kdf_refused` before any
    derivation.
    """
    _check_cost_of_kind(slot.kind, slot.kdf)
    material = kdf.stretch(secret, slot.salt, slot.kdf)
    if not hmac.compare_digest(kdf.derive(material, kdf.SLOT_COMMITMENT, db_id), slot.commitment):
        return None
    return unwrap(kdf.derive(material, kdf.SLOT_WRAP, db_id), slot.wrapped, _slot_aad(slot, db_id))


def secret_bytes(secrets: Secrets, kind: SlotKind) -> bytes:
    """The given secret of one kind as bytes. KeyringError `secret_unusable` or `recovery_code_mistyped`.

    A passphrase is taken in Unicode form NFC (RFC 8265 section 4.2), because keyboards differ in how they
    make an é.
    """
    if kind == "passphrase":
        return _passphrase_bytes(secrets.passphrase or "")
    if kind == "recovery":
        return recovery.parse_code(secrets.recovery or "")
    keychain = secrets.keychain or b""
    low, high = _KEYCHAIN_BYTES
    if not low <= len(keychain) <= high:
        raise _unusable(f"The keychain secret has {len(keychain)} bytes; allowed is {low} to {high}.")
    return keychain


def refuse_unprotected_keychain(secrets: Secrets, note: str) -> None:
    """A keychain that protects nothing may not be the only everyday way in."""
    if secrets.keychain is not None and secrets.passphrase is None and note == _UNPROTECTED_BACKEND:
        raise _unusable(
            f"The keychain secret comes from the backend {_UNPROTECTED_BACKEND!r}, which every program "
            "on this machine can read, and no passphrase was given.",
            fix="Install a keychain service (GNOME Keyring, KWallet), or give a passphrase as well.",
        )


def wrap(key: bytes, nonce: bytes, secret: bytes, aad: bytes) -> bytes:
    """nonce | AES-256-GCM ciphertext and tag (NIST SP 800-38D). The nonce must be fresh: 12 random bytes."""
    return nonce + AESGCM(key).encrypt(nonce, secret, aad)


def unwrap(key: bytes, wrapped: bytes, aad: bytes) -> bytes | None:
    """The inverse of wrap; None where key, bytes or aad are not those of the wrapping."""
    try:
        return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], aad)
    except InvalidTag:
        return None


def _slot_aad(slot: Slot, db_id: bytes) -> bytes:
    bound = (slot.id, slot.kind, slot.created_ms, slot.note, slot.kdf, slot.salt, slot.commitment)
    return db_id + msgspec.json.encode(bound)


def _check_cost_of_kind(kind: SlotKind, cost: kdf.Cost) -> None:
    # Bounds alone would let an altered file ask for a passphrase under bare HKDF.
    if (kind == "passphrase") == isinstance(cost, kdf.HkdfCost):
        raise KeyringError(
            "kdf_refused",
            f"A {kind} slot names a key derivation that is not for this kind of secret.",
            fix="The keyring file was altered: restore it from a backup.",
        )
    kdf.check_cost(cost)


def _passphrase_bytes(passphrase: str) -> bytes:
    try:
        secret = unicodedata.normalize("NFC", passphrase).encode("utf-8")
    except UnicodeEncodeError:
        # Without `from`: the original error quotes the passphrase.
        raise _unusable("The passphrase is not valid Unicode text.") from None
    if not 0 < len(secret) <= _PASSPHRASE_BYTES_MAX:
        raise _unusable(f"The passphrase has {len(secret)} bytes; allowed is 1 to {_PASSPHRASE_BYTES_MAX}.")
    return secret


def _unusable(message: str, fix: str = "Give a secret within these limits.") -> KeyringError:
    return KeyringError("secret_unusable", message, fix=fix)
