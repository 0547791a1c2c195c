"""The refusals of backups, worded once."""

from pathlib import Path

from keepdb.errors import InvalidRequest, StorageError, Unavailable


def damaged(backup: Path, why: str) -> StorageError:
    """A backup that is not what was written, by accident or on purpose."""
    return StorageError(
        "backup_damaged",
        f"Backup {backup.name} cannot be trusted: {why}. Nothing was restored from it.",
        fix="Use another backup, and make a new one if the database still runs.",
    )


def foreign(backup: Path) -> StorageError:
    """A backup of another database."""
    return StorageError(
        "backup_foreign",
        f"Backup {backup.name} belongs to another database than the keys in use.",
        fix="Restore it with the secret of the database that it was made from.",
    )


def newer(backup: Path, found: int, known: int) -> StorageError:
    """A backup made by a later version of this program."""
    return StorageError(
        "backup_newer",
        f"Backup {backup.name} has format {found}, this program knows {known}.",
        fix="Install the newer KeepDB; the backup was not touched.",
    )


def unknown(name: str) -> InvalidRequest:
    """No such backup."""
    return InvalidRequest(
        "backup_unknown",
        f"There is no backup {name!r}." if name else "There is no backup yet.",
        fix="`keepdb backup list` names them; `keepdb backup` makes one.",
    )


def not_now(why: str) -> Unavailable:
    """The state is just being brought forward; a moment later it can be backed up."""
    return Unavailable(
        "state_not_ready", f"No backup can be made at this moment: {why}.", fix="Try again in a few seconds."
    )
