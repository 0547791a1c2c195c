"""Evidence: log and state read from disk when no process of the database lives, and a state built anew."""

from pathlib import Path
from typing import NamedTuple

from keepdb.crypto import kdf
from keepdb.crypto.keyring import open_keys, read_header, unlock_root
from keepdb.crypto.sealing import Sealer
from keepdb.crypto.slots import Secrets
from keepdb.errors import KeepError
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import load_schema
from keepdb.schema.materialize import Materializer
from keepdb.schema.model import Schema
from keepdb.storage.digest import state_digest
from keepdb.storage.entries import LogEvent
from keepdb.storage.log import EventLog
from keepdb.storage.rollforward import replay
from keepdb.storage.state import StateFile

from .history import Evidence, Logged

#: The event's own record in the log (docs/formats.md).
_BODY = 0
_SLICE = 1_000


class Vault(NamedTuple):
    """A stopped database's directory and the keys to it."""

    data: Path
    schema: Schema
    log_key: bytes
    state_key: bytes
    sealer: Sealer

    def open_bodies(self, events: list[LogEvent]) -> list[bytes | None]:
        """The opened bodies, for replay."""
        items = [(event.collection, _BODY, event.entity, event.body or b"") for event in events]
        return self.sealer.open_many(items)[0]


def open_vault(data: Path, passphrase: str) -> Vault:
    """Unlock a stopped database."""
    keyring = data / "keyring.json"
    root = unlock_root(keyring, Secrets(passphrase=passphrase))
    keys = open_keys(keyring, kdf.derive(root, kdf.KEYRING_KEK), kdf.derive(root, kdf.KEYRING_MAC))
    return Vault(
        data,
        load_schema(data / "schema.yaml"),
        kdf.derive(root, kdf.FILE_LOG),
        kdf.derive(root, kdf.FILE_STATE),
        Sealer(read_header(keyring).db_id, keys),
    )


def gather(vault: Vault, scratch: Path) -> Evidence:
    """Read everything; scratch: an existing directory for the state that is built anew."""
    log = EventLog.open(vault.data, vault.log_key, "read")
    try:
        chain_error = ""
        try:
            log.verify(1, log.head.seq)
        except KeepError as error:
            chain_error = error.message
        events = [
            Logged(e.seq, e.entity, e.request_client.hex(), e.request_number) for e in log.read(0, 10**9)
        ]
        digest, rows = current_state(vault)
        return Evidence(
            log=events,
            rows=rows,
            digest=digest,
            rebuilt_digest=rebuilt_digest(vault, log, scratch),
            chain_error=chain_error,
        )
    finally:
        log.close()


def current_state(vault: Vault) -> tuple[str, list[str]]:
    """Digest of the state as found, and the ids of its memory entities and personas."""
    state = StateFile.open_current(vault.data, vault.schema.hash, vault.state_key, "read")
    assert state is not None, "there is no complete state"
    try:
        found = state.connection.execute("SELECT id FROM memoryEntities UNION ALL SELECT id FROM personas")
        return state_digest(state.connection, vault.schema).total, [str(row[0]) for row in found]
    finally:
        state.close()


def rebuilt_digest(vault: Vault, log: EventLog, scratch: Path) -> str:
    """Digest of a state that is built in `scratch` from nothing but the log."""
    state = StateFile.create(
        scratch, vault.schema.hash, 1, vault.state_key, compile_ddl(vault.schema), log.generation
    )
    try:
        materializer = Materializer(vault.schema)
        while replay(log, state, materializer, vault.open_bodies, after_seq=state.position.seq, limit=_SLICE):
            pass
        return state_digest(state.connection, vault.schema).total
    finally:
        state.close()
