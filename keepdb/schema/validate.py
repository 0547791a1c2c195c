"""A client's event -> storage values, or one refusal that names everything wrong with it.

This runs for every event of every commit, so each event type is compiled once into closures and tables.
Nothing here looks at the database: whether a row exists is decided when the event is materialized.
"""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import msgspec

from keepdb.errors import InvalidRequest

from .model import Argument, Collection, EventType, InsertRow, RowsField, Schema, SealTarget
from .values import (
    ID_ALLOWED,
    NOW,
    Check,
    Mismatch,
    check_storage,
    default_storage,
    describe_value,
    is_id,
    near_miss,
)

#: Child rows given on creation; more are added by their event.
ROWS_PER_CREATION_MAX = 10_000
#: Compiled schemas kept; a process has one, tests have many.
_VALIDATORS_MAX = 16
#: Problems listed in one refusal.
_PROBLEMS_MAX = 20


class EncryptedValue(msgspec.Struct, frozen=True, gc=False):
    """A value to be sealed before it may be stored. value: msgpack of the wire value; the rest is its AAD."""

    name: str
    collection_no: int
    field_no: int
    row_id: str
    value: bytes


class PreparedEvent(msgspec.Struct, frozen=True):
    """A checked event. clear and content: storage values by argument name; null is None, absent is absent.

    An encrypted argument that was given as null is in `clear` as None. subject: for creating events only.
    """

    type: str
    collection: str
    id: str
    at: int
    creates: bool
    clear: dict[str, Any]
    content: dict[str, Any]
    encrypted: list[EncryptedValue]
    subject: str | None = None


def prepare(
    schema: Schema,
    type: str,
    id: str | None,
    data: dict[str, Any],
    at: int,
    new_id: Callable[[], str],
) -> list[PreparedEvent]:
    """Check one event. Usually one comes back; a creation with child rows gives one more per row, in order.

    at: ms since the epoch. Raises InvalidRequest (`unknown_event`, `id_required`, `validation_failed`).
    """
    validator = _validators.get(schema.hash)
    if validator is None:
        validator = _remember(schema)
    return validator.prepare(type, id, data, at, new_id)


def subject_of_new(event: PreparedEvent) -> str:
    """The subject whose key seals a new entity. Other events take the subject of the row they change."""
    if event.subject is None:
        raise ValueError(f"{event.type} creates nothing; its subject is that of the existing row")
    return event.subject


