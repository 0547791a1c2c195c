"""The bytes of keyring.json, and which of the ways to be unusable a given file shows. Only bytes and structs:
the meaning is in keyring.py.

The frame outlives every format: the file ends with a checksum over all bytes before it, so damage is told
from a newer format without understanding the rest, and without a key. docs/formats.md, "Keyring".
"""

import hmac
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.hmac import HMAC

from keepdb.crypto.slots import Slot, Wrapped
from keepdb.errors import KeyringError

FORMAT: Final = 1
DB_ID_BYTES: Final = 16
# 83 bytes a key: the file stays under its limit, and a rewrite under a second.
KEYS_MAX: Final = 1_000_000
_FILE_BYTES_MAX: Final = 128 * 1024 * 1024
SLOTS_MAX: Final = 64

_MAC_OPEN: Final = b',"mac":"'
_SUM_OPEN: Final = b'","checksum":"'
_CLOSE: Final = b'"}\n'
_HEX: Final = 64
_SUM_AT: Final = -(_HEX + len(_CLOSE))
_MAC_AT: Final = _SUM_AT - len(_SUM_OPEN) - _HEX


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything under the MAC, in file order.

    pool_end: key ids below it exist. keys: the wrapped key of id i at index i - 1, None where it was
    destroyed.
    """

    format: int
    db_id: Annotated[bytes, msgspec.Meta(min_length=DB_ID_BYTES, max_length=DB_ID_BYTES)]
    slots: Annotated[tuple[Slot, ...], msgspec.Meta(max_length=SLOTS_MAX)]
    pool_end: int
    keys: tuple[Wrapped | None, ...]


class _File(Body, frozen=True, forbid_unknown_fields=True):
    mac: str
    checksum: str


class _Probe(msgspec.Struct, frozen=True):
    format: int


_decoder: Final = msgspec.json.Decoder(_File)
_probe: Final = msgspec.json.Decoder(_Probe)


def encode(body: Body, mac_key: bytes) -> bytes:
    """The whole file. JSON without blanks, one line; HMAC-SHA256 (RFC 2104), then SHA-256, each over all
    bytes before.
    """
    head = msgspec.json.encode(body)[:-1]
    head += _MAC_OPEN + _mac(mac_key, head).hex().encode()
    return head + _SUM_OPEN + _sha256(head).hex().encode() + _CLOSE


def read(path: Path) -> bytes:
    """The file's bytes. KeyringError `keyring_missing`, `keyring_unreadable` or `keyring_damaged` (too
    large).
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise KeyringError(
            "keyring_unreadable",
            f"{path} cannot be read: {error.strerror or error}.",
            fix="Give this user access to the file (mode 0600). The file was not changed.",
        ) from error
    if len(raw) > _FILE_BYTES_MAX:
        raise damaged(path, f"it is larger than {_FILE_BYTES_MAX} bytes")
    return raw


def decode(raw: bytes, path: Path) -> Body:
    """Check frame, checksum and format, in this order, then the shape. The MAC is `has_mac`.

    KeyringError `keyring_damaged` or `format_too_new`. `path` is for the message only.
    """
    if not _has_frame(raw):
        raise damaged(path, "its end is not that of a keyring")
    checksum = _sha256(raw[: _SUM_AT - len(_SUM_OPEN)]).hex().encode()
    if not hmac.compare_digest(checksum, raw[_SUM_AT : -len(_CLOSE)]):
        raise damaged(path, "its checksum does not match its content")
    try:
        if (found := _probe.decode(raw).format) > FORMAT:
            raise _too_new(path, found)
        file = _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise damaged(path, "its content does not have the shape of a keyring") from error
    if file.format != FORMAT or file.pool_end != len(file.keys) + 1:
        raise damaged(path, "its content contradicts itself")
    return Body(
        format=file.format, db_id=file.db_id, slots=file.slots, pool_end=file.pool_end, keys=file.keys
    )


def has_mac(raw: bytes, mac_key: bytes) -> bool:
    """Does the MAC over a file that passed `decode` match, i.e. did someone with ROOT write it?"""
    expected = _mac(mac_key, raw[: _MAC_AT - len(_MAC_OPEN)]).hex().encode()
    return hmac.compare_digest(expected, raw[_MAC_AT : _MAC_AT + _HEX])


def missing(path: Path) -> KeyringError:
    """No keyring where one is needed."""
    return KeyringError(
        "keyring_missing",
        f"{path} is not there, and without it the data beside it cannot be read.",
        fix="Restore keyring.json from a backup. For a new database choose an empty directory.",
    )


def damaged(path: Path, why: str) -> KeyringError:
    """A keyring that is not what was written, by accident or on purpose."""
    return KeyringError(
        "keyring_damaged",
        f"{path} is damaged: {why}. It was left as it is.",
        fix="Restore keyring.json from a backup; keep the damaged file until that has worked.",
    )


def _too_new(path: Path, found: int) -> KeyringError:
    return KeyringError(
        "format_too_new",
        f"{path} has format {found}; this program knows formats up to {FORMAT}. It was left as it is.",
        fix="Use the newer version of the program that wrote it.",
    )


def _has_frame(raw: bytes) -> bool:
    shortest = len(_MAC_OPEN) + _HEX + len(_SUM_OPEN) + _HEX + len(_CLOSE)
    sum_open, mac_open = _SUM_AT - len(_SUM_OPEN), _MAC_AT - len(_MAC_OPEN)
    framed = len(raw) > shortest and raw.endswith(_CLOSE) and raw[sum_open:_SUM_AT] == _SUM_OPEN
    return framed and raw[mac_open:_MAC_AT] == _MAC_OPEN


def _sha256(data: bytes) -> bytes:
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize()


def _mac(key: bytes, data: bytes) -> bytes:
    mac = HMAC(key, SHA256())
    mac.update(data)
    return mac.finalize()
