"""manifest.json and proven.json: what a backup is and whether it was proven, each under a MAC over its bytes.

docs/formats.md, "Backups". The manifest is the last file written, so a backup without it is not one.
"""

import hmac
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import msgspec

from keepdb.clock import Clock
from keepdb.crypto import kdf
from keepdb.errors import StorageError
from keepdb.storage.connection import explained

from .faults import damaged, foreign, newer, unknown
from .files import put

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
PROVEN: Final = "proven.json"
KEYRING: Final = "keyring.json"
SCHEMA: Final = "schema.yaml"
LABEL_CHARS_MAX: Final = 200
# 64 MiB a piece and 120 bytes for each: a manifest of this size stands for 8 TiB.
_MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
_MANIFEST_KEY: Final = "backup/manifest"
_PROVEN_KEY: Final = "backup/proven"
_MAC_OPEN: Final = b',\n "mac": "'
_CLOSE: Final = b'"\n}\n'
_HEX: Final = 64


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a backup. bytes: its size. sha256: lower-case hex."""

    name: str
    bytes: int
    sha256: str


class LogPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which stretch of which log: the events after base_seq up to seq. Hashes and device in lower-case hex."""

    generation: int
    device: str
    base_seq: int
    base_hash: str
    seq: int
    hash: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about a backup but its content, and the label is all that a user wrote in it.

    digest: of the state at exactly log.seq. ddl: the statements that made that state's tables. salt: of the
    key of the pieces, hex. files: keyring and schema. pieces: the log, in order. version: of KeepDB.
    """

    format: int
    kind: Literal["full"]
    backup: str
    db_id: str
    version: str
    created_ms: int
    label: str
    log: LogPart
    events: int
    schema_hash: str
    digest: str
    ddl: tuple[str, ...]
    salt: str
    chunk_bytes: int
    files: tuple[FileEntry, ...]
    pieces: tuple[FileEntry, ...]

    @property
    def total_bytes(self) -> int:
        """Size of all files but this one."""
        return sum(entry.bytes for entry in (*self.files, *self.pieces))


class Proven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A restore of this very backup was rehearsed and gave the digest. manifest: SHA-256 of its bytes, hex."""

    format: int
    backup: str
    manifest: str
    at: int
    version: str
    digest: str


class _SignedManifest(Manifest, frozen=True, forbid_unknown_fields=True):
    mac: str


class _SignedProven(Proven, frozen=True, forbid_unknown_fields=True):
    mac: str


class _Probe(msgspec.Struct, frozen=True):
    format: int = 0
    db_id: str = ""


def write_manifest(directory: Path, key: bytes, manifest: Manifest) -> None:
    """Write it, synced. key: the derived key `backup`."""
    put(directory / MANIFEST, _sign(manifest, kdf.derive(key, _MANIFEST_KEY)))


def read_manifest(backup: Path, key: bytes, db_id: bytes | None = None) -> Manifest:
    """The manifest, authenticated. db_id: 16 bytes, to tell a backup of another database from a damaged one.

    Raises `backup_unknown`, `backup_damaged`, `backup_foreign`, `backup_newer`.
    """
    raw = _read(backup / MANIFEST)
    if raw is None:
        raise unknown(backup.name)
    if not _signed_by(raw, kdf.derive(key, _MANIFEST_KEY)):
        if db_id is not None and _probe(raw).db_id not in ("", db_id.hex()):
            raise foreign(backup)
        raise damaged(backup, f"the authentication code of its {MANIFEST} does not fit")
    # From here on it is what somebody with the key wrote.
    if (found := _probe(raw).format) > FORMAT:
        raise newer(backup, found, FORMAT)
    try:
        signed = msgspec.json.decode(raw, type=_SignedManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise damaged(backup, f"its {MANIFEST} has not the right shape") from error
    manifest = Manifest(*(getattr(signed, name) for name in Manifest.__struct_fields__))
    if db_id is not None and manifest.db_id != db_id.hex():
        raise foreign(backup)
    return manifest


def mark_proven(backup: Path, key: bytes, digest: str, version: str, clock: Clock) -> None:
    """Note that a rehearsed restore gave `digest`; replaces an earlier note."""
    manifest = _read(backup / MANIFEST) or b""
    proven = Proven(FORMAT, backup.name, sha256(manifest).hexdigest(), clock.now_ms(), version, digest)
    put(backup / PROVEN, _sign(proven, kdf.derive(key, _PROVEN_KEY)))


def read_proven(backup: Path, key: bytes) -> Proven | None:
    """When the backup was last proven; None if it never was, or the note is not ours or of another manifest."""
    raw = _read(backup / PROVEN)
    if raw is None or not _signed_by(raw, kdf.derive(key, _PROVEN_KEY)):
        return None
    try:
        signed = msgspec.json.decode(raw, type=_SignedProven)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if signed.manifest != sha256(_read(backup / MANIFEST) or b"").hexdigest():
        return None
    return Proven(*(getattr(signed, name) for name in Proven.__struct_fields__))


def _sign(content: Manifest | Proven, key: bytes) -> bytes:
    head = msgspec.json.format(msgspec.json.encode(content), indent=1)[: -len(b"\n}")]
    return head + _MAC_OPEN + hmac.new(key, head, sha256).hexdigest().encode() + _CLOSE


def _signed_by(raw: bytes, key: bytes) -> bool:
    """Compared byte by byte, the frame of the MAC included: no byte of the file can change unnoticed."""
    head = raw[: -len(_MAC_OPEN) - _HEX - len(_CLOSE)]
    expected = head + _MAC_OPEN + hmac.new(key, head, sha256).hexdigest().encode() + _CLOSE
    return hmac.compare_digest(expected, raw)


def _probe(raw: bytes) -> _Probe:
    try:
        return msgspec.json.decode(raw, type=_Probe)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Probe()


def _read(path: Path) -> bytes | None:
    with explained(path):
        try:
            with path.open("rb") as file:
                raw = file.read(_MANIFEST_BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
    if len(raw) > _MANIFEST_BYTES_MAX:
        raise StorageError(
            "backup_damaged",
            f"{path} is larger than {_MANIFEST_BYTES_MAX} bytes.",
            fix="Use another backup.",
        )
    return raw
