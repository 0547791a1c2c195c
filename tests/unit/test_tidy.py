"""What review would say again and again: names, sizes, import direction, calls that have a better replacement."""

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Packages in import order: each may import itself and those before it.
LAYERS = ("messages", "keepdb", "actors", "supervisor")
SOURCES = sorted(
    [ROOT / "supervisor.py", *(file for name in LAYERS[:3] for file in (ROOT / name).rglob("*.py"))]
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
EVERYTHING = [*SOURCES, *TESTS, *BENCHMARKS]
SCRIPTS = sorted(
    file
    for folder in ("clients/node/src", "clients/node/test", "examples/electron/src", "examples/electron/e2e")
    for file in (ROOT / folder).rglob("*.ts*")
    if file.suffix in (".ts", ".tsx") and file.parent.name != "generated"
)

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}
FILE_LINES_MAX, FUNCTION_LINES_MAX = 400, 70
#: Longer files, each with its reason.
LONG_FILES: dict[str, str] = {
    "keepdb/storage/log.py": "one class guards one file: appending, reading and verifying share invariants",
    "tests/system/test_cli_program.py": "one database for all commands, because each start costs a second",
    "tests/unit/test_backup_roundtrip.py": "one sentence per way a backup can be wrong",
    "tests/unit/test_crypto_keyring.py": "one sentence per way a keyring can be wrong",
    "tests/unit/test_docs.py": "reads all pages with one set of readers",
    "tests/unit/test_storage_log.py": "one log for all of its laws",
    "tests/unit/test_storage_state.py": "one state for all of its laws",
}
#: Call -> (what to use instead, files where it may stand).
BANNED_CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "time.time": ("the injected Clock (keepdb/clock.py)", ("keepdb/clock.py",)),
    "time.time_ns": ("the injected Clock", ("keepdb/clock.py",)),
    "time.monotonic": ("the injected Clock", ("keepdb/clock.py",)),
    "time.sleep": ("a timer of the inbox, or an event with a timeout", ()),
    "datetime.now": ("the injected Clock", ()),
    "datetime.datetime.now": ("the injected Clock", ()),
    "datetime.utcnow": ("the injected Clock", ()),
    "print": ("the Console of keepdb/cli/terminal, or a logger", ("keepdb/cli/",)),
    "pickle.load": ("msgspec: unpickling runs code", ()),
    "pickle.loads": ("msgspec: unpickling runs code", ()),
    "os.system": ("subprocess with a list", ()),
    "os._exit": ("returning; only the ends of processes may", ("keepdb/runtime/",)),
    "zmq.Context": ("the inbox or the link", ("keepdb/fabric/inbox.py", "keepdb/client/link.py")),
    "zmq.asyncio.Context": ("the inbox: asyncio is four times slower", ()),
    "sqlite3.connect": ("keepdb/storage/connection.py", ()),
    "apsw.Connection": ("open_database, which sets cipher, limits and pragmas", ("keepdb/storage/connection.py",)),
    "random.random": ("os.urandom, injected", ()),
}  # fmt: skip
#: Imports that may stand only in these files (inside functions where they are lazy).
BANNED_IMPORTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sqlite3": ("apsw: a second SQLite library in the process drops locks", ()),
    "sqlite_utils": ("a process that opens no live file", ("keepdb/schema/ddl.py",)),
    "asyncio": ("the poll loop of the inbox", ()),
    "pickle": ("msgspec", ()),
    "random": ("os.urandom, injected", ()),
    "click": ("keepdb/cli: a hosted database loads no command line", ("keepdb/cli/",)),
    "unittest.mock": ("the real thing", ()),
}
WORDS_THAT_DO_NOT_BELONG = ("TODO", "FIXME", "XXX", "HACK")

relative = [str(file.relative_to(ROOT)) for file in EVERYTHING]


