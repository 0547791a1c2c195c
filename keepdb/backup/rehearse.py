"""Proving a backup by doing what a restore does: log into a scratch directory, state by replay, digests
compared. A backup that was only written is a hope.
"""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import msgspec

from keepdb.commit.sealing_plan import BODY
from keepdb.crypto.keystore import open_keys
from keepdb.crypto.sealing import Sealer
from keepdb.errors import StorageError
from keepdb.schema.load import parse_schema
from keepdb.schema.materialize import Materializer
from keepdb.schema.model import Schema
from keepdb.storage.digest import digest_steps
from keepdb.storage.entries import LogEvent
from keepdb.storage.log import EventLog
from keepdb.storage.rollforward import OpenBodies, replay
from keepdb.storage.state import StateFile

from .faults import damaged
from .keycheck import check_against_live, check_copy, check_opens
from .keys import Keys, RootKeys
from .manifest import KEYRING, SCHEMA, Manifest
from .progress import Progress, Steps, run
from .rebuild import open_rebuilt, rebuild_steps
from .scratch import Scratch

#: Events replayed in one slice: 20 to 50 ms.
REPLAY_EVENTS: Final = 250
#: The scratch state's WAL is emptied this often, so that it needs no room twice and no step takes long.
CHECKPOINT_EVENTS: Final = 5_000


class Rehearsal(msgspec.Struct, frozen=True):
    """What came out. digest: of the rebuilt state. expected: of the state the backup was made from.

    erased: bodies whose data key was destroyed since; they alone can make the digests differ in a good backup.
    quarantined: events that could not be materialized, as in the original.
    """

    backup: str
    events: int
    seq: int
    digest: str
    expected: str
    erased: int
    quarantined: int

    @property
    def digest_matches(self) -> bool:
        return self.digest == self.expected


def local_bodies(backup: Path, keys: RootKeys, db_id: bytes) -> OpenBodies:
    """Opens bodies with the backup's own copy of the keyring, for when nothing is running."""
    store = open_keys(backup / KEYRING, keys.keyring_kek, keys.keyring_mac)
    sealer = Sealer(db_id, store)

    def open_bodies(events: list[LogEvent]) -> list[bytes | None]:
        values, wrong = sealer.open_many(
            [(one.collection, BODY, one.entity, one.body or b"") for one in events]
        )
        if wrong:
            raise damaged(backup, f"the body of event {events[wrong[0]].seq} does not open under its key")
        return values

    return open_bodies


def rehearse(
    backup: Path,
    manifest: Manifest,
    scratch: Path,
    keys: Keys,
    open_bodies: OpenBodies,
    *,
    live_keyring: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Rehearsal:
    """rehearse_steps in one go."""
    return run(
        rehearse_steps(backup, manifest, scratch, keys, open_bodies, live_keyring=live_keyring), progress
    )


def rehearse_steps(
    backup: Path,
    manifest: Manifest,
    scratch: Path,
    keys: Keys,
    open_bodies: OpenBodies,
    *,
    live_keyring: Path | None = None,
) -> Steps[Rehearsal]:
    """Restore into the new directory `scratch`, rebuild the state there, compare; `scratch` is removed again.

    open_bodies: local_bodies(), or the encryption actor's. live_keyring: the running database's keyring, which
    proves the copy's keys where `keys` cannot open them. Raises `backup_damaged` and what the disk raises; a
    digest that differs is a result, not an error.
    """
    draft = Scratch(scratch)
    try:
        rebuilt = yield from rebuild_steps(backup, manifest, draft.path, keys)
        copy = check_copy(draft.path, keys, manifest.db_id, rebuilt.key_ids)
        if isinstance(keys, RootKeys):
            check_opens(draft.path, keys, rebuilt.key_ids)
        elif live_keyring is not None:
            check_against_live(backup, copy, live_keyring, rebuilt.key_ids)
        schema = _schema(backup, manifest, draft.path)
        log = open_rebuilt(draft.path, keys, rebuilt)
        try:
            return (yield from _rebuild_state(manifest, draft.path, keys, schema, log, open_bodies))
        finally:
            log.close()
    finally:
        draft.discard()


def _schema(backup: Path, manifest: Manifest, directory: Path) -> Schema:
    """The backup's own schema. Its hash covers the materializer, too: another version may build other rows."""
    schema = parse_schema((directory / SCHEMA).read_text("utf-8"), f"{backup.name}/{SCHEMA}")
    if schema.hash != manifest.schema_hash:
        raise StorageError(
            "backup_other_version",
            f"Backup {backup.name} was made by KeepDB {manifest.version}, which builds the rows in another way, "
            "so the digests cannot be compared.",
            fix="It can be restored; to have a proven backup, make a new one with this version.",
        )
    return schema


def _rebuild_state(
    manifest: Manifest, directory: Path, keys: Keys, schema: Schema, log: EventLog, open_bodies: OpenBodies
) -> Steps[Rehearsal]:
    erased = 0

    def counting(events: list[LogEvent]) -> list[bytes | None]:
        nonlocal erased
        opened = open_bodies(events)
        erased += opened.count(None)
        return opened

    state = StateFile.create(directory, schema.hash, 1, keys.state, manifest.ddl, log.generation)
    try:
        materializer, done, total = Materializer(schema), 0, max(1, manifest.events)
        while count := replay(
            log, state, materializer, counting, after_seq=state.position.seq, limit=REPLAY_EVENTS
        ):
            done += count
            if done % (CHECKPOINT_EVENTS) < count:
                state.checkpoint("TRUNCATE")
            yield Progress("replay", min(done, total), total)
        digest = yield from _digest(state, schema, total)
        return Rehearsal(
            backup=manifest.backup,
            events=manifest.events,
            seq=manifest.log.seq,
            digest=digest,
            expected=manifest.digest,
            erased=erased,
            quarantined=state.quarantined,
        )
    finally:
        state.close()


def _digest(state: StateFile, schema: Schema, total: int) -> Generator[Progress, None, str]:
    steps = digest_steps(state.connection, schema)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value.total)
        yield Progress("compare", total, total)
