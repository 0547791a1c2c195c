"""Events -> row changes: the function whose fold over the log is the state.

It reads no clock, draws no chance and asks nothing but the state itself, so that a rebuild gives the same
rows. Raise MATERIALIZER_VERSION (model.py) whenever it would treat an old event differently.
"""

import sys
from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from keepdb.errors import InvalidRequest

from .model import (
    Assign,
    Collection,
    EventType,
    Field,
    InsertRow,
    Operation,
    RowsField,
    RunSql,
    Schema,
    UpdateTarget,
)
from .values import NOW, check_storage, default_storage

#: Virtual machine steps one `sql:` operation may take, about 50 ms; then the event is refused.
SQL_STEPS_MAX = 2_000_000
#: Tells our progress handler from others on the same connection.
_STEP_LIMIT = "schema sql step limit"
#: UPDATE statements kept per event type: one per set of changed columns.
_STATEMENTS_MAX = 512


class MaterialEvent(msgspec.Struct, frozen=True):
    """An event as the log has it. values: storage values by argument name; encrypted ones as sealed records.

    A value whose key was destroyed is None or absent. subject: whose key seals the row.
    """

    type: str
    id: str
    at: int
    subject: str
    values: dict[str, Any]


_Apply = Callable[[apsw.Connection, MaterialEvent], None]