@pytest.mark.parametrize("file", EVERYTHING, ids=relative)
def test_a_module_says_why_it_exists_and_keeps_to_its_size(file: Path) -> None:
    name, text = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
    assert file.stem not in NAMES_THAT_SAY_NOTHING, "name it for what it holds"
    if not text.strip():
        assert file.name == "__init__.py", "an empty module"
        return
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "begin with a paragraph on why it exists"
    lines = text.count("\n")
    assert lines <= FILE_LINES_MAX or name in LONG_FILES, (
        f"{lines} lines: split it, or give a reason in LONG_FILES"
    )
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize("file", SOURCES, ids=relative[: len(SOURCES)])
def test_imports_run_one_way(file: Path) -> None:
    layer = LAYERS.index(file.relative_to(ROOT).parts[0].removesuffix(".py"))
    for name, _ in _imports(ast.parse(file.read_text(encoding="utf-8"))):
        top = name.partition(".")[0]
        if top in LAYERS:
            assert LAYERS.index(top) <= layer, f"{LAYERS[layer]} must not import {name}"
        if layer == 0:
            assert top in ("messages", "msgspec", "typing", "collections", ""), (
                f"messages imports msgspec only, not {name}"
            )


@pytest.mark.parametrize("file", SOURCES, ids=relative[: len(SOURCES)])
def test_calls_and_imports_that_have_a_better_replacement_are_not_used(file: Path) -> None:
    name = str(file.relative_to(ROOT))
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for imported, line in _imports(tree):
        for banned, (instead, allowed) in BANNED_IMPORTS.items():
            if imported == banned or imported.startswith(f"{banned}."):
                assert name.startswith(allowed), f"line {line}: import {imported}; use {instead}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            instead, allowed = BANNED_CALLS.get(called, ("", (name,)))
            if called == "apsw.Connection" and node.args and ast.unparse(node.args[0]) == "':memory:'":
                continue
            assert name.startswith(allowed), f"line {node.lineno}: {called}; use {instead}"
            if called == "yaml.load":
                loader = ast.unparse(node.keywords[0].value if node.keywords else node.args[1])
                assert "SafeLoader" in loader, f"line {node.lineno}: yaml.load with {loader}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except also takes the order to stop"


@pytest.mark.parametrize("file", SOURCES, ids=relative[: len(SOURCES)])
def test_sockets_are_built_in_one_place(file: Path) -> None:
    """Verifies: L8. A socket built elsewhere has endless linger, no size limit and no keys."""
    # Inside one process only: ZAP and the doors of the inbox, which are inproc.
    allowed = ("keepdb/fabric/sockets.py", "keepdb/fabric/inbox.py", "keepdb/fabric/doorkeeper.py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("context.socket", "_context.socket")
        ):
            assert str(file.relative_to(ROOT)) in allowed, f"line {node.lineno}: use build_socket"


@pytest.mark.parametrize("file", TESTS, ids=relative[len(SOURCES) : len(SOURCES) + len(TESTS)])
def test_tests_neither_fake_nor_sleep_nor_skip(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for name, line in _imports(tree):
        assert not name.startswith("unittest.mock"), f"line {line}: use the real thing"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("time.sleep", "pytest.skip", "pytest.mark.skip", "pytest.mark.xfail"), (
                f"line {node.lineno}"
            )
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert node.name.count("_") >= 3, f"{node.name} is not a sentence"


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in [*EVERYTHING, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        if file != Path(__file__)
    ],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_no_word_stands_for_work_not_done(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for word in WORDS_THAT_DO_NOT_BELONG:
        assert not re.search(rf"\b{word}\b", text), f"{word}: do it, or file it"


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_of_typescript_says_why_it_exists_and_keeps_to_its_size(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert file.stem not in NAMES_THAT_SAY_NOTHING, "name it for what it holds"
    assert text.startswith("// "), "begin with a paragraph on why it exists"
    assert text.count("\n") <= FILE_LINES_MAX, "split it"
    for word in (*WORDS_THAT_DO_NOT_BELONG, "test.skip", "test.todo", "test.only"):
        assert not re.search(rf"\b{re.escape(word)}", text), f"{word} has no place here"


def test_nobody_else_provides_our_top_level_names() -> None:
    """The distribution `supervisor` has the same import name; with both in one environment ours would not start."""
    providers = importlib.metadata.packages_distributions()
    for name in ("actors", "messages", "supervisor", "keepdb"):
        assert set(providers.get(name, [])) <= {"keepdb"}, f"{name} is also provided by {providers[name]}"


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Imported modules with their line; relative ones give ""."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("" if node.level else node.module or ""), node.lineno
