"""How a live query is kept up to date: which kind of window it gets, and which changes are routed to it."""

from dataclasses import dataclass
from operator import itemgetter

from keepdb.query.catalog import Catalog, Source
from keepdb.query.matching import compile_filter
from keepdb.query.plan import CompiledQuery, Plan
from keepdb.query.predicate import Group, Predicate, Term

from .groups import GroupWindow
from .guards import Guard, best_guard
from .horizon import HorizonWindow
from .rerun import RerunWindow
from .router import EVERYTHING, Columns, Route, no_columns
from .sqlguards import sql_guards
from .window import Strategy, Window


@dataclass(frozen=True, slots=True)
class Approach:
    """For explain. reads: "collection.field" whose changes matter."""

    strategy: Strategy
    reason: str
    reads: list[str]
    guards: list[Guard]


def approach(plan: Plan, catalog: Catalog) -> Approach:
    """How a live query of this plan would be kept up to date."""
    strategy, reason = _choose(plan)
    reads = sorted(f"{table.replace('__', '.')}.{column or '*'}" for table, column in plan.reads)
    return Approach(strategy, reason, reads, list(_guards(plan, catalog).values()))


def open_window(plan: Plan, catalog: Catalog) -> Window:
    """A window for this plan, with its routes."""
    guards = _guards(plan, catalog)
    window: Window
    if isinstance(plan, CompiledQuery) and _choose(plan)[0] != "rerun":
        source, condition = plan.source, _condition(plan)
        compiled = compile_filter(condition, source.columns)
        if plan.groups is None:
            window = HorizonWindow(plan, compiled.matches)
        else:
            window = GroupWindow(plan, compiled.matches, condition)
        guard = _place(guards.get(source.table), source)
        window.routes = (Route(source.table, window, compiled, guard=guard),)
        return window
    window = RerunWindow(plan)
    window.routes = tuple(_route(window, catalog.tables[table], guards.get(table)) for table in plan.tables)
    return window


def _choose(plan: Plan) -> tuple[Strategy, str]:
    if not isinstance(plan, CompiledQuery):
        return "rerun", "SQL is run again when a row changed in a column that it reads."
    if plan.shape.relations:
        return "rerun", "Rows of other collections are shown beside each row."
    if plan.groups is not None:
        return "groups", "Aggregates, groups or distinct values over one collection."
    return "window", "Filter, order and limit over one collection."


def _condition(plan: CompiledQuery) -> Predicate:
    """All that a row of the queried table must meet, deletion included."""
    if plan.with_deleted:
        return plan.where
    return Group("and", (Term(plan.source.fields["deletedAt"], "isNull", True), plan.where))


def _guards(plan: Plan, catalog: Catalog) -> dict[str, Guard]:
    if not isinstance(plan, CompiledQuery):
        return sql_guards(plan, catalog)
    guard = best_guard(plan.where) if _only_filtered(plan) else None
    return {} if guard is None else {guard.table: guard}


def _only_filtered(plan: CompiledQuery) -> bool:
    """Whether rows of the queried table matter only if they meet the filter: not where they are also included."""
    return all(
        each.table != plan.source.table for relation in plan.shape.relations for each in relation.all()
    )


def _route(window: Window, source: Source, guard: Guard | None) -> Route:
    plan = window.plan
    compiled = EVERYTHING
    if isinstance(plan, CompiledQuery) and source is plan.source and _only_filtered(plan):
        compiled = compile_filter(_condition(plan), source.columns)
    names = {column for table, column in plan.reads if table == source.table}
    columns = _columns([place for place, name in enumerate(source.columns) if name in names])
    return Route(source.table, window, compiled, columns, _place(guard, source))


def _columns(places: list[int]) -> Columns:
    return itemgetter(*places) if places else no_columns


def _place(guard: Guard | None, source: Source) -> tuple[int, tuple[object, ...]] | None:
    return None if guard is None else (source.columns.index(guard.column), guard.values)
