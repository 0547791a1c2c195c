"""A compiled schema as TypeScript: rows, what may be committed, and one `Schema` that a client is typed with.

The types say what the server checks, as far as TypeScript can: which fields must be given, which may be null, which
choices there are. Limits it cannot say stand in the comments. docs/schema.md explains the shape.
"""

from collections.abc import Iterable

from keepdb.schema.model import AT, Argument, Collection, EventType, Field, RowsField, Schema
from keepdb.schema.validate import item_names
from keepdb.typegen.text import comment, interface, key, literal, member, union

_HEAD = """\
// Made by `keepdb typegen` from version {version} of a schema. Do not edit: change the schema and run it again.
//
// Integers are `number`; one beyond 2^53 arrives as `bigint`. Times are ms since 1970, UTC. An encrypted field is null
// once its key was destroyed. Fields that the schema requires are never null here; a row from before a field was
// declared may still lack its value.
"""
_JSON = """\
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };
"""
_SIMPLE = {
    "text": "string", "ref": "string", "integer": "number", "real": "number", "timestamp": "number",
    "boolean": "boolean", "list": "readonly string[]", "vector": "readonly number[]",
}  # fmt: skip
_NOTHING = "Record<string, never>"
_LINE = 90


def schema_types(schema: Schema) -> str:
    """The content of the generated file."""
    return "\n".join(_Writer(schema).lines())


class _Writer:
    """One schema. Names of interfaces are given out once: `aB.c` and `a.bC` would both be `ABC`."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._taken = {"Schema", "JsonValue"}
        self._declarations: list[str] = []
        self._collections: list[str] = []
        self._events: list[str] = []

    def lines(self) -> list[str]:
        schema = self._schema
        for collection in schema.collections.values():
            self._collection(collection)
        methods = [f"    {key(name)}: {literal(method.event)};" for name, method in schema.methods.items()]
        return [
            _HEAD.format(version=schema.version),
            "/** Names the content of the schema; `describe` and `writer_status` tell the server's. */",
            f"export const schemaHash = {literal(schema.hash)};",
            "",
            _JSON,
            *self._declarations,
            "/** What a client is typed with. */",
            "export interface Schema {",
            *("  collections: {", *self._collections, "  };"),
            *("  events: {", *self._events, "  };"),
            *("  methods: {", *methods, "  };"),
            "}",
            "",
        ]

    def _name(self, *parts: str) -> str:
        """A free name: `conversations`, `messages`, `Row` -> ConversationsMessagesRow."""
        wanted = "".join(part[0].upper() + part[1:] for part in parts)
        free, n = wanted, 2
        while free in self._taken:
            free, n = f"{wanted}_{n}", n + 1
        self._taken.add(free)
        return free

    def _declare(self, name: str, members: list[str], words: str = "") -> str:
        self._declarations += interface(name, members, words)
        return name

    def _collection(self, collection: Collection) -> None:
        name, fields = collection.name, collection.fields
        row = self._declare(self._name(name, "Row"), _row(fields), collection.description)
        created, updated = (self._schema.events[f"{name}.{kind}"] for kind in ("created", "updated"))
        children: list[str] = []
        lists = {rows.name: self._rows(rows, children) for rows in collection.rows}
        create = [line for argument in created.args for line in _input(argument.field.name, argument)]
        for rows in collection.rows:
            words = rows.description or f"Each is added by {rows.event}."
            create += member(rows.name, f"readonly {lists[rows.name]}[]", optional=True, words=words)
        update = [line for one in updated.args for line in _input(one.field.name, one, change=True)]
        kinds = {
            "id": "id",
            **_kinds(fields),
            **dict.fromkeys(("createdAt", "updatedAt", "deletedAt"), "timestamp"),
        }
        types = {
            "row": row,
            "create": self._declare(self._name(name, "Create"), create, f"Data of {name}.created."),
            "update": self._declare(
                self._name(name, "Update"),
                update,
                f"Data of {name}.updated: at least one field; null clears it.",
            ),
            "kinds": _literals(kinds),
            "refs": _literals(_refs(fields)),
            "lists": _literals({rows.name: f"{name}.{rows.name}" for rows in collection.rows}),
        }
        self._collections += [*_entry(name, types), *children]
        self._own_events(collection, types)

    def _own_events(self, collection: Collection, types: dict[str, str]) -> None:
        for event in self._schema.events.values():
            if event.collection != collection.name:
                continue
            data = {"created": types["create"], "updated": types["update"], "deleted": _NOTHING}.get(
                event.kind
            )
            needs = "optional" if event.kind == "created" else "required"
            data = data or self._data(event)
            self._events += comment(event.description, "    ")
            self._events.append(f"    {key(event.name)}: {{ id: {literal(needs)}; data: {data} }};")

    def _data(self, event: EventType) -> str:
        """The type of a domain event's data."""
        if not event.args:
            return _NOTHING
        members = [line for argument in event.args for line in _input(argument.field.name, argument)]
        return self._declare(self._name(event.name, "Data"), members, f"Data of {event.name}.")

    def _rows(self, rows: RowsField, entries: list[str]) -> str:
        """The types of child rows. Adds their entry; returns the type of what is given on creation of the parent."""
        event = self._schema.events[rows.event]
        arguments = {argument.field.name: argument for argument in event.args}
        given = [
            line for name, argument in item_names(self._schema, rows).items()
            for line in _input(name, arguments[argument])
        ]  # fmt: skip
        row = self._name(rows.parent, rows.name, "Row")
        item = self._name(rows.parent, rows.name, "Item")
        self._declare(row, _child_row(rows), rows.description or f"A row of {rows.parent}.{rows.name}.")
        self._declarations += [
            f"/** The same, in the list `{rows.name}` of its parent. */",
            f'export type {item} = Omit<{row}, "parent" | "position">;',
            "",
        ]
        types = {
            "row": row,
            "item": item,
            "create": "never",
            "update": "never",
            "kinds": _literals({"id": "id", "parent": "id", "position": "integer", **_kinds(rows.fields)}),
            "refs": _literals({"parent": rows.parent, **_refs(rows.fields)}),
            "lists": "{}",
        }
        entries += _entry(f"{rows.parent}.{rows.name}", types)
        return self._declare(
            self._name(rows.parent, rows.name, "Create"),
            given,
            f"One of `{rows.name}` in {rows.parent}.created.",
        )


