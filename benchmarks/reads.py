"""Reads over 100 000 memories: by id, and 100 filtered and sorted ones, encrypted content included.

Every query has other values, so that none is answered from the result cache.
"""

import random
from pathlib import Path

from benchmarks.figures import Figures, p50_us, timed
from benchmarks.world import fill, running

MEMORIES = 100_000
POINT_READS = 2_000
FILTERS = 300


def measure(figures: Figures, folder: Path) -> None:
    rng = random.Random(5)
    with running(folder / "reads") as (_, db):
        personas, ids = fill(db, MEMORIES)
        select = ["name", "type", "importance", "summary", "tags", "createdAt"]

        def by_id() -> None:
            assert db.get("memoryEntities", rng.choice(ids)) is not None

        def by_id_clear() -> None:
            db.query(
                {"from": "memoryEntities", "where": {"id": rng.choice(ids)}, "limit": 1, "select": select}
            )

        def filtered() -> None:
            where = {"personaId": rng.choice(personas), "importance": {"between": [rng.randrange(40), 100]}}
            rows = db.query(
                {"from": "memoryEntities", "where": where, "orderBy": ["-importance"], "limit": 100}
            )
            assert len(rows.rows) == 100

        for warm in (by_id, by_id_clear, filtered):
            timed(warm, 100)
        figures.add(
            "point_read_p50_us",
            p50_us(timed(by_id, POINT_READS)),
            "whole row, encrypted content opened",
            "<= 200",
        )
        figures.add(
            "point_read_clear_p50_us", p50_us(timed(by_id_clear, POINT_READS)), "six columns, none encrypted"
        )
        figures.add(
            "filter_100_of_100k_p50_ms", p50_us(timed(filtered, FILTERS)) / 1000, "index (personaId, importance)",
            "<= 3",
        )  # fmt: skip