class Validator:
    """The event types of one schema, each compiled when it is first used."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._plans: dict[str, _Plan] = {}

    def prepare(
        self, name: str, row_id: str | None, data: dict[str, Any], at: int, new_id: Callable[[], str]
    ) -> list[PreparedEvent]:
        """See the function of the same name; `name` is the event type."""
        plan = self._plans.get(name) or self._plan(name)
        if plan.kind == "created":
            if row_id is None:
                row_id = new_id()
        elif row_id is None:
            raise _id_required(plan.event)
        problems: list[str] = []
        if not is_id(row_id):
            problems.append(_problem(f"{plan.collection}.id", describe_value(row_id), ID_ALLOWED))
        event = plan.check(row_id, data, at, new_id, problems)
        events = [event]
        if plan.rows and not plan.rows.keys().isdisjoint(data):
            events += self._children(plan, event, data, new_id, problems)
        if problems:
            raise _failed(name, problems)
        return events

    def _plan(self, name: str) -> "_Plan":
        event = self._schema.events.get(name)
        if event is None:
            _refuse_type(self._schema, name)
        plan = self._plans[name] = _Plan(self._schema, event)
        return plan

    def _children(
        self,
        plan: "_Plan",
        parent: PreparedEvent,
        data: dict[str, Any],
        new_id: Callable[[], str],
        problems: list[str],
    ) -> Iterable[PreparedEvent]:
        made: list[PreparedEvent] = []
        for name, rows in plan.rows.items():
            items = data.get(name)
            if items is None:
                continue
            if type(items) not in (list, tuple) or len(items) > ROWS_PER_CREATION_MAX:
                allowed = f"a list of at most {ROWS_PER_CREATION_MAX} maps"
                problems.append(_problem(f"{plan.collection}.{name}", describe_value(items), allowed))
                continue
            event = self._plans.get(rows.event) or self._plan(rows.event)
            names = plan.child_args[name]
            for position, item in enumerate(items):
                path = f"{plan.collection}.{name}[{position}]"
                if type(item) is not dict:
                    problems.append(_problem(path, describe_value(item), "a map of the row's fields"))
                    continue
                unknown = item.keys() - names.keys()
                problems += (_unknown(path, str(key), tuple(names)) for key in sorted(map(str, unknown)))
                args = {names[key]: value for key, value in item.items() if key in names}
                made.append(event.check(parent.id, args, parent.at, new_id, problems, path))
        return made


class _Plan:
    """One event type, compiled."""

    def __init__(self, schema: Schema, event: EventType) -> None:
        collection = schema.collections[event.collection]
        self.event = event
        self.kind = event.kind
        self.collection = event.collection
        self.rows: dict[str, RowsField] = {}
        self.child_args: dict[str, dict[str, str]] = {}
        if event.kind == "created":
            self.rows = {rows.name: rows for rows in collection.rows}
            self.child_args = {rows.name: item_names(schema, rows) for rows in collection.rows}
        self._subject = _subject_rule(collection) if event.kind == "created" else None
        self._slots = {arg.field.name: _slot(arg) for arg in event.args}
        asks = event.kind in ("created", "domain")
        self._required = tuple(arg.field.name for arg in event.args if asks and arg.field.required)
        self._defaults = tuple(_default(arg) for arg in event.args if asks and arg.field.default is not None)
        self._new_rows = tuple(arg.field.name for arg in event.args if arg.new_row)
        self._list_fields = {rows.name: rows for rows in collection.rows}

    def check(
        self,
        row_id: str,
        data: dict[str, Any],
        at: int,
        new_id: Callable[[], str],
        problems: list[str],
        path: str | None = None,
    ) -> PreparedEvent:
        """Storage values of one event; what is wrong is added to `problems`."""
        clear: dict[str, Any] = {}
        content: dict[str, Any] = {}
        sealed: list[tuple[str, SealTarget, bytes]] = []
        buckets = (clear, content)
        slots = self._slots
        for name, value in data.items():
            slot = slots.get(name)
            if slot is None:
                if name not in self.rows:
                    problems.append(self._unknown(name, path))
                continue
            bucket, check, seal, nullable = slot
            if value is None and nullable:
                buckets[bucket][name] = None
                continue
            try:
                stored = check(value)
            except Mismatch as mismatch:
                problems.append(self._mismatch(name, value, mismatch, path))
                continue
            if seal is None:
                buckets[bucket][name] = stored
            else:
                sealed.append((name, seal, stored))
        self._complete(data, at, new_id, clear, buckets, sealed, problems, path)
        encrypted = [
            EncryptedValue(
                name,
                seal.collection_no,
                seal.field_no,
                clear.get(seal.row, "") if seal.row else row_id,
                value,
            )
            for name, seal, value in sealed
        ]
        subject = self._subject(row_id, clear) if self._subject else None
        return PreparedEvent(
            self.event.name,
            self.collection,
            row_id,
            at,
            subject is not None,
            clear,
            content,
            encrypted,
            subject,
        )

    def _complete(
        self,
        data: dict[str, Any],
        at: int,
        new_id: Callable[[], str],
        clear: dict[str, Any],
        buckets: tuple[dict[str, Any], dict[str, Any]],
        sealed: list[tuple[str, SealTarget, bytes]],
        problems: list[str],
        path: str | None,
    ) -> None:
        """What the data leaves out: ids of new rows, defaults, complaints about required fields."""
        for name in self._new_rows:
            if name not in data:
                clear[name] = new_id()
        for name, bucket, stored, seal in self._defaults:
            if name not in data:
                if seal is not None:
                    sealed.append((name, seal, stored))
                else:
                    buckets[bucket][name] = at if stored is NOW else stored
        for name in self._required:
            if name not in data:
                problems.append(self._mismatch(name, None, Mismatch("", "nothing"), path))
        if not data and self.kind == "updated":
            problems.append(_problem(self.collection, "no field", "at least one field to change"))

    def _mismatch(self, name: str, value: Any, mismatch: Mismatch, path: str | None) -> str:
        field = next(arg.field for arg in self.event.args if arg.field.name == name)
        allowed = mismatch.allowed
        if value is None:
            # The check's own words for what the field takes, asked for with a value no check accepts.
            try:
                check_storage(field)(object())
            except Mismatch as other:
                allowed = other.allowed
        found = mismatch.found or describe_value(value, secret=field.encrypted)
        return _problem(self._place(name, path), found, allowed)

    def _unknown(self, name: Any, path: str | None) -> str:
        rows = self._list_fields.get(name)
        if rows is not None:
            allowed = f"child rows are added by the event {rows.event}"
            return _problem(self._place(name, path), "a rows field", allowed)
        known = (*self._slots, *self.rows)
        if name == "id" and self.kind != "domain":
            return _problem(self._place("id", path), "the id among the data", "the id beside the data")
        return _unknown(
            path or (self.collection if self.kind != "domain" else self.event.name), str(name), known
        )

    def _place(self, name: Any, path: str | None) -> str:
        return f"{path or (self.collection if self.kind != 'domain' else self.event.name)}.{name}"


_Slot = tuple[int, Check, SealTarget | None, bool]

_validators: dict[str, Validator] = {}


def _remember(schema: Schema) -> Validator:
    if len(_validators) >= _VALIDATORS_MAX:
        _validators.clear()
    validator = _validators[schema.hash] = Validator(schema)
    return validator


def _slot(arg: Argument) -> _Slot:
    bucket = 1 if arg.field.sealing == "content" else 0
    return bucket, check_storage(arg.field), arg.seal, arg.field.nullable


def _default(arg: Argument) -> tuple[str, int, Any, SealTarget | None]:
    bucket, _, seal, _ = _slot(arg)
    return arg.field.name, bucket, default_storage(arg.field), seal


def _subject_rule(collection: Collection) -> Callable[[str, dict[str, Any]], str]:
    name, rule = collection.name, collection.subject
    if rule == "self":
        return lambda row_id, _clear: f"{name}/{row_id}"
    if rule == "collection":
        return lambda _row_id, _clear: f"{name}/*"
    field = collection.field(rule)
    target = field.ref if field is not None else None

    def by_ref(row_id: str, clear: dict[str, Any]) -> str:
        other = clear.get(rule)
        return f"{name}/{row_id}" if other is None else f"{target}/{other}"

    return by_ref


def item_names(schema: Schema, rows: RowsField) -> dict[str, str]:
    """Field of a child row (and id) -> argument of the event that adds one."""
    for operation in schema.events[rows.event].operations:
        if isinstance(operation, InsertRow) and operation.rows == rows.name:
            fed = {one.field: str(one.expr.value) for one in operation.assign if one.expr.kind == "arg"}
            return {"id": operation.child_id, **fed}
    raise KeyError(rows.event)


def _problem(place: str, found: str, allowed: str) -> str:
    return f"{place}: found {found}, allowed: {allowed}"


def _unknown(place: str, name: str, known: tuple[str, ...]) -> str:
    near = near_miss(name, known)
    hint = f" (did you mean {near}?)" if near else ""
    return _problem(place, f"the unknown field {name[:80]!r}", f"{', '.join(known) or 'no data'}{hint}")


def _failed(name: str, problems: list[str]) -> InvalidRequest:
    shown = problems[:_PROBLEMS_MAX]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return InvalidRequest(
        "validation_failed",
        f"{name} is not valid. {'; '.join(shown)}.",
        fix="Correct the named fields and send it again as a new request.",
    )


def _id_required(event: EventType) -> InvalidRequest:
    return InvalidRequest(
        "id_required",
        f"{event.name} has no id, but it concerns an existing row of {event.collection}.",
        fix="Give the id of the row beside the type.",
    )


def _refuse_type(schema: Schema, name: str) -> NoReturn:
    near = near_miss(name, tuple(schema.events))
    raise InvalidRequest(
        "unknown_event",
        f"The schema has no event called {describe_value(name)}.",
        fix=f"Did you mean {near}?"
        if near
        else "Use <collection>.created, .updated, .deleted or a declared event.",
    )
