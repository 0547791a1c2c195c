"""The messages a client sends and receives, as TypeScript.

Made from the structs of messages/ through msgspec.inspect, so a field that is added there is in the client's types
with the next `make generate`. Messages between the processes are left out.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect as inspect

from keepdb.typegen.text import comment, interface, key, literal, member, union
from messages import backups, base, commits, control, queries
from messages.base import FRAME_BYTES_MAX, PROTOCOL, Message

#: What a client may send: requests, and tells.
SENT: tuple[type[Message], ...] = (
    commits.Commit, commits.RequestOutcome, commits.WriterStatus, commits.Rebuild,
    queries.Read, queries.Describe, queries.Explain, queries.QueryStatus,
    queries.Subscribe, queries.SubscribeChanges, queries.Unsubscribe, queries.Ack, queries.Ping,
    backups.MakeBackup, backups.VerifyBackup, backups.GetJob, backups.ListBackups,
    control.GetStatus, control.GetHealth, control.Shutdown,
)  # fmt: skip
#: Answers.
ANSWERS: tuple[type[Message], ...] = (
    base.Refused, base.Done, commits.Receipt, commits.WriterFigures,
    queries.Rows, queries.Description, queries.Explanation, queries.QueryFigures,
    queries.Subscribed, queries.Moved, queries.Pong,
    backups.JobStarted, backups.Job, backups.Backups, control.Status, control.Health,
)  # fmt: skip
#: What comes unasked, for a subscription.
PUSHES: tuple[type[Message], ...] = (
    queries.Snapshot, queries.Diff, queries.LiveFailed, queries.Changes, queries.Rehydrate,
)  # fmt: skip

_HEAD = """\
// Made by `keepdb typegen --wire` from the messages of KeepDB's protocol. Do not edit: run `make generate`.
//
// Every message is a msgpack map whose `type` tells which one it is. A member at its default may be left out, both
// ways; `complete` puts the defaults of received messages back.
//
// Integers have 64 bits on the wire and are `number` here. Positions, times and sizes stay below 2^53. An integer field
// of an app may hold more: it arrives as `bigint` from a decoder that keeps it exact, such as msgpackr with
// `int64AsType: "auto"`.
"""

_TAIL = """\
/** A received message with its defaults in place. */
export type Complete<M extends Received> = M extends Received ? Required<M> : never;

/** Put back what the sender left out because it is at its default. Other members, known or not, stay as they are. */
export function complete<M extends Received>(message: M): Complete<M> {
  const defaults: object | undefined = (RECEIVED_DEFAULTS as Readonly<Record<string, object>>)[message.type];
  return { ...defaults, ...message } as unknown as Complete<M>;
}
"""


def wire_types() -> str:
    """The content of wire.ts."""
    lines = [_HEAD]
    lines += ["/** Version of the protocol; the ready line announces the server's. */"]
    lines += [f"export const PROTOCOL = {PROTOCOL};", ""]
    lines += ["/** A larger frame ends the connection. */"]
    lines += [f"export const FRAME_BYTES_MAX = {FRAME_BYTES_MAX};", ""]
    for struct in _structs((*SENT, *ANSWERS, *PUSHES)):
        lines += _interface(struct)
    lines += _either("Sent", SENT, "What a client sends.")
    lines += _either("Answer", ANSWERS, "What comes back for a request, under its request id.")
    lines += _either("Push", PUSHES, "What comes unasked, under the name of a subscription.")
    lines += ["/** What a client receives. */", "export type Received = Answer | Push;", ""]
    lines += _defaults()
    return "\n".join([*lines, _TAIL])


def _structs(messages: tuple[type[Message], ...]) -> list[type]:
    """The messages, each behind the structs it is made of."""
    found: dict[type, None] = {}

    def visit(struct: type) -> None:
        if struct in found:
            return
        for field in _fields(struct):
            for part in _parts(field.type):
                if part is not struct:
                    visit(part)
        found[struct] = None

    for message in messages:
        visit(message)
    return list(found)


def _parts(kind: inspect.Type) -> Iterator[type]:
    """Structs that a type mentions."""
    match kind:
        case inspect.StructType():
            yield kind.cls
        case inspect.ListType() | inspect.VarTupleType():
            yield from _parts(kind.item_type)
        case inspect.DictType():
            yield from _parts(kind.value_type)
        case inspect.UnionType():
            for one in kind.types:
                yield from _parts(one)


def _interface(struct: type) -> list[str]:
    members: list[str] = []
    tag = _tag(struct)
    if tag is not None:
        members += member("type", literal(tag))
    fields = _fields(struct)
    for field in fields:
        words = "" if field.required else f"Default: {_json_default(field)}."
        members += member(field.encode_name, _type(field.type), optional=not field.required, words=words)
    return interface(struct.__name__, members, _words(struct, fields))


def _words(struct: type, fields: tuple[inspect.Field, ...]) -> str:
    """The docstring, with names and values as they are on the wire."""
    words = struct.__doc__ or ""
    for field in fields:
        if "_" in field.name:
            words = re.sub(rf"\b{field.name}\b", field.encode_name, words)
    return re.sub(r"\bNone\b", "null", words)


def _either(name: str, messages: tuple[type[Message], ...], words: str) -> list[str]:
    return [*comment(words), f"export type {name} =", *(f"  | {one.__name__}" for one in messages[:-1]),
            f"  | {messages[-1].__name__};", ""]  # fmt: skip


def _defaults() -> list[str]:
    """What a receiver fills in."""
    lines = ["/** Defaults of received messages by `type`. */", "export const RECEIVED_DEFAULTS = {"]
    for message in (*ANSWERS, *PUSHES):
        shown = [
            f"{key(one.encode_name)}: {_json_default(one)}" for one in _fields(message) if not one.required
        ]
        if shown:
            lines.append(f"  {_tag(message)}: {{ {', '.join(shown)} }},")
    return [*lines, "} as const;", ""]


def _type(kind: inspect.Type) -> str:
    """A type in TypeScript. KeyError for one that no message has used so far."""
    simple = {
        inspect.IntType: "number", inspect.FloatType: "number", inspect.StrType: "string",
        inspect.BytesType: "Uint8Array", inspect.BoolType: "boolean", inspect.AnyType: "unknown",
        inspect.NoneType: "null",
    }  # fmt: skip
    match kind:
        case inspect.StructType():
            return kind.cls.__name__
        case inspect.LiteralType():
            return union(str(value) for value in kind.values)
        case inspect.ListType() | inspect.VarTupleType():
            item = _type(kind.item_type)
            compound = item.startswith("readonly ") or " | " in item
            return f"readonly ({item})[]" if compound else f"readonly {item}[]"
        case inspect.TupleType():
            return f"readonly [{', '.join(_type(item) for item in kind.item_types)}]"
        case inspect.DictType():
            return f"Readonly<Record<{_type(kind.key_type)}, {_type(kind.value_type)}>>"
        case inspect.UnionType():
            return " | ".join(_type(one) for one in kind.types)
    return simple[type(kind)]


def _json_default(field: inspect.Field) -> str:
    factory: Any = field.default_factory
    return literal(factory() if field.default is msgspec.NODEFAULT else field.default)


def _fields(struct: type) -> tuple[inspect.Field, ...]:
    found = inspect.type_info(struct)
    assert isinstance(found, inspect.StructType)
    return found.fields


def _tag(struct: type) -> str | None:
    found = inspect.type_info(struct)
    assert isinstance(found, inspect.StructType)
    return None if found.tag is None else str(found.tag)
