"""Live queries over 100 000 memories: what a new row costs the query actor, and how soon an app in Node hears of it."""

import statistics
from pathlib import Path
from typing import Any

import psutil

from benchmarks import scripts
from benchmarks.figures import Figures
from benchmarks.world import filled, running
from keepdb.client import Database
from keepdb.client.sidecar import program
from messages.base import encode

MEMORIES = 100_000
INSERTS = 2_000
WARM = 300
#: How long a push may take before something is wrong.
PUSH_S = 10.0
TARGETS = {
    "live_os_p50_ms": "<= 1.5",
    "live_disk_less_sync_p50_ms": "<= 3",
    "live_1000_p50_ratio": "<= 1.2",
    "live_10k_register_s": "<= 10",
    "live_current_read_us": "<= 5",
}


def measure(figures: Figures, folder: Path) -> None:
    data = filled(folder, MEMORIES)
    with running(data) as (_, db):
        page = {"from": "memoryEntities", "orderBy": ["-importance"], "limit": 100}
        plain = page | {"select": ["name", "type", "importance", "createdAt"]}
        cost, rows, size = _inserts(db, plain)
        figures.add(
            "live_window_insert_us", cost, "CPU of the query actor, page of 100 over 100 000", "<= 300"
        )
        figures.add("live_window_insert_rows", rows, "rows in its push", "<= 1")
        figures.add("live_window_insert_bytes", size, "its push as sent")
        cost, _, _ = _inserts(db, page)
        figures.add("live_window_insert_sealed_us", cost, "the same, every column, encrypted content opened")
    scripts.run(figures, "live.mjs", [str(data), *program()], TARGETS)


def _inserts(db: Database, query: dict[str, Any]) -> tuple[float, float, float]:
    """Per row that comes first in a live page: microseconds of CPU, rows and bytes of the push."""
    persona = db.query({"from": "personas", "limit": 1, "select": ["id"]}).rows[0][0]
    sizes: list[int] = []
    rows: list[int] = []
    pids = {actor.name: actor.pid for actor in db.status().actors}
    with db.watch(query) as live:
        assert live.update(PUSH_S) is not None
        actor = psutil.Process(pids[live._service])

        def insert(number: int) -> None:
            data = {
                "personaId": persona, "name": f"new {number}", "type": "event", "content": "x" * 400,
                "summary": "new", "importance": 100,
            }  # fmt: skip
            db.commit("memoryEntities.created", data, durability="os")
            found = live.update(PUSH_S)
            assert found is not None
            assert found.diff is not None
            rows.append(len(found.diff.enter) + len(found.diff.update))
            sizes.append(len(encode(found.diff)))

        for number in range(WARM):
            insert(number)
        before = actor.cpu_times()
        for number in range(INSERTS):
            insert(number)
        after = actor.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return spent / INSERTS * 1_000_000, statistics.mean(rows), statistics.median(sizes)
