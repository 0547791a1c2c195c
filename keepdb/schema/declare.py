"""Compiles the events of schema.yaml: their arguments, their row operations, and proof that the two fit.

What is checked here needs no check when an event is materialized: every value placed in a field comes from
an argument at least as narrow as the field, and every encrypted value has exactly one place to go.
"""

from typing import Any

import msgspec

from .fields import (
    FIELD_KEYS,
    NUMBER_MAX,
    RESERVED,
    check_literal,
    check_name,
    make_field,
    read_description,
    with_default,
)
from .model import (
    Argument,
    Assign,
    Collection,
    Column,
    EventType,
    Expr,
    Field,
    InsertRow,
    Operation,
    RowsField,
    RunSql,
    SealTarget,
    UpdateTarget,
)
from .source import Spot
from .sqlguard import Refusal, check_sql

EVENTS_MAX = 256
ARGS_MAX = 64
OPERATIONS_MAX = 16
#: 1 to 9 are kept for the events every collection has.
EVENT_NUMBER_MIN = 10

_Tables = dict[str, tuple[Column, ...]]


def compile_events(
    collection: Collection,
    entries: dict[str, Spot],
    collections: dict[str, Collection],
    tables: _Tables,
    events: dict[str, EventType],
) -> None:
    """Add the three automatic events of a collection and the declared ones to `events`."""
    args = tuple(Argument(field=field, seal=_own_seal(collection, field)) for field in collection.fields)
    name = collection.name
    events[f"{name}.created"] = EventType(
        name=f"{name}.created", collection=name, kind="created", number=1, args=args
    )
    events[f"{name}.updated"] = EventType(
        name=f"{name}.updated", collection=name, kind="updated", number=2, args=args
    )
    events[f"{name}.deleted"] = EventType(name=f"{name}.deleted", collection=name, kind="deleted", number=3)
    declared = entries.get("events")
    numbers: dict[int, str] = {}
    spots = declared.entries() if declared else {}
    if declared and len(spots) > EVENTS_MAX:
        raise declared.fail(f"at most {EVENTS_MAX} events", f"{len(spots)}")
    for event_name, spot in spots.items():
        check_name(spot, event_name, RESERVED)
        if event_name in events:
            owner = events[event_name].collection
            raise spot.fail(
                "a name no other event has", f"the name of an event of {owner}", "schema_duplicate"
            )
        event = _Compiler(collection, collections, tables).event(event_name, spot)
        if event.number in numbers:
            found = f"{event.number}, the number of {numbers[event.number]}"
            raise spot.entries()["number"].fail("a number of its own", found, "schema_duplicate")
        numbers[event.number] = event_name
        events[event_name] = event
    for rows in collection.rows:
        _check_rows_event(rows, entries["rows"].entries()[rows.name].entries()["event"], collection, events)


