"""Proving that a backup's copy of the keyring opens everything that the backup's log holds.

A backup whose log names a key that its keyring does not have is lost for exactly the data that were newest.
"""

from pathlib import Path

from keepdb.crypto import keyfile
from keepdb.crypto.keyfile import Body
from keepdb.crypto.keystore import open_keys
from keepdb.errors import KeyringError

from .faults import damaged, foreign
from .keys import Keys, RootKeys
from .manifest import KEYRING


def check_copy(directory: Path, keys: Keys, db_id: str, used: set[int]) -> Body:
    """The keyring copy in a backup, which its owner wrote, and which has every key id in `used`.

    db_id: hex. Raises `backup_damaged`, `backup_foreign`.
    """
    path = directory / KEYRING
    try:
        raw = keyfile.read(path)
        body = keyfile.decode(raw, path)
    except KeyringError as error:
        raise damaged(directory, f"its copy of the keyring is unusable ({error.code})") from error
    if not keyfile.has_mac(raw, keys.keyring_mac):
        raise damaged(directory, "its copy of the keyring was altered by someone without its key")
    if body.db_id.hex() != db_id:
        raise foreign(directory)
    missing = sorted(used - set(range(1, body.pool_end)))
    if missing:
        raise damaged(
            directory, f"its keyring ends at key {body.pool_end - 1}, its log uses key {missing[0]}"
        )
    return body


def check_against_live(directory: Path, copy: Body, live: Path, used: set[int]) -> None:
    """Every used key of the copy is, byte for byte, the one of the running database's keyring.

    The encryption actor has opened those, so this proves the copy's keys without a key to open them. A key that
    was destroyed since the backup counts as proven, one that only the copy lacks does not.
    """
    ours = keyfile.decode(keyfile.read(live), live)
    for key_id in sorted(used):
        if key_id >= ours.pool_end:
            raise damaged(directory, f"it uses data key {key_id}, which the keyring in use does not have")
        here, there = copy.keys[key_id - 1], ours.keys[key_id - 1]
        if there is not None and here != there:
            raise damaged(directory, f"data key {key_id} in its keyring is not the one in use")


def check_opens(directory: Path, keys: RootKeys, used: set[int]) -> int:
    """Unwrap every used key of the copy; returns how many were destroyed on purpose."""
    store = open_keys(directory / KEYRING, keys.keyring_kek, keys.keyring_mac)
    try:
        return sum(store.get(key_id) is None for key_id in used)
    except KeyringError as error:
        raise damaged(directory, f"a data key of its keyring does not open ({error.code})") from error