def _row(fields: tuple[Field, ...]) -> list[str]:
    times = [
        *member("createdAt", "number"),
        *member("updatedAt", "number"),
        *member("deletedAt", "number | null"),
    ]
    return [*member("id", "string"), *_columns(fields), *times]


def _child_row(rows: RowsField) -> list[str]:
    words = "1, 2, 3 … within the list."
    position = member("position", "number", words=words)
    return [*member("id", "string"), *member("parent", "string"), *position, *_columns(rows.fields)]


def _columns(fields: tuple[Field, ...]) -> Iterable[str]:
    for field in fields:
        yield from member(
            field.name, _type(field, field.nullable or field.encrypted), words=field.description
        )


def _input(name: str, argument: Argument, *, change: bool = False) -> list[str]:
    """A member of what is committed. change: for an update, where everything may be left out."""
    field = argument.field
    optional = change or not field.required
    type_ = _type(field, field.nullable and not argument.new_row)
    words = [field.description, *_limits(field)]
    if argument.new_row:
        words.append("Made up when left out.")
    elif not change and field.default is not None:
        words.append(
            "Default: the time of the commit."
            if field.default == AT
            else f"Default: {literal(field.default)}."
        )
    return member(name, type_, optional=optional, words=" ".join(word for word in words if word))


def _limits(field: Field) -> Iterable[str]:
    """What TypeScript cannot say, in sentences."""
    if field.min is not None and field.max is not None:
        yield f"{field.min} to {field.max}."
    elif field.min is not None:
        yield f"{field.min} or more."
    elif field.max is not None:
        yield f"{field.max} or less."
    if field.max_length is not None:
        what = {"text": "characters", "list": "items", "vector": "numbers", "json": "bytes of JSON"}[
            field.type
        ]
        yield f"At most {field.max_length} {what}."


def _type(field: Field, nullable: bool) -> str:
    if field.type == "json":
        return "JsonValue" if nullable else "NonNullable<JsonValue>"
    type_ = union(field.values) if field.type == "enum" else _SIMPLE[field.type]
    return f"{type_} | null" if nullable else type_


def _kinds(fields: tuple[Field, ...]) -> dict[str, str]:
    return {field.name: "encrypted" if field.encrypted else field.type for field in fields}


def _refs(fields: tuple[Field, ...]) -> dict[str, str]:
    return {field.name: field.ref for field in fields if field.ref is not None and not field.encrypted}


def _literals(members: dict[str, str]) -> str:
    """Names and literals as a type, on one line if it fits."""
    parts = [f"{key(name)}: {literal(value)};" for name, value in members.items()]
    line = " ".join(parts).removesuffix(";")
    if len(line) <= _LINE:
        return f"{{ {line} }}" if parts else "{}"
    return "\n".join(["{", *(f"        {part}" for part in parts), "      }"])


def _entry(name: str, types: dict[str, str]) -> list[str]:
    """A collection in `Schema`."""
    return [f"    {key(name)}: {{", *(f"      {part}: {type_};" for part, type_ in types.items()), "    };"]
