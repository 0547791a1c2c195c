"""Key derivation, so that every key in KeepDB comes from ROOT under a name of its own and no secret is used
raw.

Two families: HKDF for secrets that are already strong, Argon2id or PBKDF2 for passphrases. The costs of the
latter are read from a file before that file can be authenticated, so they are bounded here before any work is
done.
"""

from typing import Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from keepdb.errors import InvariantBroken, KeyringError

KEY_BYTES: Final = 32

# Names of the keys under ROOT. A name is never reused for another purpose: the key would be the same.
FILE_LOG: Final = "file/log"
FILE_STATE: Final = "file/state"
FILE_SEARCH: Final = "file/search"
AUDIT: Final = "audit"
ANCHOR: Final = "anchor"
BACKUP: Final = "backup"
CACHE: Final = "cache"
KEYRING_KEK: Final = "keyring/kek"
KEYRING_MAC: Final = "keyring/mac"
# Names of the keys under a slot's stretched secret.
SLOT_WRAP: Final = "slot/wrap"
SLOT_COMMITMENT: Final = "slot/commitment"

# Floor: OWASP's lowest Argon2id setting, stops a downgrade. Ceiling: stops a foreign file from eating the
# machine.
ARGON2ID_KIB: Final = (19 * 1024, 1024 * 1024)
ARGON2ID_ITERATIONS: Final = (2, 10)
ARGON2ID_LANES: Final = (1, 8)
PBKDF2_ITERATIONS: Final = (600_000, 10_000_000)
SALT_BYTES: Final = 32


class Argon2idCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="argon2id"):
    """RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes (188 ms on the reference
    machine).
    """

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


class Pbkdf2Cost(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="pbkdf2-sha256"
):
    """RFC 8018 section 5.2 with OWASP's count, for those who must stay within FIPS 140."""

    iterations: int = 600_000


class HkdfCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="hkdf-sha256"):
    """RFC 5869: no stretching. Only for secrets of 128 random bits and more, never for a passphrase."""


PassphraseCost = Argon2idCost | Pbkdf2Cost
ARGON2ID_DEFAULT: Final = Argon2idCost()
Cost = Argon2idCost | Pbkdf2Cost | HkdfCost


def hkdf_sha256(secret: bytes, *, salt: bytes | None, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256, extract and expand (RFC 5869). salt None means 32 zero bytes, as the RFC has it."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def derive(root: bytes, label: str, context: bytes = b"") -> bytes:
    """The 32-byte key called `label` under `root` (32 bytes or more, uniformly random).

    HKDF-SHA256 (RFC 5869), no salt, info = "keepdb 1" | 00 | label (ASCII, no NUL) | 00 | context. The label
    ends at the second NUL, so no two pairs of label and context give the same info.
    """
    name = label.encode("ascii")
    if len(root) < KEY_BYTES or not name or b"\0" in name:
        raise InvariantBroken(
            "key_derivation_misused",
            f"Key {label!r} was to be derived from {len(root)} bytes.",
            fix="Derive from 32 or more random bytes, under one of the labels of keepdb/crypto/kdf.py.",
        )
    return hkdf_sha256(root, salt=None, info=b"keepdb 1\0" + name + b"\0" + context)


def check_cost(cost: Cost) -> None:
    """KeyringError `kdf_refused` unless the cost lies within the bounds above."""
    match cost:
        case Argon2idCost():
            _bound("Argon2id memory (KiB)", cost.memory_kib, ARGON2ID_KIB)
            _bound("Argon2id iterations", cost.iterations, ARGON2ID_ITERATIONS)
            _bound("Argon2id lanes", cost.lanes, ARGON2ID_LANES)
        case Pbkdf2Cost():
            _bound("PBKDF2 iterations", cost.iterations, PBKDF2_ITERATIONS)
        case HkdfCost():
            pass


def stretch(secret: bytes, salt: bytes, cost: Cost) -> bytes:
    """32 bytes out of a secret: Argon2id (RFC 9106), PBKDF2-HMAC-SHA256 (RFC 8018) or HKDF-SHA256 (RFC 5869).

    The bounds are checked first, so a refused cost takes no time and no memory.
    """
    check_cost(cost)
    match cost:
        case Argon2idCost():
            return _argon2id(secret, salt, cost)
        case Pbkdf2Cost():
            return PBKDF2HMAC(SHA256(), KEY_BYTES, salt, cost.iterations).derive(secret)
        case HkdfCost():
            return hkdf_sha256(secret, salt=salt, info=b"keepdb 1\0slot")


def _argon2id(secret: bytes, salt: bytes, cost: Argon2idCost) -> bytes:
    kdf = Argon2id(
        salt=salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    try:
        return kdf.derive(secret)
    except MemoryError as error:
        raise KeyringError(
            "kdf_out_of_memory",
            f"Deriving the key needs {cost.memory_kib // 1024} MiB of memory and the system refused them.",
            fix="Close other programs and try again.",
            retryable=True,
        ) from error


def _bound(what: str, found: int, bounds: tuple[int, int]) -> None:
    low, high = bounds
    if not low <= found <= high:
        raise KeyringError(
            "kdf_refused",
            f"{what} is {found}; allowed is {low} to {high}. "
            "Less is too weak, more could exhaust the machine.",
            fix="If the value was configured, put it within the bounds. "
            "If a keyring file says so, it was altered: restore it from a backup.",
        )
