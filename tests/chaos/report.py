"""What a chaos session measured, for people as a table and for benchmarks as a flat map."""

from collections.abc import Sequence

from .history import acknowledged
from .kills import Outcome


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed; 0.0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(percent * len(ordered)) // 100) - 1)] if ordered else 0.0


def figures(outcome: Outcome) -> dict[str, float]:
    """Figure name -> number; milliseconds and counts as named."""
    acked = acknowledged(outcome.requests)
    found: dict[str, float] = {
        "chaos_seed": outcome.plan.seed,
        "chaos_kills": len(outcome.kills),
        "chaos_violations": len(outcome.violations),
        "chaos_requests": len(outcome.requests),
        "chaos_acknowledged": len(acked),
        "chaos_events": outcome.events,
        "chaos_rate_per_s": round(len(acked) / max(outcome.seconds, 0.001), 1),
    }
    for target in outcome.plan.targets:
        name = target.replace("-", "_")
        mine = [kill for kill in outcome.kills if kill.target == target]
        times = {
            "next_ack": [k.ack_s for k in mine],
            "silent": [k.silent_s for k in mine],
            "ready": [k.whole_s for k in mine],
        }
        for kind, values in times.items():
            for label, percent in (("p50", 50), ("p99", 99), ("max", 100)):
                found[f"chaos_{name}_{kind}_{label}_ms"] = round(percentile(values, percent) * 1000, 1)
    return found


def table(outcome: Outcome) -> str:
    """One line per target: how soon writes went on, how soon everything was ready again."""
    found = figures(outcome)
    lines = [
        "milliseconds, p50 / p99 / max",
        f"{'killed':<12}{'times':>6}  {'next acknowledgement':<22}{'longest silence':<22}{'all ready again':<22}",
    ]
    for target in outcome.plan.targets:
        name = target.replace("-", "_")
        times = sum(1 for kill in outcome.kills if kill.target == target)
        shown = [
            " / ".join(f"{found[f'chaos_{name}_{kind}_{label}_ms']:.0f}" for label in ("p50", "p99", "max"))
            for kind in ("next_ack", "silent", "ready")
        ]
        lines.append(f"{target:<12}{times:>6}  {shown[0]:<22}{shown[1]:<22}{shown[2]:<22}")
    lines.append(
        f"{found['chaos_acknowledged']:.0f} of {found['chaos_requests']:.0f} requests acknowledged, "
        f"{found['chaos_events']:.0f} events, {found['chaos_rate_per_s']:.0f} commits/s, "
        f"{len(outcome.violations)} violations"
    )
    return "\n".join(lines)
