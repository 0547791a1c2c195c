"""The state file: batches, what they capture, the changes ring and its bounds, generations on disk."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from keepdb.errors import InvariantBroken, StorageError
from keepdb.storage import (
    Batch,
    Change,
    ChangeBatch,
    Position,
    RingLimits,
    StateFile,
    next_state_generation,
    remove_others,
    state_digest,
)

KEY, SCHEMA = b"s" * 32, "ab" * 32
DDL = (
    'CREATE TABLE "notes" ("id" TEXT PRIMARY KEY NOT NULL, "title" TEXT, "n" INTEGER) STRICT',
    'CREATE TABLE "tags" ("label" TEXT, "id" TEXT PRIMARY KEY NOT NULL) STRICT',
    'CREATE INDEX "notes__n" ON "notes" ("n", "id")',
)
HASH = b"h" * 32
ALL = 1 << 30


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFile]:
    opened = StateFile.create(tmp_path, SCHEMA, 1, KEY, DDL, 1)
    yield opened
    opened.close()


def apply(state: StateFile, seq: int, *statements: str, capture: bool = True) -> Batch:
    """One batch of one event."""
    with state.batch(capture=capture) as batch:
        batch.begin(seq)
        with batch.request():
            run(state, *statements)
        batch.finish(seq, HASH)
        batch.commit()
    return batch


def run(state: StateFile, *statements: str) -> None:
    for statement in statements:
        state.connection.execute(statement)


def note(name: str, n: int = 0) -> str:
    return f"INSERT INTO notes VALUES ('{name}', 'title of {name}', {n})"


def changes(state: StateFile, after: int) -> list[Change]:
    batches = state.changes_after(after, ALL)
    assert batches is not None
    return [change for batch in batches for change in batch.changes]


def test_a_new_state_is_at_the_beginning_and_not_complete(state: StateFile, tmp_path: Path) -> None:
    assert state.position == Position(0, b"", 0)
    assert not state.complete
    assert state.path.name == "state.abababababab.0001.db"
    assert StateFile.open_current(tmp_path, SCHEMA, KEY, "read") is None


def test_a_batch_moves_position_versions_and_ring_together(state: StateFile, tmp_path: Path) -> None:
    batch = apply(state, 1, note("a", 1), "INSERT INTO tags VALUES ('x', 't1')")

    reader = StateFile.open(state.path, KEY, "read")
    assert reader.position == Position(1, HASH, 1)
    assert reader.versions() == {"notes": 1, "tags": 1} == batch.versions
    assert reader.changes_after(0, ALL) == [
        ChangeBatch(
            1,
            1,
            [
                Change(1, "notes", "insert", "a", None, ("a", "title of a", 1)),
                Change(1, "tags", "insert", "t1", None, ("x", "t1")),
            ],
        )
    ]
    assert reader.changes_after(0, ALL) == [ChangeBatch(1, 1, batch.changes)]
    assert reader.changes_after(1, ALL) == []
    reader.close()


def test_changes_are_the_first_before_and_the_last_after_image_of_each_event(state: StateFile) -> None:
    apply(state, 1, note("a"), note("b"), note("c"))

    apply(
        state,
        2,
        "UPDATE notes SET n = 1 WHERE id = 'a'",
        "UPDATE notes SET n = 2 WHERE id = 'a'",
        "UPDATE notes SET n = 0 WHERE id = 'b'",
        note("d"),
        "DELETE FROM notes WHERE id = 'd'",
        "DELETE FROM notes WHERE id = 'c'",
        "INSERT OR REPLACE INTO notes VALUES ('b', 'new', 0)",
    )

    assert changes(state, 1) == [
        Change(2, "notes", "update", "a", ("a", "title of a", 0), ("a", "title of a", 2)),
        Change(2, "notes", "update", "b", ("b", "title of b", 0), ("b", "new", 0)),
        Change(2, "notes", "delete", "c", ("c", "title of c", 0), None),
    ]


def test_a_row_that_gets_another_id_is_a_row_gone_and_a_row_come(state: StateFile) -> None:
    apply(state, 1, note("a"))

    apply(state, 2, "UPDATE notes SET id = 'z'")

    assert [(one.op, one.id) for one in changes(state, 1)] == [("delete", "a"), ("insert", "z")]


def test_an_update_that_changes_nothing_is_no_change(state: StateFile) -> None:
    apply(state, 1, note("a"))

    batch = apply(state, 2, "UPDATE notes SET n = n")

    assert batch.changes == []
    assert batch.versions == {}
    assert state.versions() == {"notes": 1}
    assert state.changes_after(1, ALL) == [ChangeBatch(2, 2, [])]


def test_deleting_all_rows_at_once_is_captured_row_by_row(state: StateFile) -> None:
    apply(state, 1, note("a"), note("b"))

    apply(state, 2, "DELETE FROM notes")

    assert [(one.op, one.id) for one in changes(state, 1)] == [("delete", "a"), ("delete", "b")]


def test_a_refused_request_leaves_no_row_and_no_change_and_gives_its_position_back(state: StateFile) -> None:
    """Verifies: L2"""
    with state.batch() as batch:
        batch.begin(1)
        with batch.request():
            state.connection.execute(note("a"))
        batch.begin(2)
        with pytest.raises(apsw.ConstraintError), batch.request():
            run(state, note("b"), "UPDATE notes SET n = 99", note("a"))
        batch.begin(2)
        with batch.request():
            state.connection.execute(note("c"))
        batch.finish(2, HASH)
        batch.commit()

    assert [(one.seq, one.op, one.id) for one in changes(state, 0)] == [
        (1, "insert", "a"),
        (2, "insert", "c"),
    ]
    assert state.connection.execute("SELECT id, n FROM notes").fetchall() == [("a", 0), ("c", 0)]


def test_a_batch_that_is_not_committed_leaves_nothing(state: StateFile) -> None:
    """Verifies: L2"""
    apply(state, 1, note("a"))
    with state.batch() as batch:
        batch.begin(2)
        state.connection.execute(note("b"))
        batch.finish(2, HASH)

    with pytest.raises(apsw.SQLError), state.batch():
        run(state, note("c"), "no statement at all")

    assert state.position.seq == 1
    assert changes(state, 1) == []
    assert state.versions() == {"notes": 1}
    apply(state, 2, note("b"))
    assert [one.id for one in changes(state, 0)] == ["a", "b"]


def test_positions_only_go_forward(state: StateFile) -> None:
    apply(state, 3, note("a"))

    with pytest.raises(InvariantBroken), state.batch() as batch:
        batch.finish(3, HASH)
    with state.batch() as batch:
        batch.begin(6)
        run(state, note("b"))
        with pytest.raises(InvariantBroken):
            batch.finish(5, HASH)
    with pytest.raises(InvariantBroken), state.batch() as batch:
        batch.commit()

    assert state.position.seq == 3


def test_a_commit_that_fails_rolls_back_and_the_position_tells(state: StateFile) -> None:
    apply(state, 1, note("a"))
    state.connection.set_commit_hook(lambda: True)

    with pytest.raises(StorageError):
        apply(state, 2, note("b"))

    state.connection.set_commit_hook(None)
    assert state.position.seq == 1
    assert not state.connection.in_transaction
    apply(state, 2, note("b"))


def test_the_tail_that_the_log_has_not_synced_is_remembered(state: StateFile) -> None:
    apply(state, 1, note("a"))
    with state.batch() as batch:
        batch.finish(5, HASH, durable=False)
        batch.commit()

    assert state.position == Position(5, HASH, 1)
    apply(state, 6, note("b"))
    assert state.position == Position(6, HASH, 6)


def test_the_ring_drops_the_oldest_events_and_says_so(tmp_path: Path) -> None:
    """Verifies: L3, L8"""
    state = StateFile.create(tmp_path, SCHEMA, 1, KEY, DDL, 1, limits=RingLimits(max_seqs=10))
    for seq in range(1, 31):
        apply(state, seq, note(f"a{seq}"))

    assert state.changes_after(19, ALL) is None
    assert state.changes_after(0, ALL) is None
    assert [one.seq for one in changes(state, 20)] == list(range(21, 31))
    assert state.changes_after(30, ALL) == []
    assert state.changes_after(31, ALL) is None
    assert state.changes_after(2**63, ALL) is None
    state.close()


def test_the_ring_is_bounded_in_bytes_even_by_one_large_batch(tmp_path: Path) -> None:
    """Verifies: L3, L8"""
    state = StateFile.create(tmp_path, SCHEMA, 1, KEY, DDL, 1, limits=RingLimits(max_bytes=10_000))
    for seq in range(1, 41):
        apply(state, seq, f"INSERT INTO notes VALUES ('{seq}', '{'x' * 900}', 0)")
    (size,) = state.connection.execute("SELECT sum(length(body)) FROM _changes").fetchall()[0]
    assert isinstance(size, int)
    assert 8_000 < size <= 10_000
    assert [one.seq for one in changes(state, 35)] == [36, 37, 38, 39, 40]

    apply(state, 41, f"INSERT INTO notes VALUES ('big', '{'x' * 20_000}', 0)")

    assert state.changes_after(40, ALL) is None
    assert state.changes_after(41, ALL) == []
    apply(state, 42, note("z"))
    assert [one.id for one in changes(state, 41)] == ["z"]
    state.close()


def test_a_ring_made_much_smaller_is_trimmed_in_slices(tmp_path: Path) -> None:
    """Verifies: L8"""
    state = StateFile.create(tmp_path, SCHEMA, 1, KEY, DDL, 1)
    for seq in range(1, 201):
        apply(state, seq, note(f"a{seq}"))
    path = state.path
    state.close()

    small = StateFile.open(path, KEY, "write", limits=RingLimits(max_seqs=5))
    kept = []
    for seq in range(201, 206):
        apply(small, seq, note(f"a{seq}"))
        kept.append(small.connection.execute("SELECT count(*) FROM _changes").fetchall()[0][0])

    assert kept == [137, 74, 11, 5, 5]
    assert [one.seq for one in changes(small, 200)] == [201, 202, 203, 204, 205]
    small.close()


def test_catching_up_goes_in_slices_and_resumes_inside_a_batch(state: StateFile) -> None:
    """Verifies: L3"""
    with state.batch() as batch:
        for seq in (1, 2, 3):
            batch.begin(seq)
            state.connection.execute(note(f"a{seq}"))
        batch.finish(4, HASH)
        batch.commit()
    apply(state, 5, note("a5"))

    (slice_,) = state.changes_after(2, 1) or []

    assert (slice_.seq_first, slice_.seq_last, [one.seq for one in slice_.changes]) == (3, 4, [3])
    (rest,) = state.changes_after(4, 1) or []
    assert (rest.seq_first, rest.seq_last, rest.changes[0].id) == (5, 5, "a5")


def test_a_hole_in_the_ring_is_told(state: StateFile) -> None:
    """Verifies: L3"""
    for seq in (1, 2, 3):
        apply(state, seq, note(f"a{seq}"))

    state.connection.execute("DELETE FROM _changes WHERE seq_last = 2")

    assert state.changes_after(0, ALL) is None
    assert state.changes_after(1, ALL) is None
    assert [one.id for one in changes(state, 2)] == ["a3"]


def test_emptying_the_ring_takes_all_images_along(state: StateFile) -> None:
    apply(state, 1, note("a"))
    with state.batch() as batch:
        batch.begin(2)
        state.connection.execute("DELETE FROM notes WHERE id = 'a'")
        batch.empty_ring()
        batch.finish(2, HASH)
        batch.commit()

    assert state.connection.execute("SELECT count(*) FROM _changes").fetchall() == [(0,)]
    assert state.changes_after(1, ALL) is None
    assert state.versions() == {"notes": 2}


def test_a_rebuild_keeps_versions_but_no_images(state: StateFile) -> None:
    apply(state, 1, note("a"), capture=False)
    apply(state, 2, "UPDATE notes SET n = n", capture=False)

    assert state.versions() == {"notes": 1}
    assert state.changes_after(0, ALL) is None
    assert state.changes_after(2, ALL) == []


def test_a_reader_sees_one_moment_while_the_writer_goes_on(state: StateFile) -> None:
    apply(state, 1, note("a"))
    reader = StateFile.open(state.path, KEY, "read")
    reader.connection.execute("BEGIN")
    assert reader.position.seq == 1

    apply(state, 2, note("b"))

    assert reader.position.seq == 1
    assert reader.changes_after(1, ALL) == []
    assert reader.versions() == {"notes": 1}
    reader.connection.execute("COMMIT")
    assert reader.position.seq == 2
    with pytest.raises(InvariantBroken), reader.batch():
        pass
    reader.close()


def test_a_second_batch_at_the_same_time_is_refused(state: StateFile) -> None:
    """Verifies: L7"""
    other = StateFile.open(state.path, KEY, "write")
    other.connection.set_busy_timeout(10)

    with state.batch(), pytest.raises(StorageError) as caught, other.batch():
        pass

    assert caught.value.code == "file_busy"
    other.close()


def test_an_error_of_the_file_inside_a_request_is_not_a_refusal(state: StateFile) -> None:
    with pytest.raises(StorageError) as caught, state.batch() as batch, batch.request():
        raise apsw.FullError("injected by hand, as SQLite raises it")
    assert caught.value.code == "disk_full"

    with pytest.raises(StorageError) as caught, state.batch() as batch, batch.request():
        run(state, note("a"), "INSERT OR ROLLBACK INTO notes SELECT * FROM notes")
    assert caught.value.code == "disk_error"
    assert state.position.seq == 0
    apply(state, 1, note("a"))


def test_the_tables_can_be_made_again_from_the_file_itself(state: StateFile, tmp_path: Path) -> None:
    assert state.ddl() == DDL

    twin = StateFile.create(tmp_path, SCHEMA, 2, KEY, state.ddl(), 1)

    assert twin.ddl() == DDL
    twin.close()


def test_the_highest_complete_generation_of_the_schema_is_current(state: StateFile, tmp_path: Path) -> None:
    """Verifies: L2"""
    state.mark_complete()
    state.close()
    second = StateFile.create(tmp_path, SCHEMA, next_state_generation(tmp_path), KEY, DDL, 1)
    (tmp_path / "state.abababababab.0009.db").touch()
    other = StateFile.create(tmp_path, "cd" * 32, next_state_generation(tmp_path), KEY, DDL, 1)
    assert (second.generation, other.generation) == (2, 10)

    def current() -> int | None:
        found = StateFile.open_current(tmp_path, SCHEMA, KEY, "read")
        generation = found.generation if found else None
        if found:
            found.close()
        return generation

    assert current() == 1
    second.mark_complete()
    assert current() == 2
    other.close()

    assert remove_others(tmp_path, second.path) == []
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == ["state.abababababab.0002.db"]


def test_a_damaged_state_is_told_and_left_as_it_is(state: StateFile, tmp_path: Path) -> None:
    """Verifies: L10"""
    state.mark_complete()
    state.close()
    data = bytearray(state.path.read_bytes())
    data[200] ^= 1
    state.path.write_bytes(data)

    with pytest.raises(StorageError) as caught:
        StateFile.open_current(tmp_path, SCHEMA, KEY, "write")

    assert caught.value.code == "file_unreadable"
    assert state.path.read_bytes() == bytes(data)
    assert next_state_generation(tmp_path) == 2


def test_a_flipped_bit_in_a_row_is_noticed_when_it_is_read(state: StateFile) -> None:
    """Verifies: L10"""
    apply(state, 1, *(f"INSERT INTO notes VALUES ('{n}', '{'x' * 500}', 0)" for n in range(60)))
    state.mark_complete()
    state.close()
    data = bytearray(state.path.read_bytes())
    reader = StateFile.open(state.path, KEY, "read")
    pages = reader.connection.execute(
        "SELECT pageno FROM dbstat WHERE name = 'notes' AND pagetype = 'leaf'"
    ).fetchall()
    reader.close()
    page = pages[0][0]
    assert isinstance(page, int)
    data[(page - 1) * 4096 + 2000] ^= 1
    state.path.write_bytes(data)

    damaged = StateFile.open(state.path, KEY, "read")
    with pytest.raises(apsw.CorruptError):
        damaged.connection.execute("SELECT sum(length(title)) FROM notes").fetchall()
    damaged.close()


def test_a_newer_format_is_told(state: StateFile, tmp_path: Path) -> None:
    state.connection.execute("UPDATE _meta SET format = 9")
    state.mark_complete()
    state.close()

    with pytest.raises(StorageError) as caught:
        StateFile.open_current(tmp_path, SCHEMA, KEY, "write")

    assert caught.value.code == "file_newer"


class _Column:
    def __init__(self, name: str) -> None:
        self.name = name


class _Schema:
    table_names = ("notes", "tags")

    def columns(self, table: str) -> list[_Column]:
        return [_Column(name) for name in (("id", "title", "n") if table == "notes" else ("id", "label"))]


def test_the_digest_depends_on_the_rows_and_on_nothing_else(state: StateFile, tmp_path: Path) -> None:
    """Verifies: L2"""
    apply(state, 1, note("a", 1), note("b", 2))
    twin = StateFile.create(tmp_path, SCHEMA, 2, KEY, DDL, 1)
    apply(twin, 4, note("b", 2))
    apply(twin, 7, note("c"), note("a", 1))
    assert state_digest(state.connection, _Schema()) != state_digest(twin.connection, _Schema())

    apply(twin, 8, "DELETE FROM notes WHERE id = 'c'")

    one, two = (state_digest(file.connection, _Schema()) for file in (state, twin))
    assert one == two
    assert set(one.per_table) == {"notes", "tags"}
    apply(twin, 9, "UPDATE notes SET n = NULL WHERE id = 'b'")
    changed = state_digest(twin.connection, _Schema())
    assert changed.total != one.total
    assert changed.per_table["tags"] == one.per_table["tags"]
    twin.close()
