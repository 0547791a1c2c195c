"""Data keys by id: the part of the keyring that the encryption actor works with, holding two keys derived
from ROOT and never ROOT itself. Slots pass through here untouched.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepdb.clock import Clock, SystemClock
from keepdb.crypto import durable, keyfile
from keepdb.crypto.keyfile import Body
from keepdb.crypto.slots import NONCE_BYTES, Random
from keepdb.errors import KeyringError

# Keys made ahead of use, so that giving a new subject its key costs no disk write. A growth of an eighth
# keeps the cost of rewriting the whole file constant per key.
POOL_KEYS: Final = 256
_KEY_BYTES: Final = 32


class UnknownKey(KeyringError):
    """`key_unknown`: an id outside of the pool. A class of its own: a damaged record may name any id."""


def open_keys(
    path: Path, kek: bytes, mac_key: bytes, *, clock: Clock | None = None, random: Random = os.urandom
) -> "KeyStore":
    """The data keys, for the encryption actor. kek, mac_key: derive(ROOT, KEYRING_KEK) and derive(ROOT,
    KEYRING_MAC).

    KeyringError as in unlock_root; `wrong_key` where the two keys are those of another ROOT.
    """
    return KeyStore(path, kek, mac_key, clock or SystemClock(), random)


class KeyStore:
    """Data keys by id, 1 .. pool_end - 1, each unwrapped when asked for.

    db_id: 16 bytes. pool_end: key ids below it are on disk. version: changes whenever a key handed out
    earlier may have been destroyed since; whoever keeps anything made from a key drops it then. One thread
    only.
    """

    def __init__(self, path: Path, kek: bytes, mac_key: bytes, clock: Clock, random: Random) -> None:
        self._path = path
        self._kek = kek
        self._cipher = AESGCM(kek)
        self._mac_key = mac_key
        self._clock = clock
        self._random = random
        self.version = 0
        body = read_verified(path, kek, mac_key)
        self.db_id = body.db_id
        self.pool_end = body.pool_end
        self._keys = body.keys

    def get(self, key_id: int) -> bytes | None:
        """The 32-byte data key, None where it was destroyed. KeyringError `key_unknown` outside the pool."""
        if not 0 < key_id < self.pool_end:
            raise _unknown(key_id, self.pool_end)
        wrapped = self._keys[key_id - 1]
        if wrapped is None:
            return None
        try:
            aad = _key_aad(self.db_id, key_id)
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], aad)
        except InvalidTag:
            raise keyfile.damaged(self._path, f"data key {key_id} does not open") from None

    def extend(self, to_end: int) -> int:
        """Make key ids below `to_end` durable, and some more (256 or an eighth); the new pool_end.

        On an error the pool is as before. KeyringError `key_pool_full`, `keyring_not_written`,
        `keyring_busy`.
        """
        if to_end > self.pool_end:
            self._rewrite(lambda body: self._extended(body, to_end))
        return self.pool_end

    def destroy(self, key_id: int) -> None:
        """Forget one data key for good: on return no file of ours in the directory holds it. Again is no
        error.
        """
        if not 0 < key_id < self.pool_end:
            raise _unknown(key_id, self.pool_end)
        self._rewrite(lambda body: msgspec.structs.replace(body, keys=_without(body.keys, key_id)))

    def _extended(self, body: Body, to_end: int) -> Body:
        end = max(to_end, body.pool_end + max(POOL_KEYS, (body.pool_end - 1) // 8))
        if to_end - 1 > keyfile.KEYS_MAX:
            raise KeyringError(
                "key_pool_full",
                f"{to_end - 1} data keys were asked for; a keyring holds {keyfile.KEYS_MAX}.",
                fix="Let several conversations or personas share a subject.",
            )
        end = min(end, keyfile.KEYS_MAX + 1)
        added = new_keys(self._kek, body.db_id, body.pool_end, end, self._random)
        return msgspec.structs.replace(body, pool_end=end, keys=body.keys + added)

    def _rewrite(self, change: Callable[[Body], Body]) -> None:
        with durable.exclusive(self._path, self._clock):
            body = read_verified(self._path, self._kek, self._mac_key)
            # An older copy put in our place lacks keys that are in use, or brings back destroyed ones.
            if body.db_id != self.db_id or not _continues(body.keys, self._keys):
                raise keyfile.damaged(self._path, "an older or foreign keyring took its place while in use")
            body = change(body)
            # Only adopted once it is on disk: a key used before would be lost with the power.
            durable.replace(self._path, keyfile.encode(body, self._mac_key))
        self.pool_end, self._keys = body.pool_end, body.keys
        self.version += 1


def read_verified(path: Path, kek: bytes, mac_key: bytes) -> Body:
    """The file as someone with ROOT wrote it, re-read now. KeyringError `wrong_key`, or as in keyfile."""
    raw = keyfile.read(path)
    body = keyfile.decode(raw, path)
    if not keyfile.has_mac(raw, mac_key):
        # A single data key that opens proves our keys right and the file altered.
        if any(_opens(kek, body, index) for index in range(len(body.keys))):
            raise keyfile.damaged(path, "someone without its key has altered it")
        raise KeyringError(
            "wrong_key",
            f"{path} was made with another ROOT than the keys handed over.",
            fix="Unlock this keyring with its own secret and start again.",
        )
    return body


def _opens(kek: bytes, body: Body, index: int) -> bool:
    wrapped = body.keys[index]
    if wrapped is None:
        return False
    try:
        AESGCM(kek).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _key_aad(body.db_id, index + 1))
    except InvalidTag:
        return False
    return True


def new_keys(kek: bytes, db_id: bytes, start: int, end: int, random: Random) -> tuple[bytes, ...]:
    """Fresh data keys for the ids start .. end - 1, wrapped. Random, never derived: a derived key could be
    made again after it was destroyed.
    """
    cipher = AESGCM(kek)
    count = end - start
    keys, nonces = random(count * _KEY_BYTES), random(count * NONCE_BYTES)
    made = []
    for index in range(count):
        nonce = nonces[index * NONCE_BYTES : (index + 1) * NONCE_BYTES]
        key = keys[index * _KEY_BYTES : (index + 1) * _KEY_BYTES]
        made.append(nonce + cipher.encrypt(nonce, key, _key_aad(db_id, start + index)))
    return tuple(made)


def _key_aad(db_id: bytes, key_id: int) -> bytes:
    return db_id + key_id.to_bytes(4, "big")


def _without(keys: tuple[bytes | None, ...], key_id: int) -> tuple[bytes | None, ...]:
    return (*keys[: key_id - 1], None, *keys[key_id:])


def _continues(found: tuple[bytes | None, ...], ours: tuple[bytes | None, ...]) -> bool:
    """Is `found` what may follow `ours`: the same keys, some destroyed, some added?

    More than ours is possible: a write that failed at its very end has reached the file, but was not adopted.
    """
    head = found[: len(ours)]
    if len(head) < len(ours):
        return False
    return head == ours or all(new is None or new == old for new, old in zip(head, ours, strict=True))


def _unknown(key_id: int, pool_end: int) -> UnknownKey:
    return UnknownKey(
        "key_unknown",
        f"Data key {key_id} was never made; this keyring has 1 to {pool_end - 1}.",
        fix="If the keyring was restored from a backup, restore the newest one.",
    )
