"""Much data at once: what is sealed and opened together may be far larger than a frame."""

from collections.abc import Callable

from keepdb.client import Database, NewEvent, Sidecar, connect
from messages.base import Done
from messages.commits import Rebuild
from messages.queries import QueryFigures, QueryStatus

Start = Callable[..., Sidecar]

SLOW_SQL = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000000) SELECT max(x) FROM c"
)


def memory(summary_chars: int) -> NewEvent:
    data = {"type": "concept", "name": "large", "summary": "s" * summary_chars}
    return NewEvent(type="memoryEntities.created", data=data)


def rebuild(sidecar: Sidecar, db: Database) -> int:
    """Rebuild to the end; the state's new generation."""
    with connect(sidecar.data) as operator:
        operator.ask("writer", Rebuild(), Done)
    while (figures := db.writer_status()).rebuild_total:
        assert figures.mode == "serving"
    return figures.state_generation


def test_a_group_of_large_commits_is_sealed_in_several_asks(start: Start) -> None:
    """64 commits of 200 KB are 13 MB to seal, and a frame may have 8 MiB."""
    with start().connect() as db:
        pending = [db.submit([memory(200_000)]) for _ in range(64)]
        assert sorted(one.receipt().seq_first for one in pending) == list(range(1, 65))


def test_a_rebuild_and_a_start_without_state_open_large_bodies_in_several_asks(start: Start) -> None:
    """Verifies: L2, L9. A slice of 500 events of 20 KB is 10 MB to open."""
    sidecar = start()
    with sidecar.connect() as db:
        for _ in range(6):
            db.commit_all([memory(20_000) for _ in range(100)])
        assert rebuild(sidecar, db) == 2
        assert db.sql("SELECT count(*) FROM memoryEntities").rows == [[600]]
    sidecar.stop()
    for path in sidecar.data.glob("state.*"):
        path.unlink()
    with start().connect() as db:
        assert db.sql("SELECT count(*) FROM memoryEntities").rows == [[600]]


def test_a_slow_read_is_carried_out_once_although_the_client_asks_again(start: Start) -> None:
    """The client asks again after 100 ms; on the same connection such a copy is dropped."""
    with start(settings={"query.workers": "1"}).connect() as db:
        assert db.sql(SLOW_SQL).rows == [[2_000_000]]
        assert db.ask("query-1", QueryStatus(), QueryFigures).reads == 1
