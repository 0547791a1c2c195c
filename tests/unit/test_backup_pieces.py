"""Sealed pieces: every way to tamper with chunks, by someone who can also correct the sizes and hashes."""

import struct
from hashlib import sha256
from pathlib import Path

import pytest

from keepdb.backup.manifest import FileEntry
from keepdb.backup.pieces import PIECE_CHUNKS_MAX, PieceWriter, pieces_cipher, read_records
from keepdb.errors import StorageError

KEY, SALT, NAME, CHUNK = b"k" * 32, b"s" * 32, "20260101T000000000Z-000000000001", 64
RECORDS = [bytes([number % 256]) * (number % 150) for number in range(100)]


def written(
    directory: Path, records: list[bytes], *, name: str = NAME, salt: bytes = SALT
) -> tuple[FileEntry, ...]:
    directory.mkdir(exist_ok=True)
    writer = PieceWriter(directory, pieces_cipher(KEY, name, salt), name, CHUNK)
    for record in records:
        writer.write(record)
    return writer.finish()


def read(
    directory: Path, pieces: tuple[FileEntry, ...], *, name: str = NAME, salt: bytes = SALT
) -> list[bytes]:
    return list(read_records(directory, pieces_cipher(KEY, name, salt), name, pieces, CHUNK))


def chunks_of(path: Path) -> tuple[bytes, list[bytes]]:
    raw, at, chunks = path.read_bytes(), 8, []
    while at < len(raw):
        (length,) = struct.unpack_from(">I", raw, at)
        chunks.append(raw[at : at + 4 + length])
        at += 4 + length
    return raw[:8], chunks


def as_if_written(path: Path, data: bytes) -> FileEntry:
    """The entry a forger of the manifest would give it."""
    path.write_bytes(data)
    return FileEntry(path.name, len(data), sha256(data).hexdigest())


def refused(directory: Path, pieces: tuple[FileEntry, ...], *, name: str = NAME, salt: bytes = SALT) -> None:
    with pytest.raises(StorageError) as caught:
        read(directory, pieces, name=name, salt=salt)
    assert caught.value.code == "backup_damaged"


def test_records_of_any_size_come_back_from_several_pieces(tmp_path: Path) -> None:
    pieces = written(tmp_path, RECORDS)

    assert len(pieces) == 1 + sum(len(record) + 4 for record in RECORDS) // (CHUNK * PIECE_CHUNKS_MAX) > 1
    assert read(tmp_path, pieces) == RECORDS
    assert read(tmp_path / "none", written(tmp_path / "none", [])) == []


def test_a_stream_that_ends_exactly_with_a_piece_needs_no_empty_one(tmp_path: Path) -> None:
    records = [b"x" * (CHUNK - 4)] * PIECE_CHUNKS_MAX

    pieces = written(tmp_path, records)

    assert len(pieces) == 1
    assert read(tmp_path, pieces) == records


def test_every_flipped_byte_of_a_piece_is_refused(tmp_path: Path) -> None:
    """Verifies: L10"""
    pieces = written(tmp_path, RECORDS[:20])
    path = tmp_path / pieces[0].name
    raw = path.read_bytes()

    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        path.write_bytes(changed)
        refused(tmp_path, pieces)
        # Also when the manifest's hash was made to fit.
        refused(tmp_path, (as_if_written(path, changed),))


@pytest.mark.parametrize(
    "how", ["dropped", "dropped at the end", "doubled", "swapped", "cut", "last of another"]
)
def test_chunks_cannot_be_rearranged_even_with_fitting_hashes(tmp_path: Path, how: str) -> None:
    """Verifies: L10"""
    pieces = written(tmp_path, RECORDS)
    path = tmp_path / pieces[0].name
    magic, chunks = chunks_of(path)
    other = chunks_of(tmp_path / pieces[1].name)[1]
    match how:
        case "dropped":
            del chunks[3]
        case "dropped at the end":
            del chunks[-1]
        case "doubled":
            chunks.insert(3, chunks[3])
        case "swapped":
            chunks[3], chunks[4] = chunks[4], chunks[3]
        case "cut":
            chunks[-1] = chunks[-1][:-1]
        case _:
            chunks[-1] = other[-1]

    refused(tmp_path, (as_if_written(path, magic + b"".join(chunks)), *pieces[1:]))


def test_pieces_cannot_be_dropped_reordered_or_taken_from_another_backup(tmp_path: Path) -> None:
    """Verifies: L10"""
    pieces = written(tmp_path / "one", RECORDS)
    other_name = NAME[:-1] + "2"
    written(tmp_path / "two", RECORDS, name=other_name)

    refused(tmp_path / "one", pieces[1:])
    refused(tmp_path / "one", (pieces[1], pieces[0], *pieces[2:]))
    two = as_if_written(tmp_path / "one" / "taken", (tmp_path / "two" / pieces[0].name).read_bytes())
    refused(tmp_path / "one", (two, *pieces[1:]))
    (tmp_path / "one" / pieces[0].name).unlink()
    refused(tmp_path / "one", pieces)


def test_an_id_used_twice_gives_another_key_because_of_the_salt(tmp_path: Path) -> None:
    first = written(tmp_path / "one", RECORDS)
    second = written(tmp_path / "two", RECORDS, salt=b"t" * 32)

    assert (tmp_path / "one" / first[0].name).read_bytes() != (tmp_path / "two" / second[0].name).read_bytes()
    refused(tmp_path / "two", second)
