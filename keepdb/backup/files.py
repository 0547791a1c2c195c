"""Small whole files of a backup: written so that they are on disk, read so that they are what was written."""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from keepdb.files import sync_directory, sync_file
from keepdb.storage.connection import explained


def put(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600, synced; what was there is replaced at once."""
    draft = path.with_name(path.name + ".new")
    with explained(path):
        with suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)


def get(path: Path, size: int, digest: str) -> bytes | None:
    """The file's bytes if it has this size and SHA-256 (lower-case hex), else None."""
    with explained(path):
        try:
            with path.open("rb") as file:
                data = file.read(size + 1)
        except FileNotFoundError:
            return None
    return data if len(data) == size and sha256(data).hexdigest() == digest else None