class Materializer:
    """Carries out events of one schema. Owns nothing but prepared SQL texts; one per process is enough."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._appliers: dict[str, _Apply] = {}

    def apply(self, connection: apsw.Connection, event: MaterialEvent) -> None:
        """Change the rows inside the caller's transaction.

        Raises InvalidRequest: `already_exists`, `not_found`, `unknown_event`, `out_of_range`,
        `constraint_failed`, `too_expensive`. Rows may then be half changed: roll back the savepoint.
        """
        applier = self._appliers.get(event.type) or self._compile(event.type)
        try:
            applier(connection, event)
        except apsw.ConstraintError as error:
            raise _constraint(event, error) from error

    def _compile(self, name: str) -> _Apply:
        declared = self._schema.events.get(name)
        if declared is None:
            raise InvalidRequest(
                "unknown_event",
                f"The schema in force has no event {name!r}.",
                fix="Keep events in schema.yaml as long as the log holds any of them.",
            )
        applier = self._appliers[name] = _applier(self._schema, declared)
        return applier


def _applier(schema: Schema, event: EventType) -> _Apply:
    collection = schema.collections[event.collection]
    match event.kind:
        case "created":
            return _created(collection)
        case "updated":
            return _updated(collection)
        case "deleted":
            return _deleted(collection)
        case "domain":
            return _domain(collection, event)


def _created(collection: Collection) -> _Apply:
    fields = collection.fields
    names = [field.name for field in fields]
    columns = _quoted(["id", "createdAt", "updatedAt", "_subject", *names])
    marks = ", ".join("?" * (len(names) + 4))
    sql = f"INSERT INTO {_quote(collection.name)} ({columns}) VALUES ({marks})"
    fallbacks = [(field.name, _late_default(field)) for field in fields]
    former = _former(fields)

    def apply(connection: apsw.Connection, event: MaterialEvent) -> None:
        values, at = _renamed(event.values, former), event.at
        row = [values.get(name, at if late is NOW else late) for name, late in fallbacks]
        connection.execute(sql, (event.id, at, at, event.subject, *row))

    return apply


def _updated(collection: Collection) -> _Apply:
    known = frozenset(field.name for field in collection.fields)
    former = _former(collection.fields)
    statements: dict[tuple[str, ...], str] = {}

    def apply(connection: apsw.Connection, event: MaterialEvent) -> None:
        values = _renamed(event.values, former)
        # Fields the schema no longer has are passed over.
        names = tuple(name for name in values if name in known)
        sql = statements.get(names)
        if sql is None:
            if len(statements) >= _STATEMENTS_MAX:
                statements.clear()
            sql = statements[names] = _update_sql(collection.name, [f"{_quote(name)} = ?" for name in names])
        connection.execute(sql, (*(values[name] for name in names), event.at, event.id))
        if not connection.changes():
            raise _not_found(collection.name, event)

    return apply


def _update_sql(table: str, settings: list[str]) -> str:
    every = ", ".join([*settings, '"updatedAt" = ?'])
    return f'UPDATE {_quote(table)} SET {every} WHERE "id" = ? AND "deletedAt" IS NULL'


def _deleted(collection: Collection) -> _Apply:
    sql = _update_sql(collection.name, ['"deletedAt" = ?'])

    def apply(connection: apsw.Connection, event: MaterialEvent) -> None:
        connection.execute(sql, (event.at, event.at, event.id))
        if not connection.changes():
            raise _not_found(collection.name, event)

    return apply


def _domain(collection: Collection, event_type: EventType) -> _Apply:
    steps = [_operation(collection, event_type, operation) for operation in event_type.operations]
    exists = f'SELECT 1 FROM {_quote(collection.name)} WHERE "id" = ? AND "deletedAt" IS NULL'

    def apply(connection: apsw.Connection, event: MaterialEvent) -> None:
        if connection.execute(exists, (event.id,)).get is None:
            raise _not_found(collection.name, event)
        for step in steps:
            step(connection, event)

    return apply


def _operation(collection: Collection, event_type: EventType, operation: Operation) -> _Apply:
    match operation:
        case UpdateTarget():
            return _update_target(collection, operation)
        case InsertRow():
            (rows,) = (one for one in collection.rows if one.name == operation.rows)
            return _insert_row(rows, operation)
        case RunSql():
            return _run_sql(event_type, operation)


def _update_target(collection: Collection, operation: UpdateTarget) -> _Apply:
    fields = {field.name: field for field in collection.fields}
    sources = [(assign, _source(assign, fields.get(assign.field))) for assign in operation.assign]
    summed = [fields[assign.field] for assign in operation.assign if assign.add]
    table = _quote(collection.name)
    guard = _bounds(summed)
    statements: dict[tuple[str, ...], str] = {}

    def statement(assigns: list[Assign]) -> str:
        names = tuple(assign.field for assign in assigns)
        sql = statements.get(names)
        if sql is None:
            settings = ", ".join(map(_setting, assigns))
            sql = statements[names] = f'UPDATE {table} SET {settings} WHERE "id" = ? {guard}'
        return sql

    def apply(connection: apsw.Connection, event: MaterialEvent) -> None:
        # An argument that was left out leaves its field alone.
        given = [
            (assign, read(event))
            for assign, read in sources
            if assign.expr.kind != "arg" or assign.expr.value in event.values
        ]
        if not given:
            return
        sql = statement([assign for assign, _ in given])
        result = connection.execute(sql, (*(value for _, value in given), event.id)).get
        if guard and not result:
            raise _out_of_range(collection.name, event, summed)

    return apply


def _setting(assign: Assign) -> str:
    column = _quote(assign.field)
    return f"{column} = coalesce({column}, 0) + ?" if assign.add else f"{column} = ?"


def _bounds(fields: list[Field]) -> str:
    """RETURNING clause that is 1 while every summed field keeps its limits; "" where there are none."""
    terms = []
    for field in fields:
        low, high = field.min, field.max
        if field.type == "real":
            low = -sys.float_info.max if low is None else low
            high = sys.float_info.max if high is None else high
        terms += [f"{_quote(field.name)} >= {low!r}"] if low is not None else []
        terms += [f"{_quote(field.name)} <= {high!r}"] if high is not None else []
    return f"RETURNING {' AND '.join(terms)}" if terms else ""


def _insert_row(rows: RowsField, operation: InsertRow) -> _Apply:
    table = _quote(rows.table)
    columns = _quoted(["id", "parent", "_subject", *(field.name for field in rows.fields), "position"])
    marks = ", ".join("?" * (len(rows.fields) + 3))
    position = f'(SELECT 1 + coalesce(max("position"), 0) FROM {table} WHERE "parent" = ?)'
    sql = f"INSERT INTO {table} ({columns}) VALUES ({marks}, {position})"
    assigns = {assign.field: assign for assign in operation.assign}
    sources = [_row_source(assigns.get(field.name), field) for field in rows.fields]
    child_id = operation.child_id

    def apply(connection: apsw.Connection, event: MaterialEvent) -> None:
        row = [read(event) for read in sources]
        connection.execute(sql, (event.values[child_id], event.id, event.subject, *row, event.id))

    return apply


def _row_source(assign: Assign | None, field: Field) -> Callable[[MaterialEvent], Any]:
    """Where a column of a new child row comes from; the field's default if nothing was given."""
    late = _late_default(field)

    def read_default(event: MaterialEvent) -> Any:
        return event.at if late is NOW else late

    if assign is None:
        return read_default
    read = _source(assign, field)
    if assign.expr.kind != "arg":
        return read
    name = assign.expr.value
    return lambda event: event.values[name] if name in event.values else read_default(event)