class _Compiler:
    """One domain event."""

    def __init__(self, collection: Collection, collections: dict[str, Collection], tables: _Tables) -> None:
        self._collection = collection
        self._collections = collections
        self._tables = tables
        self._args: dict[str, Field] = {}
        self._seals: dict[str, SealTarget] = {}
        self._new_rows: set[str] = set()

    def event(self, name: str, spot: Spot) -> EventType:
        entries = spot.mapping(("number",), ("description", "args", "operations"))
        if "args" in entries:
            self._read_args(entries["args"])
        operations = tuple(self._operations(entries["operations"])) if "operations" in entries else ()
        for arg, field in self._args.items():
            if field.encrypted and arg not in self._seals:
                where = entries["args"].entries()[arg]
                raise where.fail(
                    "an encrypted argument that one operation places in an encrypted field", "none does"
                )
        return EventType(
            name=name,
            collection=self._collection.name,
            kind="domain",
            number=entries["number"].whole(EVENT_NUMBER_MIN, NUMBER_MAX),
            args=tuple(
                Argument(field=field, seal=self._seals.get(arg), new_row=arg in self._new_rows)
                for arg, field in self._args.items()
            ),
            operations=operations,
            description=read_description(entries),
        )

    def _read_args(self, spot: Spot) -> None:
        args = spot.entries()
        if len(args) > ARGS_MAX:
            raise spot.fail(f"at most {ARGS_MAX} arguments", f"{len(args)}")
        for position, (name, entry) in enumerate(args.items()):
            check_name(entry, name, RESERVED)
            self._args[name] = self._arg(name, position + 1, entry)

    def _arg(self, name: str, number: int, spot: Spot) -> Field:
        if "like" not in spot.entries():
            entries = spot.mapping(("type",), FIELD_KEYS)
            field = make_field(name, number, spot, entries)
            if field.ref is not None:
                entries["ref"].choice(tuple(self._collections), "a collection: ")
            return field
        entries = spot.mapping(("like",), ("required", "default", "description"))
        model = self._like(entries["like"])
        required = "required" in entries and entries["required"].flag()
        if required and "default" in entries:
            raise entries["default"].fail("no default, because the argument is required")
        field = msgspec.structs.replace(
            model,
            name=name,
            number=number,
            required=required,
            default=None,
            nullable=model.nullable and not required,
            was=(),
            description=read_description(entries),
        )
        return with_default(field, entries.get("default"))

    def _like(self, spot: Spot) -> Field:
        """The field at "<collection>.<field>" or "<collection>.<rows>.<field>"; a row's id is a ref."""
        allowed = "<collection>.<field>, <collection>.<rows field>.<field> or <collection>.<rows field>.id"
        parts = spot.text(allowed).split(".")
        collection = self._collections.get(parts[0])
        if collection is None:
            raise spot.fail(f"{allowed}; collections: {', '.join(self._collections)}")
        owner: Collection | RowsField | None = collection
        if len(parts) == 3:
            owner = collection.rows_field(parts[1])
            if owner is not None and parts[2] == "id":
                return Field(name="id", number=1, type="ref", ref=owner.table, nullable=False)
        field = owner.field(parts[-1]) if owner is not None and len(parts) in (2, 3) else None
        if field is None:
            there = [one.name for one in (owner or collection).fields]
            raise spot.fail(f"{allowed}; fields there: {', '.join(there)}")
        return field

    def _operations(self, spot: Spot) -> list[Operation]:
        items = spot.items()
        if len(items) > OPERATIONS_MAX:
            raise spot.fail(f"at most {OPERATIONS_MAX} operations", f"{len(items)}")
        return [self._operation(item) for item in items]

    def _operation(self, spot: Spot) -> Operation:
        entries = spot.mapping((), ("update", "insert", "sql"))
        if len(entries) != 1:
            raise spot.fail("exactly one of update, insert, sql", f"{len(entries)} keys")
        (kind, entry), *_ = entries.items()
        if kind == "update":
            values = entry.mapping(("set",))["set"]
            return UpdateTarget(assign=self._assigns(values, self._collection, insert=False))
        return self._insert(entry) if kind == "insert" else self._sql(entry)

    def _insert(self, spot: Spot) -> InsertRow:
        entries = spot.mapping(("into", "values"))
        names = tuple(rows.name for rows in self._collection.rows)
        rows = self._collection.rows_field(entries["into"].choice(names, "a rows field of this collection: "))
        if rows is None:
            raise entries["into"].fail(", ".join(names))
        values = entries["values"].entries()
        child_id = self._child_id(entries["values"], values.get("id"), rows)
        assigns = self._assigns(entries["values"], rows, insert=True, row=child_id)
        for field in rows.fields:
            if field.required and not self._always_given(field.name, assigns):
                allowed = (
                    f"a value for the required field {field.name} (a required argument or one with a default)"
                )
                raise entries["values"].fail(allowed, "none that is always there")
        return InsertRow(rows=rows.name, child_id=child_id, assign=assigns)

    def _child_id(self, values: Spot, spot: Spot | None, rows: RowsField) -> str:
        allowed = f"id: $data.<argument> with an argument like {rows.parent}.{rows.name}.id, used once"
        name = _argument_name(spot.value) if spot else None
        arg = self._args.get(name or "")
        if name is None or arg is None or arg.ref != rows.table or name in self._new_rows:
            raise (spot or values).fail(allowed, None if spot else "no id")
        self._new_rows.add(name)
        # The id is made up when it is left out, so nothing is required of the client.
        self._args[name] = msgspec.structs.replace(arg, required=False)
        return name

    def _always_given(self, name: str, assigns: tuple[Assign, ...]) -> bool:
        for assign in assigns:
            if assign.field == name:
                arg = self._args.get(assign.expr.value) if assign.expr.kind == "arg" else None
                return arg is None or arg.required or arg.default is not None
        return False

    def _assigns(
        self, spot: Spot, owner: Collection | RowsField, *, insert: bool, row: str = ""
    ) -> tuple[Assign, ...]:
        made = []
        for name, entry in spot.entries().items():
            if insert and name == "id":
                continue
            if name == "updatedAt" and not insert and entry.value == "$at":
                made.append(Assign(field=name, expr=Expr(kind="at")))
                continue
            field = owner.field(name)
            if field is None:
                known = [one.name for one in owner.fields] + ([] if insert else ["updatedAt (only as $at)"])
                raise entry.fail(f"the fields {', '.join(known)}", f"the name {name!r}", "schema_unknown_key")
            made.append(self._assign(field, entry, owner, insert=insert, row=row))
        if not made and not insert:
            raise spot.fail("at least one field to set", "none")
        return tuple(made)

    def _assign(
        self, field: Field, spot: Spot, owner: Collection | RowsField, *, insert: bool, row: str
    ) -> Assign:
        if isinstance(spot.value, dict) and set(spot.value) == {"increment"} and field.type != "json":
            if insert or field.type not in ("integer", "real") or field.encrypted:
                raise spot.fail(
                    "increment only of an integer or real field that is not encrypted, in an update"
                )
            return Assign(
                field=field.name, expr=self._increment(field, spot.entries()["increment"]), add=True
            )
        expr = self._expr(field, spot)
        if field.encrypted and expr.kind == "arg":
            if expr.value in self._seals:
                raise spot.fail("each encrypted argument in one field only", f"{expr.value} a second time")
            self._seals[expr.value] = SealTarget(collection_no=owner.number, field_no=field.number, row=row)
        elif field.encrypted and expr.value is not None:
            raise spot.fail("an encrypted argument or null, because the field is encrypted")
        return Assign(field=field.name, expr=expr)

    def _increment(self, field: Field, spot: Spot) -> Expr:
        name = _argument_name(spot.value)
        if name is None:
            amount = spot.number()
            if field.type == "integer" and not isinstance(amount, int):
                raise spot.fail("an integer or $data.<argument>")
            return Expr(kind="literal", value=amount)
        arg = self._known_argument(name, spot)
        if arg.type not in ("integer", field.type) or arg.encrypted or arg.nullable:
            raise spot.fail(f"an argument of type {field.type} that cannot be null", f"{arg.type} {name}")
        return Expr(kind="arg", value=name)

    def _expr(self, field: Field, spot: Spot) -> Expr:
        value = spot.value
        if not isinstance(value, str) or not value.startswith("$"):
            return Expr(kind="literal", value=self._literal(field, spot))
        if value.startswith("$$"):
            text = Spot(value[1:], spot.path, spot.source, spot.lines)
            return Expr(kind="literal", value=self._literal(field, text))
        if value == "$at":
            if field.type != "timestamp" or field.encrypted:
                raise spot.fail(f"a value for {field.type}; $at is for timestamps that are not encrypted")
            return Expr(kind="at")
        if value == "$id":
            if field.type not in ("ref", "text") or field.encrypted:
                raise spot.fail(f"a value for {field.type}; $id is for ref and text that are not encrypted")
            return Expr(kind="id")
        name = _argument_name(value)
        if name is None:
            raise spot.fail("$at, $id, $data.<argument> or a literal ($$ for a text that starts with $)")
        objection = _objection(self._known_argument(name, spot), field)
        if objection:
            raise spot.fail(
                f"an argument {objection}; `like:` makes one that fits", f"{name}, which does not fit"
            )
        return Expr(kind="arg", value=name)

    def _literal(self, field: Field, spot: Spot) -> Any:
        if spot.value is None:
            if not field.nullable:
                raise spot.fail(f"a value; {field.name} is never null")
            return None
        return check_literal(field, spot)

    def _known_argument(self, name: str, spot: Spot) -> Field:
        if name not in self._args:
            raise spot.fail(f"$data. with one of the arguments {', '.join(self._args) or '(none declared)'}")
        return self._args[name]

    def _sql(self, spot: Spot) -> RunSql:
        sql = spot.text("one SQL statement as text")
        offered = [f"data_{name}" for name, field in self._args.items() if not field.encrypted]
        children = [rows.table for one in self._collections.values() for rows in one.rows]
        try:
            check_sql(sql, self._tables, children, ["id", "at", *offered])
        except Refusal as refusal:
            allowed = "one deterministic UPDATE, or DELETE of child rows, that names no encrypted column"
            raise spot.fail(allowed, str(refusal), code="schema_sql_refused") from None
        return RunSql(sql=sql)


