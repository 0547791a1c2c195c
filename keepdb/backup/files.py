"""Small whole files of a backup: written so that they are on disk, read so that they are what was written."""

from hashlib import sha256
from pathlib import Path

from keepdb.files import replace_durably
from keepdb.storage.connection import explained


def put(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600, synced; what was there is replaced at once. Raises StorageError."""
    with explained(path):
        replace_durably(path, data)


def get(path: Path, size: int, digest: str) -> bytes | None:
    """The file's bytes if it has this size and SHA-256 (lower-case hex), else None."""
    with explained(path):
        try:
            with path.open("rb") as file:
                data = file.read(size + 1)
        except FileNotFoundError:
            return None
    return data if len(data) == size and sha256(data).hexdigest() == digest else None