def _source(assign: Assign, field: Field | None) -> Callable[[MaterialEvent], Any]:
    kind, value = assign.expr.kind, assign.expr.value
    if kind == "at":
        return lambda event: event.at
    if kind == "id":
        return lambda event: event.id
    if kind == "arg":
        return lambda event: event.values[value]
    stored = value if assign.add or value is None or field is None else check_storage(field)(value)
    return lambda _event: stored


def _run_sql(event_type: EventType, operation: RunSql) -> _Apply:
    names = [(f"data_{arg.field.name}", arg.field.name) for arg in event_type.args if not arg.field.encrypted]

    def apply(connection: apsw.Connection, event: MaterialEvent) -> None:
        bindings = {param: event.values.get(name) for param, name in names}
        bindings |= {"id": event.id, "at": event.at}
        # The handler is called once, after the allowed number of steps, and ends the statement.
        connection.set_progress_handler(lambda: True, SQL_STEPS_MAX, id=_STEP_LIMIT)
        try:
            connection.execute(operation.sql, bindings).fetchall()
        except apsw.InterruptError:
            raise InvalidRequest(
                "too_expensive",
                f"The SQL of {event.type} takes more than {SQL_STEPS_MAX} steps on the rows there are.",
                fix="Let it touch fewer rows, or give it an index.",
            ) from None
        finally:
            connection.set_progress_handler(None, id=_STEP_LIMIT)

    return apply


def _late_default(field: Field) -> Any:
    """For an event without a value, being older than the field. Others stay empty: they may be erased."""
    return default_storage(field) if field.sealing == "clear" else None


def _former(fields: tuple[Field, ...]) -> dict[str, str]:
    return {old: field.name for field in fields for old in field.was}


def _renamed(values: dict[str, Any], former: dict[str, str]) -> dict[str, Any]:
    if not former or former.keys().isdisjoint(values):
        return values
    return {former.get(name, name): value for name, value in values.items()}


def _quote(name: str) -> str:
    return f'"{name}"'


def _quoted(names: list[str]) -> str:
    return ", ".join(map(_quote, names))


def _not_found(collection: str, event: MaterialEvent) -> InvalidRequest:
    return InvalidRequest(
        "not_found",
        f"{event.type} concerns {collection} {event.id!r}, which does not exist or was deleted.",
        fix="Create it first, or check the id.",
    )


def _out_of_range(collection: str, event: MaterialEvent, fields: list[Field]) -> InvalidRequest:
    limits = "; ".join(f"{field.name} from {field.min} to {field.max}" for field in fields)
    return InvalidRequest(
        "out_of_range",
        f"{event.type} would take {collection} {event.id!r} beyond its limits ({limits}).",
        fix="Add less, or set the field with an update.",
    )


def _constraint(event: MaterialEvent, error: apsw.ConstraintError) -> InvalidRequest:
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_CONSTRAINT_PRIMARYKEY:
        return InvalidRequest(
            "already_exists",
            f"{event.type} would make a row whose id is taken (a deleted row keeps its id).",
            fix="Use another id, or leave it out to get a new one.",
        )
    return InvalidRequest(
        "constraint_failed",
        f"{event.type} would store a value its column cannot hold ({error}).",
        fix="Check the size of the numbers and the SQL of the event in schema.yaml.",
    )
