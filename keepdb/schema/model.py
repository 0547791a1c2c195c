"""The compiled schema: plain frozen data that every other part reads and nobody changes.

It holds no behaviour but look-ups, so that it may cross a process border as msgpack.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

#: Part of the schema hash. Raise it whenever materialize.py would turn the same event into other rows:
#: every state file is then rebuilt from the log.
MATERIALIZER_VERSION = 1

FieldType = Literal[
    "text", "integer", "real", "boolean", "timestamp", "enum", "ref", "json", "list", "vector"
]
Sealing = Literal["clear", "content", "encrypted"]
SqlType = Literal["TEXT", "INTEGER", "REAL", "BLOB"]

#: Types that carry what people write; the rest is what the log may show: ids, choices, numbers, times.
CONTENT_TYPES: frozenset[str] = frozenset({"text", "json", "list", "vector"})

SQL_TYPES: dict[FieldType, SqlType] = {
    "text": "TEXT",
    "integer": "INTEGER",
    "real": "REAL",
    "boolean": "INTEGER",
    "timestamp": "INTEGER",
    "enum": "TEXT",
    "ref": "TEXT",
    "json": "TEXT",
    "list": "TEXT",
    "vector": "BLOB",
}

#: Columns every collection has besides its fields.
TIME_COLUMNS = ("createdAt", "updatedAt", "deletedAt")

#: The default that stands for the time of the commit.
AT = "$at"


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all parts: frozen, and only what differs from the default is written out."""


class Field(_Part, frozen=True):
    """One declared field, or one argument of a domain event.

    number: 1 and up, names the field in the AAD of sealed values, never changes. values: choices of an enum.
    required: must be given on creation. nullable: null may be given. default: wire value, or "$at" for a
    timestamp. min, max: bounds, both included. max_length: characters of a text, items of a list or
    vector, bytes of the JSON text of a json field. ref: the collection a ref points to (or the table of
    child rows, for the argument that names a new child). was: former names, still found in old events.
    """

    name: str
    number: int
    type: FieldType
    values: tuple[str, ...] = ()
    required: bool = False
    nullable: bool = True
    default: Any = None
    encrypted: bool = False
    min: int | float | None = None
    max: int | float | None = None
    max_length: int | None = None
    ref: str | None = None
    was: tuple[str, ...] = ()
    description: str = ""

    @property
    def sealing(self) -> Sealing:
        """How the value is kept: clear everywhere, sealed in the log only, or sealed in log and state."""
        if self.encrypted:
            return "encrypted"
        return "content" if self.type in CONTENT_TYPES else "clear"

    @property
    def sql_type(self) -> SqlType:
        """Type of its column; a sealed value is a BLOB whatever it holds."""
        return "BLOB" if self.encrypted else SQL_TYPES[self.type]


class Column(_Part, frozen=True):
    """One column of a state table. field: None for id, parent, position, times and hidden columns."""

    name: str
    sql_type: SqlType
    field: Field | None = None

    @property
    def hidden(self) -> bool:
        """Whether it is KeepDB's own and never shown to a client."""
        return self.name.startswith("_")


class RowsField(_Part, frozen=True):
    """A field that is a list of child rows in a table of its own, assembled on read.

    number: the child's own collection number. event: the domain event that adds one row.
    """

    name: str
    parent: str
    number: int
    fields: tuple[Field, ...]
    event: str
    description: str = ""

    @property
    def table(self) -> str:
        return f"{self.parent}__{self.name}"

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)


class Collection(_Part, frozen=True):
    """One declared table.

    subject: "self", "collection" or the name of a ref field. indexes: as declared; DDL appends the id.
    """

    name: str
    number: int
    fields: tuple[Field, ...]
    subject: str = "self"
    indexes: tuple[tuple[str, ...], ...] = ()
    rows: tuple[RowsField, ...] = ()
    description: str = ""

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)

    def rows_field(self, name: str) -> RowsField | None:
        return next((rows for rows in self.rows if rows.name == name), None)


class Expr(_Part, frozen=True):
    """Where a value comes from. value: the literal (wire value) or the argument's name."""

    kind: Literal["literal", "at", "id", "arg"]
    value: Any = None


class Assign(_Part, frozen=True):
    """field = expr, or field = field + expr where add is true (an empty field counts as 0)."""

    field: str
    expr: Expr
    add: bool = False


