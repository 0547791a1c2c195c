"""Pieces of TypeScript text that both generators are made of: literals, comments, interfaces."""

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

#: Widest line of a comment.
WIDTH = 110

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")


def literal(value: Any) -> str:
    """A JSON value as a TypeScript literal."""
    return json.dumps(value, ensure_ascii=False)


def union(values: Iterable[str]) -> str:
    """`"a" | "b"`; `never` where there is none."""
    return " | ".join(literal(value) for value in values) or "never"


def key(name: str) -> str:
    """A member's name, quoted where it is no identifier."""
    return name if _IDENTIFIER.match(name) else literal(name)


def comment(words: str, indent: str = "") -> list[str]:
    """Words as JSDoc, wrapped and unable to end the comment; paragraphs stay apart. [] for no words."""
    clean = re.sub(r"[\x00-\x09\x0b-\x1f\x7f\u0085\u2028\u2029]", " ", words).replace("*/", "*\\/").strip()
    if not clean:
        return []
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", clean):
        lines += [
            "",
            *textwrap.wrap(" ".join(paragraph.split()), WIDTH - len(indent) - 3, break_long_words=False),
        ]
    if len(lines) == 2:
        return [f"{indent}/** {lines[1]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines[1:]), f"{indent} */"]


def member(
    name: str, type_: str, *, optional: bool = False, words: str = "", indent: str = "  "
) -> list[str]:
    """One member of an interface."""
    return [*comment(words, indent), f"{indent}readonly {key(name)}{'?' if optional else ''}: {type_};"]


def interface(name: str, members: Sequence[str], words: str = "") -> list[str]:
    """An exported interface, with an empty line behind it. One without members accepts no member at all."""
    if not members:
        return [*comment(words), f"export type {name} = Record<string, never>;", ""]
    return [*comment(words), f"export interface {name} {{", *members, "}", ""]
