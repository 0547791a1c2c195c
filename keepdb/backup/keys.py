"""Which keys the work on backups needs: the running actor has few, whoever opens the keyring has all."""

from pathlib import Path

import msgspec

from keepdb.crypto import kdf, keyring
from keepdb.crypto.slots import Secrets
from keepdb.errors import KeyringError

from .faults import damaged, unknown
from .manifest import KEYRING, MANIFEST


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Enough to make a backup and to rehearse it with somebody else opening the sealed bodies.

    keyring_mac proves that a keyring is what its owner wrote and opens nothing.
    """

    backup: bytes
    log: bytes
    state: bytes
    keyring_mac: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class RootKeys(Keys, frozen=True, kw_only=True):
    """Everything: for restoring, and for rehearsing without a running database."""

    anchor: bytes
    keyring_kek: bytes

    def __repr__(self) -> str:
        return "RootKeys(…)"

    @classmethod
    def of(cls, root: bytes) -> "RootKeys":
        """Derived from ROOT (32 bytes)."""
        return cls(
            backup=kdf.derive(root, kdf.BACKUP),
            log=kdf.derive(root, kdf.FILE_LOG),
            state=kdf.derive(root, kdf.FILE_STATE),
            keyring_mac=kdf.derive(root, kdf.KEYRING_MAC),
            anchor=kdf.derive(root, kdf.ANCHOR),
            keyring_kek=kdf.derive(root, kdf.KEYRING_KEK),
        )


def unlock(backup: Path, secrets: Secrets) -> RootKeys:
    """The keys, out of the backup's own copy of the keyring, which has the secrets of the time it was made.

    Raises `backup_unknown`, `backup_damaged`, and KeyringError `wrong_key`, `secret_missing` and the like.
    """
    if not (backup / MANIFEST).exists():
        raise unknown(backup.name)
    try:
        return RootKeys.of(keyring.unlock_root(backup / KEYRING, secrets))
    except KeyringError as error:
        if error.code in ("keyring_damaged", "keyring_missing"):
            raise damaged(backup, f"its copy of the keyring is unusable ({error.code})") from error
        raise
