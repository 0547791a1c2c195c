"""Commits: durable ones beside raw SQLite on the same disk, many in flight, and `durability: os`."""

import os
import random
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import slowdisk
from benchmarks.figures import Figures, p50_us, timed
from benchmarks.world import IN_FLIGHT, memory, running
from keepdb.client import Database, NewEvent, PendingCommit

ROUNDS = 10
PIPELINED = 8_000
OS_COMMITS = 3_000


def measure(figures: Figures, folder: Path) -> None:
    _durable(figures, folder / "disk", None, "")
    shim = slowdisk.build(folder)
    if shim is not None:
        _durable(figures, folder / "disk4ms", shim, "_sync4ms")
    with running(folder / "os") as (_, db):
        persona = db.commit("personas.created", {"name": "Ada"}).ids[0]
        rng = random.Random(3)

        def commit() -> None:
            db.commit("memoryEntities.created", memory([persona], rng), durability="os")

        timed(commit, 300)
        figures.add(
            "commit_os_p50_us", p50_us(timed(commit, OS_COMMITS)), "one client awaiting each", "<= 400"
        )


def _durable(figures: Figures, folder: Path, environment: dict[str, str] | None, suffix: str) -> None:
    """The three durable figures; with a suffix they were taken on the 4 ms disk, which the targets assume."""
    rng = random.Random(2)
    with _raw(folder, environment) as raw_round, running(folder / "db", environment) as (_, db):
        persona = db.commit("personas.created", {"name": "Ada"}).ids[0]

        def commit() -> None:
            db.commit("memoryEntities.created", memory([persona], rng))

        timed(commit, 100)
        raw_round()
        raw: list[float] = []
        ours: list[float] = []
        for _ in range(ROUNDS):
            raw += raw_round()
            ours += timed(commit, 100)
        rates = [_pipelined(db, persona, rng, PIPELINED // 4) for _ in range(4)]
        raw += raw_round()
    raw_rate, rate = 1 / statistics.median(raw), statistics.median(rates)
    note = "sync made to take 4 ms" if suffix else "this disk as it is"
    figures.add(f"raw_commit_p50_us{suffix}", p50_us(raw), f"plain SQLite, synchronous=FULL; {note}")
    figures.add(f"commit_disk_p50_us{suffix}", p50_us(ours), f"one client awaiting each; {note}")
    figures.add(f"commit_disk_p50_vs_raw{suffix}", p50_us(ours) / p50_us(raw), note, "<= 1.3")
    figures.add(f"commit_disk_64_per_s{suffix}", rate, f"64 in flight; {note}", ">= 4000")
    figures.add(f"commit_disk_64_rate_vs_raw{suffix}", rate / raw_rate, note, ">= 12")


def _pipelined(db: Database, persona: str, rng: random.Random, commits: int) -> float:
    """Commits per second with IN_FLIGHT on their way."""
    events = [NewEvent(type="memoryEntities.created", data=memory([persona], rng)) for _ in range(commits)]
    waiting: deque[PendingCommit] = deque()
    started = time.perf_counter()
    for event in events:
        waiting.append(db.submit([event]))
        if len(waiting) >= IN_FLIGHT:
            waiting.popleft().receipt()
    for pending in waiting:
        pending.receipt()
    return commits / (time.perf_counter() - started)


@contextmanager
def _raw(folder: Path, environment: dict[str, str] | None) -> Iterator["RawRound"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rawsqlite", str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        yield RawRound(process)
    finally:
        process.communicate()


class RawRound:
    """Calling it gives the seconds of 100 raw commits."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [float(text) for text in self._process.stdout.readline().split()]
