"""How a query is answered and kept up to date, for people."""

from collections.abc import Sequence
from dataclasses import replace

from keepdb.query.plan import CompiledQuery, Plan, ResultColumn
from keepdb.query.run import Reader
from keepdb.query.sql import MARK
from messages.queries import Explanation

from .strategy import approach
from .window import Decision, Window

_PLAN_COLUMNS = ("id", "parent", "notused", "detail")
_PLAN_ROWS_MAX = 1_000


def explain(plan: Plan, reader: Reader, window: Window | None, decisions: Sequence[Decision]) -> Explanation:
    """window: the live query of this plan, if there is one now. Raises what Reader.run raises."""
    found = approach(plan, reader.catalog)
    return Explanation(
        sql=plan.sql.removeprefix(MARK),
        plan=_query_plan(plan, reader),
        strategy=found.strategy,
        reason=found.reason,
        reads=found.reads,
        guards=[str(guard) for guard in found.guards],
        live={} if window is None else _figures(window),
        decisions=list(decisions),
    )


def _query_plan(plan: Plan, reader: Reader) -> list[str]:
    """SQLite's own plan, steps within steps indented."""
    if isinstance(plan, CompiledQuery):
        asked = replace(plan, body=f"EXPLAIN QUERY PLAN {plan.body}")
        with reader.snapshot():
            steps = reader.fetch(asked, _PLAN_ROWS_MAX)
    elif plan.names == _PLAN_COLUMNS:
        steps = [tuple(row) for row in reader.run(plan).rows]
    else:
        columns = tuple(ResultColumn(name) for name in _PLAN_COLUMNS)
        sql = f"{MARK}EXPLAIN QUERY PLAN {plan.sql}"
        asked_sql = replace(plan, sql=sql, columns=columns, dropped=(), reads_sealed=False)
        steps = [tuple(row) for row in reader.run(asked_sql).rows]
    depths = {0: -1}
    lines = []
    for step, parent, _, detail in steps:
        depths[step] = depths.get(parent, -1) + 1
        lines.append("  " * depths[step] + str(detail))
    return lines


def _figures(window: Window) -> dict[str, int]:
    return {
        "seq": window.seq,
        "rows": 0 if window.result is None else len(window.result.rows),
        "rowsKept": window.kept,
        "subscribers": len(window.subscribers),
        "changes": window.changes,
        "reads": window.reads,
        "pushes": window.sent,
    }
