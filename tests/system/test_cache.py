"""The result cache in a running database: it is used, never stale, never readable, and always disposable."""

from collections.abc import Callable
from pathlib import Path

import psutil
from hosting import wait_until

from keepdb.client import Database, NewEvent, Sidecar
from messages.queries import Query, QueryFigures, QueryStatus, Read, Rows, Sql

CANARY = "a very particular sentence about lighthouses"
#: Every result is worth keeping, and one worker sees every query.
SETTINGS = {"query.cache_above_us": "0", "query.workers": "1"}
QUERY = Query(source="memoryEntities", where={"type": "concept"}, order_by=("-importance",), limit=20)

Start = Callable[..., Sidecar]


def fill(db: Database, memories: int = 200) -> None:
    db.commit_all(
        [
            NewEvent(
                type="memoryEntities.created",
                data={"type": "concept", "name": CANARY, "content": CANARY, "importance": number % 100},
            )
            for number in range(memories)
        ]
    )


def read(db: Database) -> Rows:
    return db.ask("query-1", Read(query=QUERY, at_least=db.last_seq), Rows)


def read_until_cached(db: Database) -> Rows:
    """Storing is a tell, so the first repetition may come too soon; the test's own timeout ends the wait."""
    while not (rows := read(db)).cached:
        pass
    return rows


def pid_of(db: Database, name: str) -> int:
    return next(actor.pid for actor in db.status().actors if actor.name == name)


def state_of(db: Database, name: str) -> str:
    return next(actor.state for actor in db.status().actors if actor.name == name)


def test_a_repeated_query_is_answered_from_the_cache_with_the_same_rows(start: Start) -> None:
    with start(settings=SETTINGS).connect() as db:
        fill(db)
        computed = read(db)
        kept = read_until_cached(db)
        assert (kept.columns, kept.rows, kept.cursor) == (computed.columns, computed.rows, computed.cursor)
        figures = db.ask("query-1", QueryStatus(), QueryFigures)
        assert figures.cache_hits >= 1


def test_a_write_is_seen_at_once_although_the_old_result_is_still_in_the_cache(start: Start) -> None:
    """Verifies: L9. The key names the versions of the tables, so a stale entry cannot be hit."""
    with start(settings=SETTINGS).connect() as db:
        fill(db)
        for number in range(20):
            before = read_until_cached(db)
            top = before.rows[0][before.columns.index("id")]
            db.commit("memoryEntities.deleted", id=top)
            after = read(db)
            assert top not in [row[after.columns.index("id")] for row in after.rows], number


def test_a_write_to_another_collection_leaves_the_entry_in_use(start: Start) -> None:
    with start(settings=SETTINGS).connect() as db:
        fill(db)
        read_until_cached(db)
        db.commit("personas.created", {"name": "Ada"})
        assert read(db).cached


def test_the_cache_holds_nothing_that_can_be_read(start: Start) -> None:
    """Verifies: L4."""
    sidecar = start(settings=SETTINGS)
    with sidecar.connect() as db:
        fill(db)
        read_until_cached(db)
        files = [path for path in (sidecar.data / "cache.lmdb").rglob("*") if path.is_file()]
        assert any(path.stat().st_size > 0 for path in files)
        for path in files:
            assert CANARY.encode() not in path.read_bytes(), path


def test_the_cache_is_emptied_when_a_process_that_maps_it_is_killed(start: Start) -> None:
    """Verifies: L6, L9. A damaged map kills its reader, so nobody may map it again."""
    sidecar = start(settings=SETTINGS)
    with sidecar.connect() as db:
        fill(db)
        read_until_cached(db)
        before = {path.name for path in (sidecar.data / "cache.lmdb").iterdir()}
        psutil.Process(pid_of(db, "query-1")).kill()
        rows = read_until_cached(db)
        assert len(rows.rows) == 20
        after = {path.name for path in (sidecar.data / "cache.lmdb").iterdir()}
        assert after.isdisjoint(before)


def test_reads_go_on_while_the_cache_is_dead_or_its_file_is_damaged(start: Start) -> None:
    """Verifies: L9, L10. Every value is sealed: a changed byte makes a miss, never a wrong row."""
    sidecar = start(settings=SETTINGS)
    with sidecar.connect() as db:
        fill(db)
        expected = read_until_cached(db).rows
        psutil.Process(pid_of(db, "cache")).kill()
        assert read(db).rows == expected
        assert read_until_cached(db).rows == expected
        damage(sidecar.data / "cache.lmdb")
        for _ in range(20):
            assert read(db).rows == expected


def test_results_that_depend_on_the_clock_are_computed_anew_each_time(start: Start) -> None:
    """Verifies: L9."""
    now = Sql(sql="SELECT count(*) AS n, julianday('now') AS day FROM memoryEntities")
    with start(settings=SETTINGS).connect() as db:
        fill(db)
        first = db.ask("query-1", Read(sql=now), Rows)
        # What is offered to the cache is kept in order, so an entry of the first one would be there as well.
        read_until_cached(db)
        second = db.ask("query-1", Read(sql=now), Rows)
        assert not second.cached
        assert second.rows[0][1] > first.rows[0][1]


def test_a_cache_that_cannot_write_rests_and_reads_go_on(start: Start) -> None:
    """Verifies: L6, L10. The limit on file sizes is what a full disk looks like."""
    with start(settings=SETTINGS).connect() as db:
        fill(db)
        expected = read_until_cached(db).rows
        process = psutil.Process(pid_of(db, "cache"))
        _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (4096, hard))
        db.commit("memoryEntities.created", {"type": "task", "name": "x", "content": "x"})

        def rests() -> bool:
            assert read(db).rows == expected
            return state_of(db, "cache") == "degraded"

        wait_until(rests, 10)
        assert pid_of(db, "cache") == process.pid

        process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))
        psutil.Process(pid_of(db, "query-1")).kill()
        assert read_until_cached(db).rows == expected
        assert (state_of(db, "cache"), pid_of(db, "cache")) != ("degraded", process.pid)


def test_a_database_starts_where_no_cache_can_be_made(start: Start, tmp_path: Path) -> None:
    """Verifies: L6, L10."""
    (tmp_path / "db").mkdir(mode=0o700)
    (tmp_path / "db" / "cache.lmdb").write_text("in the way")
    with start(settings=SETTINGS).connect() as db:
        fill(db)
        assert len(read(db).rows) == 20
        wait_until(lambda: state_of(db, "cache") == "degraded", 10)


def damage(folder: Path) -> None:
    """Turn over bytes in the values' pages, behind the two meta pages at the start."""
    for path in folder.rglob("data.mdb"):
        with path.open("r+b") as file:
            size = file.seek(0, 2)
            for offset in range(4 * 4096 + 100, size, 997):
                file.seek(offset)
                byte = file.read(1)
                file.seek(offset)
                file.write(bytes([byte[0] ^ 0x55]))
