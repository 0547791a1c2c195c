"""Values given on the command line: JSON, KEY=VALUE pairs, settings. Mistakes are usage errors that quote the key."""

import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from keepdb.cli.terminal.status import usage

#: One request is one frame of at most 8 MiB; more text than that cannot be committed.
STDIN_BYTES_MAX = 8 * 1024 * 1024


def read_settings(assignments: Iterable[str]) -> dict[str, str]:
    """`section.key=value` as load_config wants them."""
    settings = {}
    for text in assignments:
        name, joined, value = text.partition("=")
        if not joined or "." not in name.strip("."):
            raise usage(
                f"--set {text}: not of the form SECTION.KEY=VALUE.",
                "Write for example `--set query.workers=1`; `keepdb config show` lists all keys.",
            )
        settings[name] = value
    return settings


def read_object(text: str | bytes, name: str) -> dict[str, Any]:
    """A JSON object. name: the option or source it was given by."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        why = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
        fix = """Give an object in single quotes, like '{"name": "Ada"}'."""
        raise usage(f"{name} is not JSON: {why}.", fix) from None
    if not isinstance(found, dict):
        raise usage(
            f"{name} is a JSON {_kind(found)}, not an object.", """Give an object like '{"name": "Ada"}'."""
        )
    return found


def read_stdin_object() -> dict[str, Any]:
    """A JSON object from standard input."""
    text = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
    if len(text) > STDIN_BYTES_MAX:
        raise usage(f"Standard input holds more than {STDIN_BYTES_MAX} bytes.", "Commit it in smaller parts.")
    return read_object(text, "standard input")


def read_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE arguments; a value that is JSON is taken as JSON, everything else as text."""
    found: dict[str, Any] = {}
    for text in pairs:
        key, joined, value = text.partition("=")
        if not joined or not key:
            raise usage(
                f"{text!r} is not of the form KEY=VALUE.", "Write for example `name=Ada`, or use --data-json."
            )
        if key in found:
            raise usage(f"{key} is given twice.", "Give each field once; a list is written as JSON.")
        found[key] = read_value(value)
    return found


def read_value(text: str) -> Any:
    """JSON if it is JSON (numbers, true, null, "quoted", lists, objects), else the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def read_params(given: Iterable[str]) -> list[Any] | dict[str, Any]:
    """SQL parameters: all NAME=VALUE, or all values in order."""
    named: dict[str, Any] = {}
    positional: list[Any] = []
    for text in given:
        name, joined, value = text.partition("=")
        if joined and name.isidentifier():
            named[name] = read_value(value)
        else:
            positional.append(read_value(text))
    if named and positional:
        raise usage(
            "--param mixes values with and without a name.",
            'Give all as NAME=VALUE or none; a text with "=" goes in double quotes: \'"a=b"\'.',
        )
    return named or positional


def split_names(given: Iterable[str]) -> tuple[str, ...]:
    """Names given one by one or joined by commas."""
    return tuple(name.strip() for text in given for name in text.split(",") if name.strip())


def _kind(value: Any) -> str:
    return {list: "list", str: "text", bool: "boolean", int: "number", float: "number"}.get(
        type(value), "null"
    )