class UpdateTarget(_Part, frozen=True, tag="update"):
    """Set fields of the event's own entity."""

    assign: tuple[Assign, ...]


class InsertRow(_Part, frozen=True, tag="insert"):
    """Append a child row to the event's own entity. child_id: the argument that holds the row's id."""

    rows: str
    child_id: str
    assign: tuple[Assign, ...]


class RunSql(_Part, frozen=True, tag="sql"):
    """One checked UPDATE or DELETE. Parameters: :id, :at and :data_<arg>."""

    sql: str


Operation = UpdateTarget | InsertRow | RunSql


class SealTarget(_Part, frozen=True):
    """What a seal is bound to. row: "" for the entity itself, else the argument that holds the child's id."""

    collection_no: int
    field_no: int
    row: str = ""


class Argument(_Part, frozen=True):
    """One piece of an event's data. seal: where it ends up if encrypted. new_row: made up when left out."""

    field: Field
    seal: SealTarget | None = None
    new_row: bool = False


class EventType(_Part, frozen=True):
    """One kind of event.

    number: 1, 2, 3 for created, updated, deleted; domain events state theirs, 10 and up.
    args: for created and updated the collection's fields, for domain events what they declare.
    """

    name: str
    collection: str
    kind: Literal["created", "updated", "deleted", "domain"]
    number: int
    args: tuple[Argument, ...] = ()
    operations: tuple[Operation, ...] = ()
    description: str = ""


class Method(_Part, frozen=True):
    """A name clients call on an entity; it commits one event. name: "<collection>.<method>"."""

    name: str
    collection: str
    event: str


class Schema(_Part, frozen=True):
    """Everything schema.yaml says, checked and compiled.

    tables: columns of each state table, in table order. hash: SHA-256 hex over the content and
    MATERIALIZER_VERSION.
    """

    version: int
    collections: dict[str, Collection]
    events: dict[str, EventType]
    methods: dict[str, Method]
    tables: dict[str, tuple[Column, ...]]
    hash: str

    @property
    def table_names(self) -> tuple[str, ...]:
        """Collections and child tables, in the order of the file."""
        return tuple(self.tables)

    def columns(self, table: str) -> tuple[Column, ...]:
        """Columns in table order, hidden ones included. KeyError for an unknown table."""
        return self.tables[table]

    def number_of(self, table: str) -> int:
        """The collection number that seals of this table are bound to. KeyError for an unknown table."""
        collection = self.collections.get(table)
        return collection.number if collection else self.rows_of(table).number

    def rows_of(self, table: str) -> RowsField:
        """The rows field behind a child table. KeyError for any other name."""
        for rows in self._all_rows():
            if rows.table == table:
                return rows
        raise KeyError(table)

    def _all_rows(self) -> Iterator[RowsField]:
        for collection in self.collections.values():
            yield from collection.rows


def collection_columns(collection: Collection) -> tuple[Column, ...]:
    """Table order of a collection: id, clear fields, times, `_subject`, then the fields that may be long.

    SQLite reads a row from its start: what filters and sorts need must not lie behind a long text or vector.
    """
    short, long = _field_columns(collection.fields)
    times = (Column(name=name, sql_type="INTEGER") for name in TIME_COLUMNS)
    return (_ID, *short, *times, _SUBJECT, *long)


def rows_columns(rows: RowsField) -> tuple[Column, ...]:
    """Table order of child rows: id, parent, position, clear fields, `_subject`, fields that may be long."""
    short, long = _field_columns(rows.fields)
    parent, position = Column(name="parent", sql_type="TEXT"), Column(name="position", sql_type="INTEGER")
    return (_ID, parent, position, *short, _SUBJECT, *long)


_ID = Column(name="id", sql_type="TEXT")
_SUBJECT = Column(name="_subject", sql_type="TEXT")


def _field_columns(fields: tuple[Field, ...]) -> tuple[list[Column], list[Column]]:
    """Columns of clear fields, columns of the others; vectors, the longest, at the end of all."""
    columns = [Column(name=field.name, sql_type=field.sql_type, field=field) for field in fields]
    clear = {field.name for field in fields if field.sealing == "clear"}
    vectors = {field.name for field in fields if field.type == "vector"}
    long = [column for column in columns if column.name not in clear]
    long.sort(key=lambda column: column.name in vectors)
    return [column for column in columns if column.name in clear], long
