"""The encryption actor: the only process that holds data keys.

*Owns* the keyring in memory, and keyring.json's data keys on disk.
*Handles* Seal and Open, in batches.
*Emits* nothing.
*After a crash* it reads the keyring again; an asker whose request was lost sends it again (sealing twice is
harmless: a record that reached no log does not exist).
"""

from pathlib import Path

from keepdb.crypto import kdf
from keepdb.crypto.keystore import open_keys
from keepdb.crypto.sealing import Sealer
from keepdb.fabric.actor import ProcessActor, handles
from keepdb.places import KEYRING_FILE
from messages.sealing import Open, Opened, Seal, Sealed

#: Keys kept ready beyond those in use: many more than one batch can ask for.
POOL_RESERVE = 128


class Encryption(ProcessActor):
    """Seals and opens values; key ids say whose key, see docs/formats.md."""

    def on_ready(self) -> None:
        secrets = self.seat.secrets
        path = Path(self.seat.data) / KEYRING_FILE
        self.keys = open_keys(path, secrets[kdf.KEYRING_KEK], secrets[kdf.KEYRING_MAC])
        self.sealer = Sealer(self.seat.db_id, self.keys)
        self.sealed = self.opened = 0

    @handles(Seal)
    def seal(self, message: Seal) -> Sealed:
        # W7: a key that is not on disk yet must not seal anything.
        ids = [item[0] for item in message.items] + [key_id for key_id, _ in message.spare]
        self._reserve(max(ids, default=0) + 1)
        self.sealed += len(message.items)
        records = self.sealer.seal_many(message.items)
        return Sealed(records=tuple(records), spare=tuple(self.sealer.record_keys(message.spare)))

    @handles(Open)
    def open(self, message: Open) -> Opened:
        values, damaged = self.sealer.open_many(message.items)
        self.opened += len(message.items)
        return Opened(values=tuple(values), damaged=tuple(damaged))

    def figures(self) -> dict[str, float]:
        return {"sealed": self.sealed, "opened": self.opened, "keys": self.keys.pool_end - 1}

    def _reserve(self, end: int) -> None:
        if end > self.keys.pool_end:
            with self.busy("key pool", 10.0):
                self.keys.extend(end + POOL_RESERVE)
