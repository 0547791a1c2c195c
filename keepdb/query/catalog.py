"""What queries may see of the schema: collections, their fields and columns, ready for look-up by name.

Identifiers in SQL come only from here, quoted once; a name a client sends is a key of these maps or an error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from keepdb.errors import InvalidRequest
from keepdb.schema import convert
from keepdb.schema.ddl import index_columns
from keepdb.schema.model import TIME_COLUMNS, Column, Field, Schema

from .refusal import unknown

Kind = Literal[
    "text", "integer", "real", "boolean", "timestamp", "enum", "ref", "json", "list", "vector", "rows"
]

#: Kinds that have a total order which SQLite and the client agree on.
ORDERED: frozenset[str] = frozenset({"text", "integer", "real", "boolean", "timestamp", "enum", "ref"})

#: Columns every table has: ids and times.
_FIXED_KINDS: dict[str, Kind] = {"TEXT": "ref", "INTEGER": "timestamp"}
_NEVER_NULL = frozenset({"id", "parent", "position"})


@dataclass(frozen=True, slots=True)
class QueryField:
    """One field as queries see it. sql: quoted column (of an aggregate its expression), "" for rows.

    number: for the AAD of a sealed field. target: the collection a ref points to. nullable: may be missing.
    """

    name: str
    kind: Kind
    sql: str = ""
    table: str = ""
    sealed: bool = False
    number: int = 0
    choices: tuple[str, ...] = ()
    target: str = ""
    nullable: bool = True
    to_wire: Callable[[Any], Any] | None = None
    rows: "Source | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What `from` names: a collection, or the child rows of one as "conversations.messages".

    plain: the fields that are columns. hidden: columns no client sees. soft_delete: has deletedAt. indexed: fields
    that an index begins with.
    Equal only to itself, so that compiled shapes can be remembered by it.
    """

    name: str
    table: str
    sql: str
    number: int
    fields: Mapping[str, QueryField]
    plain: tuple[QueryField, ...]
    hidden: frozenset[str]
    soft_delete: bool
    indexed: frozenset[str] = frozenset()
    #: All columns in table order, hidden ones included: the order of the images of changed rows.
    columns: tuple[str, ...] = ()

    def field(self, name: Any, path: str) -> QueryField:
        """The field of this name. Raises InvalidRequest query_unknown_field."""
        found = self.fields.get(name) if isinstance(name, str) else None
        if found is None:
            raise unknown("query_unknown_field", path, f"a field of {self.name} called", name, self.fields)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All sources of one schema. Made once per schema and shared by everything that reads; equal only to itself."""

    schema_hash: str
    sources: Mapping[str, Source]
    tables: Mapping[str, Source] = field(repr=False)

    def source(self, name: Any, path: str = "from") -> Source:
        """The source of this name. Raises InvalidRequest query_unknown_collection."""
        found = self.sources.get(name) if isinstance(name, str) else None
        if found is None:
            raise unknown("query_unknown_collection", path, "a collection called", name, self.sources)
        return found


def make_catalog(schema: Schema) -> Catalog:
    """The query side of a compiled schema."""
    sources: dict[str, Source] = {}
    for collection in schema.collections.values():
        children: dict[str, QueryField] = {}
        for rows in collection.rows:
            child = _source(schema, f"{collection.name}.{rows.name}", rows.table, rows.fields, {})
            sources[child.name] = child
            children[rows.name] = QueryField(rows.name, "rows", table=collection.name, rows=child)
        name = collection.name
        sources[name] = _source(schema, name, name, collection.fields, children)
    return Catalog(schema.hash, sources, {source.table: source for source in sources.values()})


def refuse_sealed(found: QueryField, path: str, purpose: str) -> None:
    """Raise query_not_searchable if the field is encrypted: the tables hold only sealed records of it."""
    if found.sealed:
        raise InvalidRequest(
            "query_not_searchable",
            f"{path}: {found.name} is encrypted; it can be read, but not used {purpose}.",
            fix="Use another field, or select the rows and look at the opened values in the app.",
        )


def quoted(identifier: str) -> str:
    """An identifier of the schema as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def _source(
    schema: Schema, name: str, table: str, declared: tuple[Field, ...], children: dict[str, QueryField]
) -> Source:
    columns = schema.columns(table)
    shown = sorted((column for column in columns if not column.hidden), key=_rank(declared))
    owner = name.partition(".")[0]
    fields = {column.name: _field(table, column, owner) for column in shown}
    return Source(
        name=name,
        table=table,
        sql=quoted(table),
        number=schema.number_of(table),
        fields=fields | children,
        plain=tuple(fields.values()),
        hidden=frozenset(column.name for column in columns if column.hidden),
        soft_delete="deletedAt" in fields,
        indexed=frozenset(("id", *(columns[0] for columns in index_columns(schema, table)))),
        columns=tuple(column.name for column in columns),
    )


def _rank(declared: tuple[Field, ...]) -> Callable[[Column], int]:
    """Order for people: ids, fields as declared, times. Tables keep short values together instead."""
    ranks = {field.name: rank for rank, field in enumerate(declared, start=1)}
    ranks |= dict.fromkeys(TIME_COLUMNS, len(ranks) + 1)
    return lambda column: ranks.get(column.name, 0)


def _field(table: str, column: Column, owner: str) -> QueryField:
    declared = column.field
    if declared is None:
        return QueryField(
            name=column.name,
            kind="integer" if column.name == "position" else _FIXED_KINDS[column.sql_type],
            sql=quoted(column.name),
            table=table,
            target=owner if column.name == "parent" else "",
            nullable=column.name not in _NEVER_NULL,
        )
    return QueryField(
        name=column.name,
        kind=declared.type,
        sql=quoted(column.name),
        table=table,
        sealed=declared.encrypted,
        number=declared.number,
        choices=tuple(declared.values),
        target=declared.ref or "",
        to_wire=convert.to_wire(column),
    )
