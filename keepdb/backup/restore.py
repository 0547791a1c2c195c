"""Restoring: a complete data directory is built beside the target and takes its name only when all of it is
there and checked. What was at the target is kept.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from keepdb.clock import Clock
from keepdb.commit.store import ANCHOR_FILE
from keepdb.errors import StorageError
from keepdb.files import sync_directory
from keepdb.runtime.lock import own_directory
from keepdb.storage import anchor as anchors
from keepdb.storage.anchor import Anchor
from keepdb.storage.connection import explained
from keepdb.storage.filelock import lock_for_writing
from keepdb.storage.generations import log_generations

from .keycheck import check_copy, check_opens
from .keys import RootKeys
from .manifest import KEYRING, Manifest, read_manifest
from .progress import Progress, Steps, run
from .rebuild import close_clean, open_rebuilt, rebuild_steps
from .scratch import Scratch, sweep

RESTORING: Final = ".restoring-"
BEFORE: Final = ".before-"
#: What belongs to the place and not to the data: it moves from the old directory to the new one.
CARRIED_OVER: Final = ("config.yaml", "backups")


class Restored(msgspec.Struct, frozen=True):
    """target: the restored data directory. kept: where the one before it is now, if there was one.

    erased: data keys of the log that had been destroyed on purpose when the backup was made.
    """

    target: Path
    kept: Path | None
    backup: str
    seq: int
    events: int
    erased: int


def restore(
    backup: Path,
    target: Path,
    keys: RootKeys,
    *,
    replace: bool = False,
    clock: Clock,
    progress: Callable[[Progress], None] | None = None,
) -> Restored:
    """restore_steps in one go."""
    return run(restore_steps(backup, target, keys, replace=replace, clock=clock), progress)


def restore_steps(
    backup: Path, target: Path, keys: RootKeys, *, replace: bool = False, clock: Clock
) -> Steps[Restored]:
    """Restore `backup` as the data directory `target`. keys: unlock(backup, secrets).

    replace: an existing target is renamed to `<target>.before-<time>`; else `target_exists`. Raises also
    `target_foreign` (not a data directory), `already_running`, and the refusals of the backup. The state is not
    written: the first start builds it.
    """
    target = target.resolve()
    manifest = read_manifest(backup, keys.backup)
    _check_target(target, replace)
    with explained(target.parent):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _owned(target) as locks:
        sweep(target.parent, f"{target.name}{RESTORING}*")
        draft = Scratch(target.with_name(f"{target.name}{RESTORING}{os.getpid()}"))
        try:
            erased = yield from _fill(backup, manifest, draft.path, keys, clock)
            if sys.platform == "win32":
                # A directory with open files in it cannot be renamed there.
                locks.close()
            kept = _take_place(draft, target, replace, clock)
        finally:
            draft.discard()
    return Restored(target, kept, manifest.backup, manifest.log.seq, manifest.events, erased)


def _check_target(target: Path, replace: bool) -> None:
    if not os.path.lexists(target):
        return
    if not replace:
        raise StorageError(
            "target_exists",
            f"{target} exists and is not overwritten.",
            fix="Restore to another directory, or say --yes: the one that is there is kept under another name.",
        )
    if not target.is_dir() or (any(target.iterdir()) and not _is_data(target)):
        raise StorageError(
            "target_foreign",
            f"{target} is not a data directory of KeepDB, so it is not moved out of the way.",
            fix="Restore to a new directory, or move it away yourself.",
        )


def _is_data(directory: Path) -> bool:
    return (directory / KEYRING).exists() or bool(log_generations(directory))


@contextmanager
def _owned(target: Path) -> Iterator[ExitStack]:
    """Nobody runs on an existing target, and nobody can start to."""
    with ExitStack() as locks:
        if target.exists():
            lock = own_directory(target)
            locks.callback(lock.release)
            # The writer of a supervisor that was killed may live for two seconds more.
            for generation in log_generations(target):
                writer = lock_for_writing(target / f"events.{generation:04d}.lock")
                locks.callback(writer.release)
        yield locks


def _fill(backup: Path, manifest: Manifest, directory: Path, keys: RootKeys, clock: Clock) -> Steps[int]:
    """Write everything; returns how many used data keys had been destroyed."""
    rebuilt = yield from rebuild_steps(backup, manifest, directory, keys)
    check_copy(directory, keys, manifest.db_id, rebuilt.key_ids)
    erased = check_opens(directory, keys, rebuilt.key_ids)
    log = open_rebuilt(directory, keys, rebuilt)
    close_clean(log)
    head = rebuilt.head
    anchors.write(
        directory / ANCHOR_FILE,
        keys.anchor,
        Anchor(bytes.fromhex(manifest.db_id), log.generation, head.seq, head.hash, clock.now_ms()),
    )
    return erased


def _take_place(draft: Scratch, target: Path, replace: bool, clock: Clock) -> Path | None:
    """Two renames: a crash in between leaves the old directory under its new name and nothing in its place."""
    # Again: it may have appeared while the log was written.
    _check_target(target, replace)
    if not target.exists():
        draft.publish(target)
        return None
    kept = _kept_name(target, clock)
    with explained(target):
        target.rename(kept)
        try:
            draft.publish(target)
        except BaseException:
            kept.rename(target)
            raise
        for name in CARRIED_OVER:
            if (kept / name).exists():
                shutil.move(kept / name, target / name)
        sync_directory(target)
        sync_directory(kept)
    return kept


def _kept_name(target: Path, clock: Clock) -> Path:
    now = clock.now_ms()
    while True:
        at = datetime.fromtimestamp(now / 1000, UTC)
        path = target.with_name(f"{target.name}{BEFORE}{at:%Y%m%dT%H%M%S}{now % 1000:03d}Z")
        if not os.path.lexists(path):
            return path
        now += 1
