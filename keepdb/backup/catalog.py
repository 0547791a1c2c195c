"""Which backups there are."""

import logging
import re
from pathlib import Path
from typing import Final

import msgspec

from keepdb.errors import KeepError
from keepdb.storage.connection import explained

from .faults import damaged, unknown
from .manifest import MANIFEST, Manifest, Proven, read_manifest, read_proven

logger = logging.getLogger("keepdb.backup")

#: A daily backup for almost three years; older ones stay on disk and can still be named.
LISTED_MAX: Final = 1_000
_ID = re.compile(r"\d{8}T\d{9}Z-\d{12}")


class Listed(msgspec.Struct, frozen=True):
    """One backup. manifest: None where it cannot be trusted, and `error` is the code of the reason."""

    id: str
    manifest: Manifest | None
    proven: Proven | None
    error: str = ""


def list_backups(directory: Path, key: bytes, db_id: bytes) -> list[Listed]:
    """Finished backups of this database, newest first; damaged ones too, those of other databases not."""
    found = []
    for name in _names(directory)[:LISTED_MAX]:
        try:
            manifest = find_backup(directory, name, key, db_id)[1]
        except KeepError as error:
            if error.code != "backup_foreign":
                found.append(Listed(name, None, None, error.code))
            continue
        found.append(Listed(name, manifest, read_proven(directory / name, key)))
    return found


def find_backup(directory: Path, name: str, key: bytes, db_id: bytes) -> tuple[Path, Manifest]:
    """The backup of this id, "" for the newest one of this database.

    Raises `backup_unknown`, `backup_damaged`, `backup_foreign`, `backup_newer`.
    """
    if not name:
        newest = next((one.id for one in list_backups(directory, key, db_id)), "")
        if not newest:
            raise unknown("")
        name = newest
    # Checked before it becomes a path: an id from outside must not lead out of the directory.
    if not _ID.fullmatch(name):
        raise unknown(name[:64])
    path = directory / name
    manifest = read_manifest(path, key, db_id)
    if manifest.backup != name:
        raise damaged(path, f"it is {manifest.backup} under another name")
    return path, manifest


def _names(directory: Path) -> list[str]:
    with explained(directory):
        if not directory.is_dir():
            return []
        names = [path.name for path in directory.iterdir() if (path / MANIFEST).exists()]
    return sorted((name for name in names if _ID.fullmatch(name)), reverse=True)
