"""The schema as plain data, for clients that show forms, check input early or generate types."""

from typing import Any

from .model import TIME_COLUMNS, Argument, Collection, EventType, Field, RowsField, Schema


def describe(schema: Schema) -> dict[str, Any]:
    """Maps, lists, text, numbers and booleans only. Keys are those of schema.yaml, see docs/schema.md."""
    return {
        "version": schema.version,
        "hash": schema.hash,
        "collections": {name: _collection(one, schema) for name, one in schema.collections.items()},
        "events": {name: _event(one) for name, one in schema.events.items()},
        "methods": {
            name: {"collection": one.collection, "event": one.event} for name, one in schema.methods.items()
        },
    }


def _collection(collection: Collection, schema: Schema) -> dict[str, Any]:
    return {
        "number": collection.number,
        "description": collection.description,
        "subject": collection.subject,
        "fields": {field.name: _field(field) for field in collection.fields},
        "automatic": ["id", *TIME_COLUMNS],
        "rows": {rows.name: _rows(rows) for rows in collection.rows},
        "indexes": [list(index) for index in collection.indexes],
        "columns": [column.name for column in schema.columns(collection.name) if not column.hidden],
    }


def _rows(rows: RowsField) -> dict[str, Any]:
    return {
        "number": rows.number,
        "description": rows.description,
        "table": rows.table,
        "event": rows.event,
        "fields": {field.name: _field(field) for field in rows.fields},
    }


def _field(field: Field) -> dict[str, Any]:
    """Only the limits that are set."""
    limits = {
        "values": list(field.values) or None,
        "default": field.default,
        "min": field.min,
        "max": field.max,
        "maxLength": field.max_length,
        "ref": field.ref,
        "description": field.description or None,
    }
    return {
        "number": field.number,
        "type": field.type,
        "sealing": field.sealing,
        "required": field.required,
        "nullable": field.nullable,
        **{key: value for key, value in limits.items() if value is not None},
    }


def _event(event: EventType) -> dict[str, Any]:
    return {
        "collection": event.collection,
        "kind": event.kind,
        "number": event.number,
        "description": event.description,
        "args": {arg.field.name: _argument(arg) for arg in event.args},
    }


def _argument(arg: Argument) -> dict[str, Any]:
    field = _field(arg.field)
    del field["number"]
    if arg.new_row:
        field["newRow"] = True
    return field
