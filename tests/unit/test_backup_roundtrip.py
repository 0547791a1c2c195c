"""Making, proving and restoring backups of a real database, in this process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from test_backup_world import CANARY, CLOCK, PASSPHRASE, World, log_tables, world

from keepdb.backup import (
    find_backup,
    list_backups,
    local_bodies,
    make,
    make_steps,
    mark_proven,
    read_manifest,
    read_proven,
    rehearse,
    restore,
    sweep,
    unlock,
)
from keepdb.backup.keycheck import check_copy
from keepdb.backup.manifest import Manifest, write_manifest
from keepdb.backup.scratch import Scratch
from keepdb.crypto import keyfile
from keepdb.crypto.slots import Secrets
from keepdb.errors import InvalidRequest, KeepError, KeyringError, StorageError, Unavailable
from keepdb.runtime.lock import own_directory
from keepdb.storage import EventLog, NewLogEvent, pack_clear

__all__ = ["world"]


@pytest.fixture
def backup(world: World, tmp_path: Path) -> Path:
    return make(world.source, tmp_path / "backups", "before the trip", CLOCK)[0]


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(KeepError) as caught:
        work()
    return caught.value.code


def test_a_restored_log_is_the_same_log_row_for_row(world: World, backup: Path, tmp_path: Path) -> None:
    """Verifies: L1"""
    done = restore(backup, tmp_path / "new", unlock(backup, PASSPHRASE), clock=CLOCK)

    assert (done.seq, done.events, done.kept, done.erased) == (40, 40, None, 0)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "anchor.json",
        "events.0001.db",
        "events.0001.lock",
        "keyring.json",
        "schema.yaml",
    ]
    assert log_tables(tmp_path / "new", world.keys) == log_tables(world.data, world.keys)
    with pytest.raises(StorageError):
        EventLog.open(tmp_path / "new", b"x" * 32, "read")


def test_a_restored_database_starts_and_goes_on_with_the_same_rows_and_receipts(
    world: World, tmp_path: Path
) -> None:
    """Verifies: L2, L5"""
    world.commit(world.created("keyed"), key="once")
    backup, manifest = make(world.source, tmp_path / "backups", "", CLOCK)
    digest = world.digest()
    world.note(99)
    world.close()
    restore(backup, world.data, world.keys, replace=True, clock=CLOCK)

    world.open()

    assert world.digest() == digest == manifest.digest
    again = world.log.find_request(world.client, 41)
    keyed = world.log.find_idempotency("once")
    assert again is not None
    assert keyed is not None
    assert again == keyed
    assert (again.ids, again.seq_last) == (("keyed",), 41)
    assert world.note(100) == 43


def test_the_head_is_fixed_at_the_beginning_and_later_writes_are_not_in(world: World, tmp_path: Path) -> None:
    """Verifies: L2"""
    digest, tables = world.digest(), log_tables(world.data, world.keys)
    steps = make_steps(world.source, tmp_path / "backups", "", CLOCK)

    # A new subject, so that keys are assigned between the steps as well.
    numbers = iter(range(1_000, 2_000))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            backup, manifest = end.value
            break
        world.note(next(numbers))

    assert world.log.head.seq > manifest.log.seq == 40
    assert manifest.digest == digest
    restore(backup, tmp_path / "new", world.keys, clock=CLOCK)
    assert log_tables(tmp_path / "new", world.keys) == tables


def test_a_rehearsal_rebuilds_the_state_and_proves_the_digest(
    world: World, backup: Path, tmp_path: Path
) -> None:
    """Verifies: L2"""
    keys = unlock(backup, PASSPHRASE)
    manifest = read_manifest(backup, keys.backup)
    seen: list[str] = []

    rehearsal = rehearse(
        backup,
        manifest,
        tmp_path / "scratch",
        keys,
        local_bodies(backup, keys, world.db_id),
        progress=lambda reached: seen.append(reached.phase),
    )

    assert rehearsal.digest_matches
    assert rehearsal.digest == world.digest()
    assert (rehearsal.events, rehearsal.erased, rehearsal.quarantined) == (40, 0, 0)
    assert set(seen) == {"replay"} or set(seen) == {"restore", "replay"}
    assert not (tmp_path / "scratch").exists()
    assert read_proven(backup, keys.backup) is None
    mark_proven(backup, keys.backup, rehearsal.digest, "1.2.3", CLOCK)
    proven = read_proven(backup, keys.backup)
    assert proven is not None
    assert proven.version == "1.2.3"
    assert proven.digest == manifest.digest


def test_a_digest_that_does_not_fit_is_found_by_the_rehearsal(
    world: World, backup: Path, tmp_path: Path
) -> None:
    """Verifies: L2"""
    manifest = read_manifest(backup, world.keys.backup)
    lying = msgspec.structs.replace(manifest, digest="00" * 32)

    rehearsal = rehearse(
        backup, lying, tmp_path / "scratch", world.keys, local_bodies(backup, world.keys, world.db_id)
    )

    assert not rehearsal.digest_matches
    assert rehearsal.digest == manifest.digest


def test_a_backup_of_an_empty_database_restores(tmp_path: Path) -> None:
    empty = World(tmp_path / "data")
    backup, manifest = make(empty.source, tmp_path / "backups", "", CLOCK)
    keys = unlock(backup, PASSPHRASE)

    rehearsal = rehearse(
        backup, manifest, tmp_path / "scratch", keys, local_bodies(backup, keys, empty.db_id)
    )
    restore(backup, tmp_path / "new", keys, clock=CLOCK)

    assert manifest.events == 0
    assert rehearsal.digest_matches
    assert log_tables(tmp_path / "new", keys)["events"] == []
    empty.close()


def test_no_backup_file_shows_what_was_written(world: World, backup: Path, tmp_path: Path) -> None:
    """Verifies: L4"""
    restore(backup, tmp_path / "new", world.keys, clock=CLOCK)
    files = [path for path in (*backup.rglob("*"), *(tmp_path / "new").rglob("*")) if path.is_file()]

    assert len(files) >= 8
    for path in files:
        raw = path.read_bytes()
        assert CANARY.encode() not in raw
        assert world.keys.backup not in raw
        assert path.stat().st_mode & 0o077 == 0


def test_every_flipped_byte_of_the_manifest_is_refused(world: World, backup: Path) -> None:
    """Verifies: L10"""
    path = backup / "manifest.json"
    raw = path.read_bytes()

    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        assert code_of(lambda: read_manifest(backup, world.keys.backup, world.db_id)) in (
            "backup_damaged",
            "backup_foreign",
        )
    for cut in (raw[:-1], raw + b" ", b"", b"{}"):
        path.write_bytes(cut)
        assert code_of(lambda: read_manifest(backup, world.keys.backup)) == "backup_damaged"


@pytest.mark.parametrize("name", ["keyring.json", "schema.yaml", "log-0001.piece", "proven.json"])
def test_flipped_bytes_in_any_other_file_are_refused_and_leave_no_target(
    world: World, backup: Path, tmp_path: Path, name: str
) -> None:
    """Verifies: L10"""
    mark_proven(backup, world.keys.backup, "d", "1", CLOCK)
    path = backup / name
    raw = path.read_bytes()

    for at in range(0, len(raw), max(1, len(raw) // 25)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0x80]) + raw[at + 1 :])
        if name == "proven.json":
            assert read_proven(backup, world.keys.backup) is None
            continue
        assert code_of(lambda: restore(backup, tmp_path / "new", world.keys, clock=CLOCK)) == "backup_damaged"
        assert sorted(child.name for child in tmp_path.iterdir()) == ["backups", "data"]


def test_files_of_another_backup_are_refused(world: World, backup: Path, tmp_path: Path) -> None:
    """Verifies: L10"""
    world.note(50)
    other, _ = make(world.source, tmp_path / "backups", "", CLOCK)

    for name in ("log-0001.piece", "manifest.json"):
        mixed = tmp_path / f"mixed-{name}"
        shutil.copytree(other, mixed)
        shutil.copyfile(backup / name, mixed / name)
        assert code_of(lambda: restore(mixed, tmp_path / "new", world.keys, clock=CLOCK)) == "backup_damaged"  # noqa: B023
    renamed = other.with_name(backup.name)
    shutil.rmtree(backup)
    other.rename(renamed)
    found = lambda: find_backup(tmp_path / "backups", renamed.name, world.keys.backup, world.db_id)  # noqa: E731
    assert code_of(found) == "backup_damaged"


def test_a_manifest_that_lies_about_the_log_is_refused(world: World, backup: Path, tmp_path: Path) -> None:
    """Verifies: L10"""
    manifest = read_manifest(backup, world.keys.backup)
    log = manifest.log
    lies: list[Manifest] = [
        msgspec.structs.replace(manifest, events=39),
        msgspec.structs.replace(manifest, log=msgspec.structs.replace(log, hash="00" * 32)),
        msgspec.structs.replace(manifest, log=msgspec.structs.replace(log, base_hash="00" * 32)),
        msgspec.structs.replace(manifest, log=msgspec.structs.replace(log, seq=39)),
    ]
    for lie in lies:
        write_manifest(backup, world.keys.backup, lie)
        assert code_of(lambda: restore(backup, tmp_path / "new", world.keys, clock=CLOCK)) == "backup_damaged"
        assert not (tmp_path / "new").exists()


def test_foreign_newer_and_unknown_backups_are_told_apart(world: World, backup: Path, tmp_path: Path) -> None:
    stranger = World(tmp_path / "other")
    theirs, _ = make(stranger.source, tmp_path / "backups", "", CLOCK)
    stranger.close()
    directory, key, db_id = tmp_path / "backups", world.keys.backup, world.db_id

    assert code_of(lambda: find_backup(directory, theirs.name, key, db_id)) == "backup_foreign"
    assert code_of(lambda: find_backup(directory, "../data", key, db_id)) == "backup_unknown"
    assert code_of(lambda: find_backup(directory, backup.name[:-1] + "9", key, db_id)) == "backup_unknown"
    assert code_of(lambda: find_backup(tmp_path / "none", "", key, db_id)) == "backup_unknown"
    assert code_of(lambda: unlock(tmp_path / "none", PASSPHRASE)) == "backup_unknown"
    assert [one.id for one in list_backups(directory, key, db_id)] == [backup.name]
    write_manifest(backup, key, msgspec.structs.replace(read_manifest(backup, key), format=2))
    assert code_of(lambda: read_manifest(backup, key, db_id)) == "backup_newer"
    assert [one.error for one in list_backups(directory, key, db_id)] == ["backup_newer"]


def test_a_wrong_passphrase_and_a_damaged_keyring_copy_are_told_apart(world: World, backup: Path) -> None:
    with pytest.raises(KeyringError) as caught:
        unlock(backup, Secrets(passphrase="wrong"))
    assert caught.value.code == "wrong_key"
    path = backup / "keyring.json"
    path.write_bytes(path.read_bytes()[:-100])
    assert code_of(lambda: unlock(backup, PASSPHRASE)) == "backup_damaged"


def test_restoring_never_overwrites_and_keeps_what_was_there_only_when_told_to(
    world: World, backup: Path, tmp_path: Path
) -> None:
    world.note(60)
    world.close()
    (world.data / "config.yaml").write_text("logs: {level: debug}\n")
    (world.data / "backups").mkdir()
    tables = log_tables(world.data, world.keys)

    assert code_of(lambda: restore(backup, world.data, world.keys, clock=CLOCK)) == "target_exists"
    assert log_tables(world.data, world.keys) == tables
    done = restore(backup, world.data, world.keys, replace=True, clock=CLOCK)

    assert done.kept is not None
    assert done.kept.name.startswith("data.before-")
    assert log_tables(done.kept, world.keys) == tables
    assert len(log_tables(world.data, world.keys)["events"]) == 40
    assert (world.data / "config.yaml").exists()
    assert (world.data / "backups").is_dir()
    assert not list(tmp_path.glob("*.restoring-*"))
    world.open()


def test_a_target_that_is_in_use_or_no_data_directory_is_left_alone(
    world: World, backup: Path, tmp_path: Path
) -> None:
    """Verifies: L7"""
    stranger = tmp_path / "photos"
    stranger.mkdir()
    (stranger / "one.jpg").write_bytes(b"x")

    assert (
        code_of(lambda: restore(backup, stranger, world.keys, replace=True, clock=CLOCK)) == "target_foreign"
    )
    # The writer of this process holds the log's lock.
    assert (
        code_of(lambda: restore(backup, world.data, world.keys, replace=True, clock=CLOCK)) == "second_writer"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "data", "photos"]


def test_closing_an_unfinished_backup_leaves_nothing(world: World, tmp_path: Path) -> None:
    steps = make_steps(world.source, tmp_path / "backups", "", CLOCK)
    next(steps)
    assert [path.suffix for path in (tmp_path / "backups").iterdir()] == [".partial"]

    steps.close()

    assert list((tmp_path / "backups").iterdir()) == []


def test_leftovers_are_swept_but_not_what_is_being_built(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial" / "log-0001.piece").write_bytes(b"x")
    (tmp_path / "kept").mkdir()
    building = Scratch(tmp_path / "b.partial")

    assert sweep(tmp_path, "*.partial") == [tmp_path / "a.partial"]

    building.publish(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "kept"]


def proved(world: World, backup: Path, scratch: Path, live: Path) -> None:
    """As the actor does it: with few keys, against the keyring in use."""
    manifest = read_manifest(backup, world.keys.backup)
    bodies = local_bodies(backup, world.keys, world.db_id)
    assert rehearse(backup, manifest, scratch, world.few_keys, bodies, live_keyring=live).digest_matches


def test_the_keys_of_a_keyring_copy_are_proven_against_those_in_use(
    world: World, backup: Path, tmp_path: Path
) -> None:
    """Verifies: L10"""
    other = World(tmp_path / "other")
    other.close()
    scratch = tmp_path / "scratch"

    proved(world, backup, scratch, world.data / "keyring.json")
    assert code_of(lambda: proved(world, backup, scratch, other.data / "keyring.json")) == "backup_damaged"
    # A key that was destroyed since is no fault of the backup.
    world.key_store.destroy(3)
    proved(world, backup, scratch, world.data / "keyring.json")


def test_a_keyring_copy_without_a_used_key_or_with_another_mac_is_refused(world: World, backup: Path) -> None:
    """Verifies: L10"""
    db_id, path = world.db_id.hex(), backup / "keyring.json"
    check_copy(backup, world.keys, db_id, set(range(1, world.key_store.pool_end)))

    assert (
        code_of(lambda: check_copy(backup, world.keys, db_id, {world.key_store.pool_end})) == "backup_damaged"
    )
    assert code_of(lambda: check_copy(backup, world.keys, "00" * 16, set())) == "backup_foreign"
    path.write_bytes(keyfile.encode(keyfile.decode(path.read_bytes(), path), b"x" * 32))
    assert code_of(lambda: check_copy(backup, world.keys, db_id, set())) == "backup_damaged"


def test_erased_subjects_stay_erased_in_a_backup_made_later(world: World, tmp_path: Path) -> None:
    world.key_store.destroy(3)
    backup, _ = make(world.source, tmp_path / "backups", "", CLOCK)

    assert restore(backup, tmp_path / "new", world.keys, clock=CLOCK).erased == 1


def test_leftovers_of_a_killed_restore_are_removed_by_the_next_one(
    world: World, backup: Path, tmp_path: Path
) -> None:
    left = tmp_path / "new.restoring-1"
    left.mkdir()
    (left / "events.0001.db").write_bytes(b"half")

    restore(backup, tmp_path / "new", world.keys, clock=CLOCK)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "data", "new"]


def test_a_backup_is_refused_while_the_state_stands_in_the_middle_of_a_request(
    world: World, tmp_path: Path
) -> None:
    world.commit(*(NewLogEvent("notes.created", 1, name, pack_clear({})) for name in "abc"))
    state = world.state
    hash_42 = world.log.hash_at(42)
    state.connection.execute("UPDATE _meta SET applied_seq = 42, log_hash = ?", (hash_42,))

    with pytest.raises(Unavailable) as caught:
        make(world.source, tmp_path / "backups", "", CLOCK)

    assert caught.value.code == "state_not_ready"
    assert caught.value.retryable
    state.connection.execute("UPDATE _meta SET applied_seq = 43, log_hash = ?", (world.log.head.hash,))
    assert make(world.source, tmp_path / "backups", "", CLOCK)[1].events == 43


def test_a_damaged_log_gives_no_backup(world: World, tmp_path: Path) -> None:
    """Verifies: L10"""
    world.log.connection.execute("UPDATE events SET entity = 'x' WHERE seq = 7")

    assert code_of(lambda: make(world.source, tmp_path / "backups", "", CLOCK)) == "log_damaged"
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_schema_edited_since_the_start_and_a_long_label_are_refused(world: World, tmp_path: Path) -> None:
    edited = msgspec.structs.replace(
        world.source, schema_text=world.source.schema_text.replace(b"rank", b"order")
    )

    assert code_of(lambda: make(edited, tmp_path / "backups", "", CLOCK)) == "schema_not_the_running_one"
    with pytest.raises(InvalidRequest):
        make(world.source, tmp_path / "backups", "x" * 201, CLOCK)
    assert not (tmp_path / "backups").exists()


def test_keys_show_nothing_when_printed(world: World) -> None:
    """Verifies: L4"""
    shown = repr(world.source) + repr(world.keys) + repr(world.few_keys)

    for key in (world.keys.backup, world.keys.log, world.keys.anchor):
        assert repr(key) not in shown


def test_the_lock_of_a_running_supervisor_is_respected(world: World, backup: Path) -> None:
    """Verifies: L7"""
    world.close()
    held = own_directory(world.data)

    assert (
        code_of(lambda: restore(backup, world.data, world.keys, replace=True, clock=CLOCK))
        == "already_running"
    )

    held.release()
    assert restore(backup, world.data, world.keys, replace=True, clock=CLOCK).kept is not None
    world.open()
