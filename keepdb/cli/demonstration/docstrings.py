"""Real prose that is on every machine: the docstrings of the standard library and of the installed packages.

The sources are parsed and never imported, so nothing of them runs.
"""

import ast
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

#: Larger sources are generated tables, not prose.
SOURCE_BYTES_MAX = 2 * 1024 * 1024
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_NAME_MAX = 500

Owner = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Document(msgspec.Struct, frozen=True):
    """package: top-level package. name: dotted name of what it documents. kind: module, class or function."""

    package: str
    name: str
    kind: str
    text: str
    line: int


def read_documents(limit: int | None, progress: Callable[[int, int], None]) -> list[Document]:
    """Docstrings in a fixed order, the standard library first; progress gets files done and in all."""
    files = [(root, file) for root in source_roots() for file in source_files(root)]
    found: list[Document] = []
    with warnings.catch_warnings():
        # Old packages have escapes and comparisons that today's compiler frowns upon.
        warnings.simplefilter("ignore")
        for done, (root, file) in enumerate(files):
            found += documents_of(root, file)
            progress(done, len(files))
            if limit is not None and len(found) >= limit:
                return found[:limit]
    return found


def source_roots() -> list[Path]:
    """The standard library's folder, then those of installed packages; each once."""
    paths = sysconfig.get_paths()
    roots = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [root for at, root in enumerate(roots) if root.is_dir() and root not in roots[:at]]


def source_files(root: Path) -> list[Path]:
    """Python sources below root; packages inside the standard library's folder have a root of their own."""
    return sorted(
        path for path in root.rglob("*.py") if not _PACKAGES.intersection(path.relative_to(root).parts[:-1])
    )


def documents_of(root: Path, file: Path) -> Iterator[Document]:
    """Docstrings of one file; none if it cannot be read or parsed (test suites hold broken files on purpose)."""
    try:
        if file.stat().st_size > SOURCE_BYTES_MAX:
            return
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    parts = file.relative_to(root).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    for name, node in _documented(tree, module):
        text = ast.get_docstring(node)
        # Tests of Unicode hold halves of surrogate pairs, which no UTF-8 text can hold.
        if text and is_text(text) and len(name) <= _NAME_MAX:
            yield Document(parts[0], name, _kind(node), text, getattr(node, "lineno", 1))


def is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _documented(node: Owner | ast.If | ast.Try, name: str) -> Iterator[tuple[str, Owner]]:
    """Statements only: walking expressions as well takes eight times as long."""
    if not isinstance(node, ast.If | ast.Try):
        yield name, node
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            yield from _documented(child, name)


def _kind(node: Owner) -> str:
    return {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