def _own_seal(collection: Collection, field: Field) -> SealTarget | None:
    if not field.encrypted:
        return None
    return SealTarget(collection_no=collection.number, field_no=field.number)


def _argument_name(value: object) -> str | None:
    if isinstance(value, str) and value.startswith("$data."):
        return value.removeprefix("$data.")
    return None


def _objection(arg: Field, field: Field) -> str | None:
    """What an argument would have to be so that each of its values is allowed in the field. None if it is."""
    if arg.type != field.type:
        return f"of type {field.type}"
    if arg.encrypted != field.encrypted:
        return "that is encrypted" if field.encrypted else "that is not encrypted"
    if arg.nullable and not field.nullable:
        return "that cannot be null (nullable: false, or required: true)"
    if arg.ref != field.ref:
        return f"that is a ref to {field.ref}"
    if not set(arg.values) <= set(field.values):
        return f"with values among {', '.join(field.values)}"
    if field.min is not None and (arg.min is None or arg.min < field.min):
        return f"with min {field.min} or more"
    if field.max is not None and (arg.max is None or arg.max > field.max):
        return f"with max {field.max} or less"
    if field.max_length is not None and (arg.max_length is None or arg.max_length > field.max_length):
        return f"with maxLength {field.max_length} or less"
    return None


def _check_rows_event(
    rows: RowsField, spot: Spot, collection: Collection, events: dict[str, EventType]
) -> None:
    """A rows field given on creation is expanded into its event: arguments must come from row fields."""
    own = tuple(
        event.name
        for event in events.values()
        if event.collection == collection.name and event.kind == "domain"
    )
    event = events[spot.choice(own, "an event of this collection: ")]
    inserts = [one for one in event.operations if isinstance(one, InsertRow) and one.rows == rows.name]
    if len(inserts) != 1:
        raise spot.fail(f"an event with one `insert: into: {rows.name}`", f"{event.name} with {len(inserts)}")
    fed = {assign.expr.value for assign in inserts[0].assign if assign.expr.kind == "arg"}
    missing = [arg.field.name for arg in event.args if arg.field.required and arg.field.name not in fed]
    if missing:
        raise spot.fail(
            "an event whose required arguments all go into the row", f"{missing[0]}, which does not"
        )
