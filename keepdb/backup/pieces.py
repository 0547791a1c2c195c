"""The sealed pieces of a backup: a stream of records, cut into chunks, each sealed for its one place.

The construction is that of STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015): a counter and a last-flag are
bound to every chunk, so chunks cannot be dropped, doubled, re-ordered, cut off at the end, or taken from
another backup. docs/formats.md, "Backups".
"""

import os
import struct
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepdb.crypto import kdf
from keepdb.files import sync_file
from keepdb.storage.connection import explained

from .faults import damaged
from .manifest import FileEntry

SALT_BYTES: Final = 32
#: A piece is one file: 64 MiB with the usual chunks, what one upload or one re-read costs.
PIECE_CHUNKS_MAX: Final = 64
#: A record is one row of the log: an event of at most one frame (8 MiB), sealed.
RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
_MAGIC: Final = b"KEEPDBP1"
_LENGTH: Final = struct.Struct(">I")
_PLACE: Final = struct.Struct(">IIB")
_NONCE: Final = struct.Struct(">IQ")
_TAG_BYTES: Final = 16


def pieces_cipher(key: bytes, backup_id: str, salt: bytes) -> AESGCM:
    """The cipher of one backup's pieces. key: the derived key `backup`; the salt makes it unlike any other, even
    if a clock that was set back should repeat an id."""
    return AESGCM(kdf.derive(key, "backup/pieces", salt + backup_id.encode()))


def _aad(backup_id: str, piece: int, chunk: int, last: bool) -> bytes:
    return backup_id.encode() + _PLACE.pack(piece, chunk, last)


class PieceWriter:
    """Writes records into as many pieces as they need."""

    def __init__(self, directory: Path, cipher: AESGCM, backup_id: str, chunk_bytes: int) -> None:
        self._directory = directory
        self._cipher = cipher
        self._backup_id = backup_id
        self._chunk_bytes = chunk_bytes
        self._buffer = bytearray()
        self._done: list[FileEntry] = []
        self._file: BinaryIO | None = None
        self._chunk = 0

    def write(self, record: bytes) -> None:
        """Add one record."""
        self._buffer += _LENGTH.pack(len(record)) + record
        while len(self._buffer) >= self._chunk_bytes:
            self._seal(self._chunk_bytes, last=self._chunk == PIECE_CHUNKS_MAX - 1)

    def finish(self) -> tuple[FileEntry, ...]:
        """Write what is left, synced; the pieces in order."""
        if self._buffer or self._file is not None or not self._done:
            self._seal(len(self._buffer), last=True)
        return tuple(self._done)

    def close(self) -> None:
        """Let go of the file; for unfinished work."""
        if self._file is not None:
            self._file.close()

    def _seal(self, size: int, *, last: bool) -> None:
        number = len(self._done) + 1
        path = self._directory / f"log-{number:04d}.piece"
        with explained(path):
            file = self._file or self._begin(path)
            sealed = self._cipher.encrypt(
                _NONCE.pack(number, self._chunk),
                bytes(self._buffer[:size]),
                _aad(self._backup_id, number, self._chunk, last),
            )
            del self._buffer[:size]
            for part in (_LENGTH.pack(len(sealed)), sealed):
                file.write(part)
                self._hash.update(part)
                self._size += len(part)
            self._chunk += 1
            if last:
                file.flush()
                sync_file(file.fileno())
                file.close()
                self._file = None
                self._done.append(FileEntry(path.name, self._size, self._hash.hexdigest()))

    def _begin(self, path: Path) -> BinaryIO:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._file.write(_MAGIC)
        self._hash = sha256(_MAGIC)
        self._size = len(_MAGIC)
        self._chunk = 0
        return self._file


def read_records(
    backup: Path, cipher: AESGCM, backup_id: str, pieces: Sequence[FileEntry], chunk_bytes: int
) -> Iterator[bytes]:
    """The records, each only after its chunk was authenticated. Raises `backup_damaged`.

    A piece's SHA-256 is compared at its end: nothing is final before the iterator is.
    """
    buffer, at = b"", 0
    for chunk in _chunks(backup, cipher, backup_id, pieces, chunk_bytes):
        buffer, at = buffer[at:] + chunk, 0
        while len(buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > RECORD_BYTES_MAX:
                raise damaged(backup, "a record is larger than any row of a log")
            if len(buffer) - at - _LENGTH.size < length:
                break
            at += _LENGTH.size
            yield buffer[at : at + length]
            at += length
    if at != len(buffer):
        raise damaged(backup, "its last record is cut off")


def _chunks(
    backup: Path, cipher: AESGCM, backup_id: str, pieces: Sequence[FileEntry], chunk_bytes: int
) -> Iterator[bytes]:
    for number, piece in enumerate(pieces, 1):
        path = backup / piece.name
        with explained(path):
            if not path.is_file() or path.stat().st_size != piece.bytes:
                raise damaged(backup, f"{piece.name} is missing or not of its size")
            with path.open("rb") as file:
                yield from _open_piece(backup, file, cipher, (backup_id, number), piece, chunk_bytes)


def _open_piece(
    backup: Path, file: BinaryIO, cipher: AESGCM, place: tuple[str, int], piece: FileEntry, chunk_bytes: int
) -> Iterator[bytes]:
    backup_id, number = place
    changed = damaged(backup, f"{piece.name} was changed")
    magic = file.read(len(_MAGIC))
    digest, left, chunk = sha256(magic), piece.bytes - len(magic), 0
    if magic != _MAGIC:
        raise changed
    while left:
        head = file.read(_LENGTH.size)
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
        if not _TAG_BYTES <= length <= min(chunk_bytes + _TAG_BYTES, left - _LENGTH.size):
            raise changed
        sealed = file.read(length)
        left -= _LENGTH.size + length
        digest.update(head + sealed)
        try:
            plain = cipher.decrypt(
                _NONCE.pack(number, chunk), sealed, _aad(backup_id, number, chunk, not left)
            )
        except InvalidTag:
            raise changed from None
        yield plain
        chunk += 1
    if not chunk or digest.hexdigest() != piece.sha256:
        raise changed
