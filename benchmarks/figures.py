"""Figures with their targets, printed as a table and kept as JSON."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LATEST = Path(__file__).parent / "latest.json"


class Figures:
    """Collects figures. A target is text such as "<= 1.0"; it is shown, and judged only by the reader's eye
    and the mark beside it."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self._rows: list[tuple[str, float, str, str]] = []

    def add(self, name: str, value: float, note: str, target: str = "") -> None:
        """note: what was measured, with units."""
        self.values[name] = round(value, 4)
        self._rows.append((name, value, target, note))
        print(f"  {name} = {value:.4g}", flush=True)

    def table(self) -> str:
        lines = [f"{'figure':34} {'value':>12}  {'target':>10}     note"]
        for name, value, target, note in self._rows:
            mark = "" if not target else "ok  " if _meets(value, target) else "MISS"
            lines.append(f"{name:34} {value:12,.2f}  {target:>10} {mark:4} {note}")
        return "\n".join(lines)

    def write(self) -> None:
        LATEST.write_text(json.dumps(self.values, indent=1, sort_keys=True) + "\n")


def _meets(value: float, target: str) -> bool:
    sign, _, bound = target.partition(" ")
    return value <= float(bound) if sign == "<=" else value >= float(bound)


def timed(run: Callable[[], object], times: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return found


def p50_us(seconds: Sequence[float]) -> float:
    """Median in microseconds."""
    return statistics.median(seconds) * 1_000_000
