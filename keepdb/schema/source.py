"""Reads schema.yaml into plain values that still know their place, so that every mistake can be pointed at.

YAML's surprises are refused here: duplicate keys, anchors and aliases (a short file may stand for
gigabytes), keys that are not text, tags, dates and binary values.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from keepdb.errors import SchemaError

from .values import describe_value, near_miss

#: The shipped file has 14 KiB; 256 collections of 256 short fields stay below this.
SOURCE_BYTES_MAX = 8 * 1024 * 1024
_DEPTH_MAX = 40

# The C parser is about ten times faster; both are safe and give the same nodes.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


def read_source(path: Path) -> str:
    """Text of the file. SchemaError if it is missing, too large or not UTF-8."""
    try:
        with path.open("rb") as file:
            raw = file.read(SOURCE_BYTES_MAX + 1)
        if len(raw) > SOURCE_BYTES_MAX:
            raise _unreadable(str(path), f"it is larger than {SOURCE_BYTES_MAX} bytes", "Make it smaller.")
        return raw.decode()
    except OSError as error:
        reason = error.strerror or str(error)
        raise _unreadable(str(path), reason, "Check the path and its permissions.") from None
    except UnicodeDecodeError as error:
        raise _unreadable(str(path), f"byte {error.start} is not UTF-8", "Save it as UTF-8.") from None


class Spot:
    """A value in the file with its path and line. Reading through it makes good error messages cheap."""

    def __init__(self, value: Any, path: str, source: str, lines: dict[str, int]) -> None:
        self.value = value
        self.path = path
        self.source = source
        self.lines = lines

    def fail(self, allowed: str, found: str | None = None, code: str = "schema_invalid") -> SchemaError:
        """The error to raise about this value."""
        found = describe_value(self.value) if found is None else found
        line = self.lines.get(self.path)
        place = f"{self.source}, line {line}" if line else self.source
        return SchemaError(
            code,
            f"{place}: {self.path or 'top level'}: found {found}, allowed: {allowed}.",
            fix="Correct it there; docs/schema.md lists every key.",
        )

    def mapping(self, required: Iterable[str] = (), optional: Iterable[str] = ()) -> dict[str, "Spot"]:
        """The entries of a map that may have only these keys."""
        entries = self.entries()
        known = (*required, *optional)
        for key, spot in entries.items():
            if key not in known:
                near = near_miss(key, known)
                hint = f" (did you mean {near}?)" if near else ""
                raise spot.fail(
                    f"the keys {', '.join(known)}{hint}", f"the key {key!r}", "schema_unknown_key"
                )
        for key in required:
            if key not in entries:
                raise self.fail(f"the key {key!r} is needed", "none", "schema_missing_key")
        return entries

    def entries(self) -> dict[str, "Spot"]:
        """The entries of a map with free keys."""
        if not isinstance(self.value, dict):
            raise self.fail("a map (key: value)")
        return {
            key: self._at(value, f"{self.path}.{key}" if self.path else key)
            for key, value in self.value.items()
        }

    def items(self) -> list["Spot"]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.fail("a list ([a, b])")
        return [self._at(item, f"{self.path}[{position}]") for position, item in enumerate(self.value)]

    def text(self, allowed: str = "text") -> str:
        if not isinstance(self.value, str):
            raise self.fail(allowed)
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.fail("true or false")
        return self.value

    def whole(self, low: int, high: int) -> int:
        value = self.value
        if type(value) is not int or not low <= value <= high:
            raise self.fail(f"an integer from {low} to {high}")
        return value

    def number(self) -> int | float:
        value = self.value
        if type(value) not in (int, float) or not -(2**63) <= value < 2**63:
            raise self.fail("a number of 64 bits")
        return value  # type: ignore[no-any-return]

    def choice(self, known: tuple[str, ...], what: str = "") -> str:
        """A text out of a known set."""
        if not isinstance(self.value, str) or self.value not in known:
            near = near_miss(self.value, known)
            hint = f" (did you mean {near}?)" if near else ""
            raise self.fail(f"{what}{', '.join(known) or 'nothing'}{hint}")
        return self.value

    def _at(self, value: Any, path: str) -> "Spot":
        return Spot(value, path, self.source, self.lines)


def parse_source(text: str, source: str) -> Spot:
    """The top of the file as a Spot. SchemaError for anything YAML or we do not allow."""
    if len(text) > SOURCE_BYTES_MAX:
        raise _unreadable(source, f"it is larger than {SOURCE_BYTES_MAX} bytes", "Make it smaller.")
    lines: dict[str, int] = {}
    try:
        _check_shape(text, source)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise _unreadable(source, "it is empty", "Start with `version: 1` and `collections:`.")
        value = _Reader(source, lines).read(node, "")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise _unreadable(source, f"{place}{problem}", "Correct the YAML there.") from None
    return Spot(value, "", source, lines)


def _check_shape(text: str, source: str) -> None:
    """Refuse aliases and deep nesting before a tree is made.

    The C parser's tree builder recurses without a limit: 200 000 brackets end the process (reproduced).
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        where = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
        if isinstance(event, yaml.AliasEvent):
            raise _unreadable(source, f"{where}an alias (*{event.anchor})", "Write every value out.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH_MAX:
            raise _unreadable(source, f"{where}nested deeper than {_DEPTH_MAX} levels", "Flatten it.")


class _Reader:
    """Nodes -> plain values."""

    def __init__(self, source: str, lines: dict[str, int]) -> None:
        self._source = source
        self._lines = lines
        self._scalar: Callable[[yaml.Node], Any] = yaml.SafeLoader("").construct_object

    def read(self, node: yaml.Node, path: str) -> Any:
        self._lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, f"{path}[{at}]") for at, item in enumerate(node.value)]
        if node.tag not in _SCALARS:
            raise self._fail(
                node, path, "schema_invalid", f"a {node.tag}", "plain values; put text in quotes"
            )
        try:
            return self._scalar(node)
        except ValueError:
            raise self._fail(node, path, "schema_invalid", repr(node.value), "a readable value") from None

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                allowed = "keys that are text; put on, off, yes, no, null and numbers in quotes"
                raise self._fail(key_node, path, "schema_invalid", f"the key {str(key)[:40]!r}", allowed)
            if key in result:
                raise self._fail(
                    key_node, path, "schema_duplicate", f"the key {key!r} twice", "each key once"
                )
            result[key] = self.read(value_node, f"{path}.{key}" if path else key)
        return result

    def _fail(self, node: yaml.Node, path: str, code: str, found: str, allowed: str) -> SchemaError:
        self._lines[path] = node.start_mark.line + 1
        return Spot(None, path, self._source, self._lines).fail(allowed, found, code)


def _unreadable(source: str, reason: str, fix: str) -> SchemaError:
    return SchemaError("schema_unreadable", f"{source} cannot be read: {reason}.", fix=fix)
