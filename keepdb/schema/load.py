"""schema.yaml -> Schema.

Every mistake is one SchemaError with file, line, path, what was found and what is allowed.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from .declare import compile_events
from .fields import (
    FIELD_KEYS,
    NUMBER_MAX,
    RESERVED,
    RESERVED_IN_ROWS,
    check_name,
    make_field,
    read_description,
)
from .model import (
    MATERIALIZER_VERSION,
    TIME_COLUMNS,
    Collection,
    Column,
    EventType,
    Field,
    Method,
    RowsField,
    Schema,
    collection_columns,
    rows_columns,
)
from .source import Spot, parse_source, read_source

#: The schema KeepDB comes with.
SHIPPED = Path(__file__).with_name("schema.yaml")

COLLECTIONS_MAX = 256
FIELDS_MAX = 256
ROWS_MAX = 16
INDEXES_MAX = 16
INDEX_COLUMNS_MAX = 8
_NOT_INDEXED = ("json", "list", "vector")


def load_schema(path: Path | str) -> Schema:
    """Read, check and compile a schema file."""
    path = Path(path)
    return parse_schema(read_source(path), str(path))


def parse_schema(text: str, source: str) -> Schema:
    """Check and compile the text of a schema file. source: its name in error messages."""
    top = parse_source(text, source).mapping(("version", "collections"), ("retired",))
    version = top["version"].whole(1, 2**31 - 1)
    numbers = _Numbers(top.get("retired"))
    entries = _named(top["collections"], COLLECTIONS_MAX, RESERVED, "collections")
    collections = {name: _collection(name, spot, numbers) for name, spot in entries.items()}
    for name, spot in entries.items():
        _check_references(collections[name], spot.entries(), collections)
    tables = _tables(collections)
    events: dict[str, EventType] = {}
    methods: dict[str, Method] = {}
    for name, spot in entries.items():
        compile_events(collections[name], spot.entries(), collections, tables, events)
    for name, spot in entries.items():
        methods.update(_methods(collections[name], spot.entries().get("methods"), events))
    schema = Schema(
        version=version, collections=collections, events=events, methods=methods, tables=tables, hash=""
    )
    return msgspec.structs.replace(schema, hash=_hash(schema))


class _Numbers:
    """Gives each number out once; a retired one never again."""

    def __init__(self, retired: Spot | None) -> None:
        self._taken: dict[int, str] = {}
        for spot in retired.items() if retired else ():
            self._taken[spot.whole(1, NUMBER_MAX)] = "a retired one"

    def take(self, spot: Spot, owner: str) -> int:
        number = spot.whole(1, NUMBER_MAX)
        if number in self._taken:
            free = next(n for n in range(1, NUMBER_MAX + 1) if n not in self._taken)
            allowed = f"a number that was never used, such as {free}"
            raise spot.fail(allowed, f"{number}, the number of {self._taken[number]}", "schema_duplicate")
        self._taken[number] = owner
        return number


def _named(spot: Spot, limit: int, reserved: frozenset[str], what: str) -> dict[str, Spot]:
    entries = spot.entries()
    if not 0 < len(entries) <= limit:
        raise spot.fail(f"1 to {limit} {what}", f"{len(entries)}")
    folded: dict[str, str] = {}
    for name, entry in entries.items():
        check_name(entry, name, reserved)
        if name.casefold() in folded:
            twin = folded[name.casefold()]
            raise entry.fail(
                "names that differ in more than case", f"{name!r} beside {twin!r}", "schema_duplicate"
            )
        folded[name.casefold()] = name
    return entries


def _collection(name: str, spot: Spot, numbers: _Numbers) -> Collection:
    optional = ("description", "subject", "retired", "rows", "indexes", "events", "methods")
    entries = spot.mapping(("number", "fields"), optional)
    number = numbers.take(entries["number"], name)
    fields = _fields(entries["fields"], entries.get("retired"), RESERVED)
    rows = _rows_fields(name, entries["rows"], numbers) if "rows" in entries else ()
    taken = {field.name.casefold() for field in fields}
    for child in rows:
        if child.name.casefold() in taken:
            raise entries["rows"].fail(
                "names that no field has", f"{child.name!r} twice", code="schema_duplicate"
            )
    collection = Collection(
        name=name,
        number=number,
        fields=fields,
        subject=entries["subject"].text() if "subject" in entries else "self",
        rows=rows,
        description=read_description(entries),
    )
    return msgspec.structs.replace(collection, indexes=_indexes(entries.get("indexes"), collection))


def _rows_fields(parent: str, spot: Spot, numbers: _Numbers) -> tuple[RowsField, ...]:
    made = []
    for name, entry in _named(spot, ROWS_MAX, RESERVED, "rows fields").items():
        entries = entry.mapping(("number", "event", "fields"), ("description", "retired"))
        number = numbers.take(entries["number"], f"{parent}.{name}")
        fields = _fields(entries["fields"], entries.get("retired"), RESERVED_IN_ROWS)
        for field in fields:
            if field.encrypted and field.default is not None:
                where = entries["fields"].entries()[field.name]
                raise where.fail(
                    "no default here (a default cannot be sealed later); put it at the event's argument"
                )
        made.append(
            RowsField(
                name=name,
                parent=parent,
                number=number,
                fields=fields,
                event=entries["event"].text(),
                description=read_description(entries),
            )
        )
    return tuple(made)


def _fields(spot: Spot, retired: Spot | None, reserved: frozenset[str]) -> tuple[Field, ...]:
    numbers = _Numbers(retired)
    made = []
    for name, entry in _named(spot, FIELDS_MAX, reserved, "fields").items():
        entries = entry.mapping(("number", "type"), (*FIELD_KEYS, "was"))
        number = numbers.take(entries["number"], name)
        was = tuple(item.text() for item in entries["was"].items()) if "was" in entries else ()
        made.append(msgspec.structs.replace(make_field(name, number, entry, entries), was=was))
    names = [name for field in made for name in (field.name, *field.was)]
    if len(set(names)) < len(names):
        twin = next(name for name in names if names.count(name) > 1)
        raise spot.fail("each name once, former names included", f"{twin!r} twice", "schema_duplicate")
    return tuple(made)


def _indexes(spot: Spot | None, collection: Collection) -> tuple[tuple[str, ...], ...]:
    usable = tuple(
        field.name for field in collection.fields if field.type not in _NOT_INDEXED and not field.encrypted
    )
    made: list[tuple[str, ...]] = []
    items = spot.items() if spot else []
    if spot and len(items) > INDEXES_MAX:
        raise spot.fail(f"at most {INDEXES_MAX} indexes", f"{len(items)}")
    for item in items:
        columns = tuple(
            column.choice((*usable, *TIME_COLUMNS), "columns that can be compared: ")
            for column in item.items()
        )
        if not 0 < len(columns) <= INDEX_COLUMNS_MAX or len(set(columns)) < len(columns):
            raise item.fail(f"1 to {INDEX_COLUMNS_MAX} different columns")
        if columns in made:
            raise item.fail("each index once", str(list(columns)), code="schema_duplicate")
        made.append(columns)
    return tuple(made)


def _check_references(
    collection: Collection, entries: dict[str, Spot], collections: dict[str, Collection]
) -> None:
    """What can only be checked once all collections are known: refs and the subject."""
    known = tuple(collections)
    _check_refs(collection.fields, entries["fields"], known)
    for rows in collection.rows:
        _check_refs(rows.fields, entries["rows"].entries()[rows.name].entries()["fields"], known)
    if collection.subject in ("self", "collection"):
        return
    spot = entries["subject"]
    refs = tuple(field.name for field in collection.fields if field.type == "ref" and not field.encrypted)
    spot.choice(("self", "collection", *refs), "self, collection or a ref field: ")
    field = collection.field(collection.subject)
    if field is not None and field.ref is not None and collections[field.ref].subject != "self":
        raise spot.fail("a ref to a collection whose subject is self", f"a ref to {field.ref}")


def _check_refs(fields: tuple[Field, ...], spot: Spot, known: tuple[str, ...]) -> None:
    for field in fields:
        if field.ref is not None:
            spot.entries()[field.name].entries()["ref"].choice(known, "a collection: ")


def _methods(collection: Collection, spot: Spot | None, events: dict[str, EventType]) -> dict[str, Method]:
    own = tuple(
        event.name
        for event in events.values()
        if event.collection == collection.name and event.kind == "domain"
    )
    made = {}
    for name, entry in spot.entries().items() if spot else ():
        check_name(entry, name, RESERVED)
        full = f"{collection.name}.{name}"
        made[full] = Method(name=full, collection=collection.name, event=entry.choice(own, "an own event: "))
    return made


def _tables(collections: dict[str, Collection]) -> dict[str, tuple[Column, ...]]:
    tables = {}
    for collection in collections.values():
        tables[collection.name] = collection_columns(collection)
        for rows in collection.rows:
            tables[rows.table] = rows_columns(rows)
    return tables


def _hash(schema: Schema) -> str:
    """Descriptions and layout of the file do not count; everything else does."""
    content = msgspec.json.encode([MATERIALIZER_VERSION, _without_words(schema)], order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _without_words(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_without_words(item) for item in value)
    if isinstance(value, dict):
        return {key: _without_words(item) for key, item in value.items()}
    if not isinstance(value, msgspec.Struct):
        return value
    names = (name for name in value.__struct_fields__ if name != "description")
    return {name: _without_words(getattr(value, name)) for name in names}
