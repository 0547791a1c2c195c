"""The command: `python -m tests.chaos kills`. Exit status 0 when every promise held, 1 when one was broken."""

import argparse
import json
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from .kills import ACTORS, FORKSERVER, Plan, run
from .report import figures, table


def main(arguments: list[str]) -> int:
    """Run one chaos session and print its seed, a table and one JSON line."""
    options = _parser().parse_args(arguments)
    plan = Plan(
        targets=tuple(options.actors.split(",")), rounds=options.rounds, seed=options.seed, rate=options.rate
    )
    _tell(f"chaos kills: seed {plan.seed}, {plan.rounds} rounds of {', '.join(plan.targets)}")
    with _scratch(options.keep) as scratch:
        outcome = run(plan, Path(scratch), progress=_tell)
    lines = [f"seed {plan.seed}", table(outcome), *(f"VIOLATION {one}" for one in outcome.violations)]
    found = figures(outcome)
    slow = found.get("chaos_writer_next_ack_p99_ms", 0.0) > options.bound_ms
    if slow:
        lines.append(f"TOO SLOW the writer's p99 is above {options.bound_ms:.0f} ms")
    sys.stdout.write("\n".join([*lines, json.dumps(found)]) + "\n")
    return 1 if outcome.violations or slow else 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _scratch(keep: Path | None) -> AbstractContextManager[str | Path]:
    """Where the session's files lie: a directory to look into afterwards, or one that goes away."""
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="keepdb-chaos-")
    keep.mkdir()
    return nullcontext(keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill processes under load.")
    kills = parser.add_subparsers(required=True).add_parser(
        "kills", help="SIGKILL each actor again and again"
    )
    kills.add_argument("--rounds", type=int, default=20, help="kills of each target (20)")
    kills.add_argument("--seed", type=int, default=1, help="decides order and moments of the kills (1)")
    kills.add_argument("--actors", default=",".join((*ACTORS, FORKSERVER)), help="targets, comma between")
    kills.add_argument("--rate", type=float, default=200.0, help="commits per second of all clients (200)")
    kills.add_argument("--bound-ms", type=float, default=500.0, help="limit of the writer's p99 (500)")
    kills.add_argument("--keep", type=Path, help="new directory for data and logs, kept afterwards")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
