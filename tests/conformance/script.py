"""A scripted conversation: its steps, and how a peer compares what it hears with what the script says.

The format is described in README.md. Nothing here knows of sockets.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from keepdb.typegen.wire import SENT
from messages.base import Message, decoder

from .tagged import plain

Map = dict[str, Any]

#: Typed: what a client sends must be what the protocol says, to the type of the last member.
_decode = decoder(*SENT).decode


class Broken(Exception):
    """The client did not do what the script says."""


@dataclass(frozen=True)
class Script:
    """One conversation. services: those of the peer. needs: what a client must offer to play it."""

    name: str
    about: str
    steps: list[Map]
    services: tuple[str, ...]
    needs: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> "Script":
        found = json.loads(path.read_text(encoding="utf-8"))
        services = tuple(found.get("services", ("writer", "query-1")))
        return cls(path.stem, found["about"], found["steps"], services, frozenset(found.get("needs", ())))


@dataclass
class Names:
    """Values the script has named with `{"$var": name}`. services: for `{"$other": name}`, the other of two."""

    services: tuple[str, ...] = ()
    bound: Map = field(default_factory=dict)

    def fill(self, template: Any) -> Any:
        """A template with its names replaced by their values."""
        match template:
            case {"$var": str(name)}:
                if name not in self.bound:
                    raise ValueError(f"the script uses {name} before it has a value")
                return self.bound[name]
            case {"$other": str(name)}:
                mine = self.bound[name]
                return next(one for one in self.services if one.startswith("query-") and one != mine)
            case dict():
                return plain({name: self.fill(part) for name, part in template.items()})
            case list():
                return [self.fill(part) for part in template]
        return template

    def compare(self, pattern: Any, value: Any, path: str = "$") -> None:
        """Raise Broken where a value does not fit. A map fits if each member of the pattern does; more may be there."""
        match pattern:
            case {"$var": str(name)}:
                if name in self.bound:
                    self.compare(self.bound[name], value, path)
                self.bound[name] = value
            case {"$bin": _} | {"$int": _}:
                self._equal(plain(pattern), value, path)
            case dict():
                if not isinstance(value, dict):
                    raise Broken(f"{path}: expected a map, got {value!r}")
                for name, part in pattern.items():
                    if name not in value:
                        raise Broken(f"{path}.{name}: expected {part!r}, got nothing")
                    self.compare(part, value[name], f"{path}.{name}")
            case list():
                if not isinstance(value, list) or len(value) != len(pattern):
                    raise Broken(f"{path}: expected {pattern!r}, got {value!r}")
                for at, (part, one) in enumerate(zip(pattern, value, strict=True)):
                    self.compare(part, one, f"{path}[{at}]")
            case _:
                self._equal(pattern, value, path)

    def _equal(self, expected: Any, value: Any, path: str) -> None:
        # Python itself takes 1, 1.0 and true for equal.
        if type(expected) is not type(value) or expected != value:
            raise Broken(f"{path}: expected {expected!r}, got {value!r}")


def understood(body: bytes) -> Map:
    """A client's message as a map with its defaults in place. Raises Broken for what the protocol does not know."""
    try:
        message: Message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(f"the client sent {body.hex()}: {error}") from None
    found: Map = msgspec.msgpack.decode(body)
    for one in msgspec.structs.fields(message):
        if not one.required:
            found.setdefault(
                one.encode_name, msgspec.to_builtins(getattr(message, one.name), builtin_types=(bytes,))
            )
    known = {"type", *(one.encode_name for one in msgspec.structs.fields(message))}
    if unknown := found.keys() - known:
        raise Broken(f"{found['type']} has no member {', '.join(sorted(unknown))}")
    return found
