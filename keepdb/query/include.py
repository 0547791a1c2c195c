"""Reads select and include: what a row shows of itself, and of the rows that are related to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keepdb.errors import InvalidRequest
from messages.queries import Include

from .aggregate import NAME_CHARACTERS
from .catalog import Catalog, QueryField, Source, refuse_sealed
from .limits import QueryLimits
from .order import OrderTerm, read_order
from .plan import Relation, ResultColumn, result_column
from .predicate import Group, Predicate, fields_of, to_sql
from .refusal import bad_value, names, too_large
from .where import WhereReader

_ALL = Group("and", ())
#: The connecting values of a page, bound as one JSON list.
_GIVEN = "SELECT value FROM json_each(?)"


@dataclass(frozen=True, slots=True)
class Level:
    """One level of rows: what its raw rows hold, and what of it is shown. fields: None for what is filled in later.

    id_at: column of the id. children, includes: what fills in the rest.
    """

    fields: tuple[QueryField | None, ...]
    columns: tuple[ResultColumn, ...]
    id_at: int
    children: tuple[Relation, ...] = ()
    includes: tuple[Relation, ...] = ()

    @property
    def selected(self) -> str:
        return ", ".join((field.sql or "NULL") if field else "NULL" for field in self.fields)

    def names(self) -> set[str]:
        """Names of the fields read."""
        return {field.name for field in self.fields if field is not None and field.rows is None}


class LevelReader:
    """Reads the levels of one query and counts its relations, so that the limits cover all of them."""

    def __init__(self, catalog: Catalog, limits: QueryLimits) -> None:
        self._catalog = catalog
        self._limits = limits
        self._includes = 0

    def read(
        self,
        source: Source,
        select: tuple[str, ...],
        include: dict[str, Include],
        needed: Sequence[QueryField],
        path: str = "",
        depth: int = 0,
    ) -> Level:
        """One level and all below. needed: fields to be read even if they are not shown. Raises InvalidRequest."""
        shown = _shown(select, source, f"{path}select")
        own = [self._own_ref(name, one, source, f"{path}include") for name, one in include.items()]
        fields = [*shown, *(None for _ in include)]
        for field in [*needed, *(ref for ref in own if ref is not None)]:
            fields += [] if field in fields else [field]
        id_at = shown.index(source.fields["id"])
        children = tuple(_children(at, id_at, field.rows) for at, field in enumerate(shown) if field.rows)
        includes = []
        for at, ((name, one), ref) in enumerate(zip(include.items(), own, strict=True), start=len(shown)):
            parent_at = id_at if ref is None else fields.index(ref)
            includes.append(
                self._relation(one, source, ref, (at, parent_at), f"{path}include.{name}", depth + 1)
            )
        return Level(
            fields=tuple(fields),
            columns=(*(result_column(field, source, id_at) for field in shown), *map(ResultColumn, include)),
            id_at=id_at,
            children=children,
            includes=tuple(includes),
        )

    def _own_ref(self, name: str, include: Include, source: Source, path: str) -> QueryField | None:
        """The field of the rows that points to what is included; None where that points to them."""
        short_path = f"{path}.{name[:NAME_CHARACTERS]}"
        if not 0 < len(name) <= NAME_CHARACTERS or name in source.fields:
            expected = f"a name of 1 to {NAME_CHARACTERS} characters that no field of {source.name} has"
            raise bad_value(short_path, name, expected)
        return None if include.source else _ref(source, include.via, f"{short_path}.via")

    def _relation(
        self,
        include: Include,
        parent: Source,
        ref: QueryField | None,
        places: tuple[int, int],
        path: str,
        depth: int,
    ) -> Relation:
        self._includes += 1
        if self._includes > self._limits.includes:
            raise too_large(path, self._includes, "includes", self._limits.includes)
        if depth > self._limits.include_depth:
            raise too_large(path, depth, "levels of include", self._limits.include_depth)
        if ref is not None:
            return self._one(include, ref, places, path, depth)
        return self._many(include, parent, places, path, depth)

    def _one(
        self, include: Include, ref: QueryField, places: tuple[int, int], path: str, depth: int
    ) -> Relation:
        unfit = {"where": include.where, "orderBy": include.order_by, "limit": include.limit is not None}
        for part, given in unfit.items():
            if given:
                raise InvalidRequest(
                    "query_bad_value",
                    f"{path}.{part}: {ref.name} points to a single row, which has no {part}.",
                    fix="Leave it out, or name in `from` the collection that points to the rows.",
                )
        source = self._catalog.source(ref.target, f"{path}.via")
        level = self.read(source, include.select, include.include, (), f"{path}.", depth)
        own_id = source.fields["id"]
        hides = source.soft_delete and not include.with_deleted
        sql = f"SELECT {level.selected} FROM {source.sql} WHERE id IN ({_GIVEN})"
        sql += ' AND "deletedAt" IS NULL' * hides
        read = ["deletedAt"] * hides
        return _relation(places, source, level, own_id, many=False, params=(), read=read, sql=sql)

    def _many(
        self, include: Include, parent: Source, places: tuple[int, int], path: str, depth: int
    ) -> Relation:
        source = self._catalog.source(include.source, f"{path}.from")
        via = _ref(source, include.via, f"{path}.via")
        if via.target != parent.name:
            raise bad_value(
                f"{path}.via", include.via, f"a field that points to {parent.name}, not to {via.target}"
            )
        where: Predicate = _ALL
        if include.where:
            where = WhereReader(source, self._limits).read(include.where, f"{path}.where")
        order = read_order(include.order_by, source, self._limits, path=f"{path}.orderBy")
        limit = None if include.limit is None else read_limit(include.limit, self._limits, f"{path}.limit")
        needed = [via, *(term.field for term in order)]
        level = self.read(source, include.select, include.include, needed, f"{path}.", depth)
        hides = source.soft_delete and not include.with_deleted
        sql, params = _list_sql(source, level, via, where, hides, order, limit)
        read = [*(field.name for field in fields_of(where)), *["deletedAt"] * hides]
        return _relation(places, source, level, via, many=True, params=params, read=read, sql=sql)


def read_limit(given: int | None, limits: QueryLimits, path: str = "limit") -> int:
    """The checked limit, or the default one. Raises InvalidRequest."""
    if given is None:
        return limits.limit_default
    if given < 1:
        raise bad_value(path, given, "an integer of at least 1")
    if given > limits.limit_max:
        raise InvalidRequest(
            "query_too_large",
            f"{path}: {given} rows, at most {limits.limit_max} can be read at once.",
            fix="Use a smaller limit and read on with the cursor.",
        )
    return given


def _shown(select: tuple[str, ...], source: Source, path: str) -> list[QueryField]:
    # Rows fields have no bound of their own, so they come only where they are asked for by name.
    if not select:
        return list(source.plain)
    shown: list[QueryField] = []
    for index, name in enumerate(select):
        shown.extend(source.plain if name == "*" else [source.field(name, f"{path}[{index}]")])
    if len({field.name for field in shown}) < len(shown):
        raise bad_value(path, list(select), "each field once")
    return shown if source.fields["id"] in shown else [source.fields["id"], *shown]


def _ref(source: Source, name: str, path: str) -> QueryField:
    """A field that points to rows. Raises InvalidRequest."""
    field = source.field(name, path)
    refuse_sealed(field, path, "to find related rows")
    if not field.target:
        refs = [other.name for other in source.plain if other.target]
        raise bad_value(
            path, name, f"a ref field of {source.name}", fix=f"Its refs: {names(refs) or 'none'}."
        )
    return field


def _children(at: int, id_at: int, rows: Source) -> Relation:
    """The child rows behind a field, in their order."""
    parent, position, row_id = (rows.fields[name] for name in ("parent", "position", "id"))
    shown = [field for field in rows.plain if field not in (parent, position)]
    level = Level((*shown, parent), tuple(result_column(field, rows, 0) for field in shown), id_at=0)
    order = (OrderTerm(position), OrderTerm(row_id))
    sql, params = _list_sql(rows, level, parent, _ALL, False, order, None)
    return _relation((at, id_at), rows, level, parent, many=True, params=params, read=["position"], sql=sql)


def _relation(
    places: tuple[int, int],
    source: Source,
    level: Level,
    match: QueryField,
    *,
    many: bool,
    sql: str,
    params: tuple[Any, ...],
    read: list[str],
) -> Relation:
    at, parent_at = places
    return Relation(
        at=at,
        parent_at=parent_at,
        match_at=level.fields.index(match),
        many=many,
        table=source.table,
        sql=sql,
        params=params,
        columns=level.columns,
        reads=frozenset((source.table, name) for name in level.names().union(read)),
        relations=level.children + level.includes,
    )


def _list_sql(
    source: Source,
    level: Level,
    via: QueryField,
    where: Predicate,
    hides: bool,
    order: Sequence[OrderTerm],
    limit: int | None,
) -> tuple[str, tuple[Any, ...]]:
    """The rows that point to those of a page, in order; with a limit that holds for each of these by itself."""
    params: list[Any] = []
    conditions = ['"deletedAt" IS NULL'] * hides
    if where is not _ALL:
        conditions.append(to_sql(where, params))
    filtered = "".join(f" AND {condition}" for condition in conditions)
    ordered = ", ".join(f"{term.field.sql} {'DESC' if term.descending else 'ASC'}" for term in order)
    read = f"SELECT {level.selected} FROM {source.sql}"
    if limit is None:
        return f"{read} WHERE {via.sql} IN ({_GIVEN}){filtered} ORDER BY {via.sql}, {ordered}", tuple(params)
    if via.name in source.indexed:
        # A look into the index for each row of the page; a long list is not read to its end.
        first = f"SELECT id FROM {source.sql} WHERE {via.sql} = _given{filtered} ORDER BY {ordered} LIMIT {limit:d}"
        given = f"(SELECT value AS _given FROM json_each(?)) CROSS JOIN {source.sql}"
        return f"SELECT {level.selected} FROM {given} WHERE id IN ({first}) ORDER BY {ordered}", tuple(params)
    numbered = (
        f"SELECT id, row_number() OVER (PARTITION BY {via.sql} ORDER BY {ordered}) AS _number"
        f" FROM {source.sql} WHERE {via.sql} IN ({_GIVEN}){filtered}"
    )
    first = f"SELECT id FROM ({numbered}) WHERE _number <= {limit:d}"
    return f"{read} WHERE id IN ({first}) ORDER BY {ordered}", tuple(params)
