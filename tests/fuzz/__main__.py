"""The command: `python -m tests.fuzz live`. Exit status 0 when every result was right, 1 at the first wrong one."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .episode import Episode, Finding

#: Transactions of one episode: long enough for states to build up, short enough for many kinds of queries.
EPISODE_TRANSACTIONS = 400


def main(arguments: list[str]) -> int:
    """Play episodes until so many transactions were judged, or the time is up."""
    options = _parser().parse_args(arguments)
    only = options.episode is not None
    number = options.episode if only else 0
    counts: Counter[str] = Counter()
    done, started = 0, time.perf_counter()
    _tell(f"fuzz live: seed {options.seed}, {options.transactions} transactions")
    while done < options.transactions and time.perf_counter() - started < options.seconds:
        try:
            with tempfile.TemporaryDirectory(prefix="keepdb-fuzz-") as folder:
                played = Episode(options.seed, number, Path(folder)).play(EPISODE_TRANSACTIONS)
        except Finding as finding:
            sys.stdout.write(f"WRONG RESULT after {done} transactions of seed {options.seed}\n{finding}\n")
            return 1
        done += played.transactions
        counts += played.counts
        number += 1
        if number % 25 == 0:
            _tell(f"{done} transactions, {done / (time.perf_counter() - started):.0f}/s")
        if only:
            break
    spent = time.perf_counter() - started
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    sys.stdout.write(
        f"0 wrong results in {done} transactions of seed {options.seed} ({number} episodes, {spent:.0f} s, "
        f"{done / spent:.0f}/s): {listed}\n"
    )
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Look for wrong live results.")
    live = parser.add_subparsers(required=True).add_parser(
        "live", help="live queries under random transactions"
    )
    live.add_argument("--transactions", type=int, default=200_000, help="how many to judge (200000)")
    live.add_argument("--seconds", type=float, default=3_600.0, help="stop after this time (3600)")
    live.add_argument("--seed", type=int, default=1, help="decides everything that is random (1)")
    live.add_argument("--episode", type=int, help="play only this one, to see a finding again")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
