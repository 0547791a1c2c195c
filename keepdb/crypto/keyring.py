"""The keyring: ROOT in its slots, and the data keys that seal subjects. It is a file of its own because
destroying a data key means rewriting the file that holds it, and because losing it loses everything.

Two processes write it: whoever holds ROOT changes slots, the encryption actor (which never sees ROOT) extends
the pool and destroys keys. Each re-reads the file under the lock and changes only its own part.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from keepdb.clock import Clock
from keepdb.crypto import durable, kdf, keyfile, recovery
from keepdb.crypto.keyfile import Body
from keepdb.crypto.keystore import POOL_KEYS, KeyStore, UnknownKey, new_keys, open_keys, read_verified
from keepdb.crypto.slots import (
    ROOT_BYTES,
    Random,
    Secrets,
    Slot,
    SlotKind,
    make_slot,
    open_slot,
    refuse_unprotected_keychain,
    secret_bytes,
)
from keepdb.errors import KeyringError

__all__ = [
    "Header",
    "KeyStore",
    "UnknownKey",
    "Unlocked",
    "add_slots",
    "create",
    "open_keys",
    "read_header",
    "unlock_root",
]

_DATA_FILES: Final = ("events.*.db", "state.*.db")


class Unlocked(msgspec.Struct, frozen=True):
    """An open keyring. root: 32 bytes, db_id: 16 bytes. Printing it does not show ROOT."""

    root: bytes
    db_id: bytes

    def __repr__(self) -> str:
        return f"Unlocked(db_id={self.db_id.hex()})"

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]
        yield "db_id", self.db_id.hex()


class Header(msgspec.Struct, frozen=True):
    """What a keyring file tells without a secret: damage is ruled out, alteration is not."""

    format: int
    db_id: bytes
    slots: tuple[Slot, ...]
    pool_end: int
    destroyed: int


def create(
    path: Path,
    secrets: Secrets,
    clock: Clock,
    random: Random,
    *,
    cost: kdf.PassphraseCost = kdf.ARGON2ID_DEFAULT,
    keychain_note: str = "",
    pool_keys: int = POOL_KEYS,
) -> tuple[Unlocked, str]:
    """Write a new keyring with a new ROOT and give back the recovery code, which is shown once and stored
    nowhere.

    One slot for the passphrase and/or the keychain secret given, and always one for the recovery code.
    KeyringError: `keyring_exists`, `keyring_missing` (there are data whose keyring is gone: a new one could
    not open them), `secret_missing`, `secret_unusable`, `kdf_refused`.
    """
    _refuse_overwrite(path)
    _check_new_secrets(secrets, keychain_note)
    root, db_id, code = random(ROOT_BYTES), random(keyfile.DB_ID_BYTES), random(recovery.CODE_BYTES)
    made = _make_slots(secrets, root, db_id, clock, random, cost, keychain_note)
    made.append(make_slot("recovery", code, root, db_id, clock, random, cost=kdf.HkdfCost()))
    keys = new_keys(kdf.derive(root, kdf.KEYRING_KEK), db_id, 1, pool_keys + 1, random)
    body = Body(format=keyfile.FORMAT, db_id=db_id, slots=tuple(made), pool_end=pool_keys + 1, keys=keys)
    with durable.exclusive(path, clock):
        _refuse_overwrite(path)
        durable.replace(path, keyfile.encode(body, kdf.derive(root, kdf.KEYRING_MAC)))
    return Unlocked(root=root, db_id=db_id), recovery.format_code(code)


def read_header(path: Path) -> Header:
    """Inspect without secrets. KeyringError as in keyfile.read and keyfile.decode."""
    body = keyfile.decode(keyfile.read(path), path)
    return Header(
        format=body.format,
        db_id=body.db_id,
        slots=body.slots,
        pool_end=body.pool_end,
        destroyed=body.keys.count(None),
    )


def unlock_root(path: Path, secrets: Secrets) -> bytes:
    """ROOT (32 bytes), through the first slot that opens with a secret given; nothing is written.

    Takes the time of one key derivation per passphrase slot tried (0.2 s each). KeyringError:
    `keyring_missing`, `keyring_unreadable`, `keyring_damaged` (also: altered by someone without ROOT),
    `format_too_new`, `wrong_key`, `secret_missing`, or why the secret or slot was refused, if nothing else
    opened.
    """
    raw = keyfile.read(path)
    body = keyfile.decode(raw, path)
    root = _root_from_slots(path, body, secrets)
    if not keyfile.has_mac(raw, kdf.derive(root, kdf.KEYRING_MAC)):
        raise keyfile.damaged(path, "it opens, but someone without its key has altered it")
    return root


def add_slots(
    path: Path,
    root: bytes,
    secrets: Secrets,
    clock: Clock,
    random: Random,
    *,
    cost: kdf.PassphraseCost = kdf.ARGON2ID_DEFAULT,
    keychain_note: str = "",
) -> None:
    """Add a slot for the passphrase and/or keychain secret given. For whoever holds ROOT; the others stay."""
    _check_new_secrets(secrets, "")
    db_id = keyfile.decode(keyfile.read(path), path).db_id
    # Before the lock: a key derivation takes 0.2 s, and the encryption actor may wait to extend the pool.
    made = _make_slots(secrets, root, db_id, clock, random, cost, keychain_note)
    mac_key, kek = kdf.derive(root, kdf.KEYRING_MAC), kdf.derive(root, kdf.KEYRING_KEK)
    with durable.exclusive(path, clock):
        body = read_verified(path, kek, mac_key)
        slots = (*body.slots, *made)
        if len(slots) > keyfile.SLOTS_MAX:
            raise KeyringError(
                "slots_full",
                f"{path} would have {len(slots)} slots; {keyfile.SLOTS_MAX} are allowed.",
                fix="Remove a slot that is no longer used.",
            )
        changed = msgspec.structs.replace(body, slots=slots)
        durable.replace(path, keyfile.encode(changed, mac_key))


def _root_from_slots(path: Path, body: Body, secrets: Secrets) -> bytes:
    if not secrets.given():
        raise _secret_missing("Give the passphrase, the keychain secret or the recovery code.")
    refused: list[KeyringError] = []
    for kind in secrets.given():
        try:
            secret = secret_bytes(secrets, kind)
        except KeyringError as error:
            refused.append(error)
            continue
        for slot in (slot for slot in body.slots if slot.kind == kind):
            try:
                root = open_slot(slot, secret, body.db_id)
            except KeyringError as error:
                refused.append(error)
                continue
            if root is not None:
                return root
    raise refused[0] if refused else _wrong_key(path, body, secrets)


def _make_slots(
    secrets: Secrets,
    root: bytes,
    db_id: bytes,
    clock: Clock,
    random: Random,
    cost: kdf.PassphraseCost,
    note: str,
) -> list[Slot]:
    def slot(kind: SlotKind, how: kdf.Cost, note: str) -> Slot:
        return make_slot(kind, secret_bytes(secrets, kind), root, db_id, clock, random, cost=how, note=note)

    made = []
    if secrets.passphrase is not None:
        made.append(slot("passphrase", cost, ""))
    if secrets.keychain is not None:
        made.append(slot("keychain", kdf.HkdfCost(), note))
    return made


def _check_new_secrets(secrets: Secrets, keychain_note: str) -> None:
    if secrets.passphrase is None and secrets.keychain is None:
        raise _secret_missing(
            "Give a passphrase or a keychain secret. The recovery code is made, not chosen."
        )
    refuse_unprotected_keychain(secrets, keychain_note)


def _refuse_overwrite(path: Path) -> None:
    if os.path.lexists(path):
        raise KeyringError(
            "keyring_exists",
            f"{path} is already there; a new keyring would make the data beside it unreadable.",
            fix="Unlock the existing keyring, or choose an empty directory.",
        )
    if any(next(path.parent.glob(pattern), None) for pattern in _DATA_FILES):
        raise keyfile.missing(path)


def _secret_missing(fix: str) -> KeyringError:
    return KeyringError("secret_missing", "No secret was given that could open or make a keyring.", fix=fix)


def _wrong_key(path: Path, body: Body, secrets: Secrets) -> KeyringError:
    kinds = ", ".join(sorted({slot.kind for slot in body.slots})) or "nothing"
    return KeyringError(
        "wrong_key",
        f"{path} is intact, but no slot opens with what was given ({', '.join(secrets.given())}); "
        f"it has slots for {kinds}.",
        fix="Check the secret (case, keyboard layout, right database), "
        "or use another one, e.g. the recovery code.",
    )
