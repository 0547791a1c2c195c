"""Start to ready, memory of all processes, CPU at rest."""

import random
import statistics
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figures
from benchmarks.world import PASSPHRASE, fill, running
from keepdb.client import Sidecar

ENTITIES = 10_000
REPEATS = 5
SETTLE_S = 8.0
IDLE_S = 20.0


def measure(figures: Figures, folder: Path) -> None:
    data = folder / "startup"
    with running(data) as (_, db):
        fill(db, ENTITIES, seed=random.Random(7).randrange(1 << 30))
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        sidecar = Sidecar.start(data, passphrase=PASSPHRASE)
        times.append(time.perf_counter() - started)
        sidecar.stop()
    figures.add(
        "start_ready_s", statistics.median(times), "spawn to ready, 10 000 entities, Argon2id", "<= 1.0"
    )
    with running(data) as (sidecar, db):
        db.query({"from": "personas"})
        root = psutil.Process(sidecar.process.pid)
        _wait(SETTLE_S)
        tree = [root, *root.children(recursive=True)]
        figures.add("pss_total_mb", sum(map(_pss_mb, tree)), f"{len(tree)} processes at rest", "<= 160")
        before = _cpu_s(tree)
        _wait(IDLE_S)
        figures.add(
            "idle_cpu_percent", (_cpu_s(tree) - before) / IDLE_S * 100, "all processes, of one core", "<= 1.0"
        )


def _wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)


def _pss_mb(process: psutil.Process) -> float:
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _cpu_s(tree: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in tree))
