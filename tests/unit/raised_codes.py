"""Finds every error code that the source can raise, by reading it: docs/errors.md is compared with this.

A code is a constant in one of these places: the first argument of an error class, or of `super().__init__` in
one; an argument (or default) called `code` of any function; a value assigned to a variable called `code`.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CODE = re.compile("[a-z][a-z_]+")
FAMILIES = frozenset(
    {
        "KeepError", "ConfigError", "SchemaError", "InvalidRequest", "NotAllowed", "KeyringError", "StorageError",
        "Unavailable", "InvariantBroken",
    }
)  # fmt: skip


@dataclass
class Raised:
    """One code. families: error classes it is raised with where that can be told. retryable: likewise."""

    families: set[str] = field(default_factory=set)
    retryable: set[bool] = field(default_factory=set)
    places: list[str] = field(default_factory=list)


def raised_codes(
    root: Path, folders: tuple[str, ...] = ("keepdb", "actors", "messages")
) -> dict[str, Raised]:
    """Every code below root, by name."""
    files = [
        root / "supervisor.py",
        *(file for name in folders for file in sorted((root / name).rglob("*.py"))),
    ]
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    takers = dict(one for tree in trees.values() for one in _functions_taking_a_code(tree))
    families = dict(one for tree in trees.values() for one in _families(tree))
    found: dict[str, Raised] = {}
    for file, tree in trees.items():
        for code, family, retryable, line in _codes_in(tree, takers, families):
            one = found.setdefault(code, Raised())
            one.places.append(f"{file.relative_to(root)}:{line}")
            if family:
                one.families.add(family)
                one.retryable.add(retryable)
    return found


def _families(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Error classes, each with its family: those of keepdb/errors.py and classes made of one of them."""
    yield from ((name, name) for name in FAMILIES)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)} & FAMILIES
            if bases and node.name not in FAMILIES:
                yield node.name, min(bases)


def _functions_taking_a_code(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Name and position of the parameter `code`, `self` not counted; -1 for keyword only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args if argument.arg not in ("self", "cls")]
            if "code" in names:
                yield node.name, names.index("code")
            elif "code" in [argument.arg for argument in node.args.kwonlyargs]:
                yield node.name, -1


def _codes_in(
    tree: ast.AST, takers: dict[str, int], families: dict[str, str]
) -> Iterator[tuple[str, str, bool, int]]:
    """(code, family or "", retryable, line)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for call in ast.walk(node) if node.name in families else ():
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                    yield from _of_call(call, 0, families[node.name])
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            if name in families:
                yield from _of_call(node, 0, families[name])
            elif name in takers or name in ("Refused", "Failed", "LiveFailed"):
                yield from _of_call(node, takers.get(name, -1), "")
        elif isinstance(node, ast.FunctionDef):
            yield from _of_defaults(node)
        elif isinstance(node, ast.Assign):
            yield from _of_assignment(node)


def _of_call(call: ast.Call, position: int, family: str) -> Iterator[tuple[str, str, bool, int]]:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    value = named.get("code")
    if value is None and 0 <= position < len(call.args):
        value = call.args[position]
    flag = named.get("retryable")
    retryable = flag.value is True if isinstance(flag, ast.Constant) else family == "Unavailable"
    # A choice between two constants counts for both.
    for one in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and CODE.fullmatch(one.value):
            yield one.value, family, retryable, call.lineno


def _of_defaults(function: ast.FunctionDef) -> Iterator[tuple[str, str, bool, int]]:
    arguments = function.args
    positional = zip(reversed(arguments.args), reversed(arguments.defaults), strict=False)
    keyword_only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for argument, default in (*positional, *keyword_only):
        if argument.arg == "code" and isinstance(default, ast.Constant) and isinstance(default.value, str):
            yield default.value, "", False, function.lineno


def _of_assignment(node: ast.Assign) -> Iterator[tuple[str, str, bool, int]]:
    for target in node.targets:
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=True))
        for name, value in pairs:
            if (
                isinstance(name, ast.Name)
                and name.id == "code"
                and isinstance(value, ast.Constant)
                and value.value
            ):
                yield str(value.value), "", False, node.lineno
