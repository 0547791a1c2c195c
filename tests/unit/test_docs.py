"""The documentation says what is: every name that users meet is in it, and what it shows works."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect as inspect
import pytest
import yaml
from raised_codes import Raised, raised_codes

from actors.registry import load, specs
from keepdb.cli.program import COMMANDS
from keepdb.config import Config, load_config, shipped_file
from keepdb.live.diff import apply_diff
from keepdb.runtime.hosted import USAGE
from keepdb.runtime.secret_frame import decode_frame
from keepdb.runtime.tree import Supervisor
from keepdb.schema.load import load_schema
from messages import backups, base, caching, commits, control, feed, queries, sealing
from messages.base import Message, Request, encode

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
NESTED: dict[type, str] = {
    commits.NewEvent: "event", queries.Query: "query", queries.Include: "include", queries.Sql: "sql",
    control.Service: "service", control.ActorStatus: "actor",
}  # fmt: skip


# -- the protocol page ---------------------------------------------------------------------------------------


def test_every_message_is_on_the_protocol_page_with_every_field_its_type_and_its_default() -> None:
    sections, internal = _sections(), _internal()
    for message in _all_messages():
        tag = _tag(message)
        if tag in internal:
            for field in _fields(message):
                assert f"`{field.encode_name}` {_type(field.type)}" in internal[tag], (
                    f"{tag}.{field.encode_name}"
                )
            continue
        assert tag in sections, f"docs/protocol.md has no section for {tag}"
        assert _table(sections[tag]) == _expected(message), f"the table of {tag} differs"
    for struct, name in NESTED.items():
        assert _table(sections[name]) == _expected(struct), f"the table of {name} differs"
    known = {_tag(message) for message in _all_messages()}
    assert set(sections) - set(NESTED.values()) | set(internal) == known, (
        "the page has messages that do not exist"
    )


def test_what_a_client_may_send_is_on_the_protocol_page_with_roles_and_service() -> None:
    sections = _sections()
    handlers = {name: actor.handlers for name, actor in _actors().items()}
    for message in _all_messages():
        roles = message.roles - {"internal"}
        services = [name for name, handled in handlers.items() if message in handled]
        if not roles or not services:
            continue
        head = sections[_tag(message)].strip().splitlines()[0]
        kind = "Request" if issubclass(message, Request) else "Tell"
        assert head.startswith(f"{kind} · to {services[0]} · roles "), head
        named = set(re.findall(r"`(app|cli|viewer)`", head.split("answered by")[0]))
        assert named == set(roles), f"{_tag(message)}: {head}"


def test_the_bytes_on_the_protocol_page_are_what_the_code_makes_of_them() -> None:
    commit = commits.Commit(
        client=bytes(range(16)),
        number=1,
        first_unanswered=1,
        events=(commits.NewEvent(type="personas.created", data={"name": "Ada"}),),
    )
    receipt = commits.Receipt(
        seq_first=1, seq_last=1, ids=("018bcfe5-6800-7000-8000-000000000000",), at=1_700_000_000_000
    )
    for name, message in (("commit", commit), ("receipt", receipt)):
        request_id, *body = _block(f"hex {name}").split()
        assert request_id == (1).to_bytes(8, "big").hex()
        assert "".join(body) == encode(message).hex()
        shown = json.loads(_block(f"json {name}").replace('"<16 bytes 00 01 … 0f>"', '"client"'))
        assert list(shown) == list(msgspec.msgpack.decode(encode(message)))


def test_the_secret_frame_on_the_protocol_page_is_accepted() -> None:
    body = _block("json frame").encode()
    frame = decode_frame(body)
    assert frame.passphrase == "correct horse"
    assert list(frame.clients.values()) == ["app"]
    whole = len(body).to_bytes(4, "big") + body
    assert f"first 16 of its {len(whole)} bytes" in _page("protocol")
    assert _block("hex frame") == whole[:16].hex()


def test_the_worked_diff_on_the_protocol_page_gives_what_it_says() -> None:
    before, diff, after = (json.loads(_block(f"json {name}")) for name in ("before", "diff", "after"))
    made = queries.Diff(sub="s", seq=1, **diff)
    assert apply_diff(before, 0, made) == after


# -- errors --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raised() -> dict[str, Raised]:
    return raised_codes(ROOT)


def test_every_error_code_in_the_source_is_documented_and_no_other(raised: dict[str, Raised]) -> None:
    documented = [row[0].strip("`") for row in _rows(_page("errors")) if re.fullmatch("`[a-z_]+`", row[0])]
    assert sorted(set(documented)) == sorted(documented), "a code is listed twice"
    assert sorted(set(raised) - set(documented)) == [], "raised, but not in docs/errors.md"
    assert sorted(set(documented) - set(raised)) == [], "in docs/errors.md, but never raised"


def test_error_codes_are_documented_with_their_family_and_whether_a_retry_helps(
    raised: dict[str, Raised],
) -> None:
    words = {(True,): "yes", (False,): "no", (False, True): "depends"}
    for row in _rows(_page("errors")):
        one = raised.get(row[0].strip("`"))
        if one is None or not one.families or len(row) < 5:
            continue
        assert set(re.findall(r"`(\w+)`", row[1])) == one.families, row[0]
        assert row[2] == words[tuple(sorted(one.retryable))], row[0]


def test_every_error_code_that_a_page_names_exists(raised: dict[str, Raised]) -> None:
    for page in ("queries", "schema", "cli", "backup", "protocol", "formats"):
        for row in _rows(_page(page)):
            for code in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row[0] if "code" in row[-1] else ""):
                assert code in raised, f"docs/{page}.md names {code}"


# -- configuration, commands, schema ---------------------------------------------------------------------------


def test_every_setting_is_documented_with_its_default_and_bounds() -> None:
    rows = {row[0].strip("`"): row for row in _rows(_page("configuration")) if "." in row[0]}
    shipped = yaml.safe_load(shipped_file().read_text(encoding="utf-8"))
    settings = list(_settings())
    assert sorted(rows) == sorted(f"{section}.{field.encode_name}" for section, field in settings)
    for section, field in settings:
        row = rows[f"{section}.{field.encode_name}"]
        default = shipped[section][field.encode_name]
        assert row[1] == ("(empty)" if default == "" else f"`{default}`"), row[0]
        assert row[2] == _allowed(field.type), row[0]


def test_every_setting_is_explained_in_config_yaml() -> None:
    text = shipped_file().read_text(encoding="utf-8").splitlines()
    for section, field in _settings():
        assert any(line.startswith(f"  {field.encode_name}:") for line in text), (
            f"{section}.{field.encode_name}"
        )


def test_every_command_is_documented() -> None:
    page = _page("cli")
    for name in COMMANDS:
        assert re.search(rf"^### {name}\b", page, re.MULTILINE), f"docs/cli.md lacks {name}"
    assert USAGE.removeprefix("keepdb ") in _page("protocol")


def test_commands_that_the_docs_show_exist() -> None:
    for page in set(PAGES) - {DOCS / "formats.md"}:  # there "keepdb …" are labels of keys
        for name in re.findall(r"(?:`|^|&& )keepdb ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in (*COMMANDS, "host"), f"{page.name} shows `keepdb {name}`"


def test_every_collection_event_and_method_of_the_shipped_schema_is_documented() -> None:
    schema = load_schema(ROOT / "keepdb" / "schema" / "schema.yaml")
    rows = {row[0].strip("`"): " ".join(row) for row in _rows(_page("protocol"))}
    for name, collection in schema.collections.items():
        for field in (*collection.fields, *(field for child in collection.rows for field in child.fields)):
            star = r"\*" if field.sealing == "encrypted" else "(?!\\*)"
            assert re.search(f"`{field.name}`{star}", rows[name]), f"{name}.{field.name}"
    for name, event in schema.events.items():
        if event.kind == "domain":
            assert f"`{name}`" in rows[event.collection], name
            for argument in event.args:
                assert f"`{argument.field.name}`" in rows[event.collection], f"{name}: {argument.field.name}"
    for name, method in schema.methods.items():
        assert f"`{name.partition('.')[2]}` → `{method.event}`" in rows[method.collection], name


# -- what the pages point at -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in _anchors(path), f"{target}: no such heading"


def test_every_page_is_linked_from_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name
    decisions = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for page in (DOCS / "decisions").glob("0*.md"):
        assert f"({page.name})" in decisions, page.name


def test_functions_that_the_docs_name_exist_in_that_file() -> None:
    found = 0
    for page in PAGES:
        for file, name in re.findall(r"`([\w/]+\.py):(\w+)`", page.read_text(encoding="utf-8")):
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            names = {
                node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            }
            assert name in names, f"{page.name}: {file} has no {name}"
            found += 1
    assert found > 40


def test_files_and_folders_that_the_docs_name_exist() -> None:
    for page in PAGES:
        for path in re.findall(
            r"`((?:keepdb|actors|messages|tests|docs)/[\w/.]*)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(r"(?:`|^)make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_dependency_is_justified() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (DOCS / "decisions" / "0010-dependencies.md").read_text(encoding="utf-8")
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        name = re.split(r"[<>=~\[ ]", requirement)[0]
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", page), f"{name} is not explained"


# -- reading the pages -----------------------------------------------------------------------------------------


def _page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def _rows(text: str) -> Iterator[list[str]]:
    """Cells of every table row."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def _block(info: str) -> str:
    """The code block of the protocol page with this info string."""
    found = re.search(rf"^```{info}\n(.*?)\n```", _page("protocol"), re.DOTALL | re.MULTILINE)
    assert found, info
    return found[1]


def _sections() -> dict[str, str]:
    """Tag -> text of its section in the protocol page."""
    parts = re.split(r"^#### (\w+)$", _page("protocol"), flags=re.MULTILINE)
    return {
        tag: re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]
        for tag, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def _internal() -> dict[str, str]:
    """Tag -> fields of the messages between processes."""
    text = _page("protocol").partition("## Between the processes")[2]
    return {row[0].strip("`"): row[2] for row in _rows(_without_links(text)) if row[0].startswith("`")}


def _table(section: str) -> list[tuple[str, str, str]]:
    """(field, type, default) of a section's table; links lose their target."""
    rows = [row for row in _rows(_without_links(section)) if row[0].startswith("`")]
    assert all(len(row) == 4 and row[3] for row in rows), "every field has a meaning"
    return [(row[0].strip("`"), row[1], row[2]) for row in rows]


def _without_links(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\(#[^)]*\)", r"\1", text)


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = [line.lstrip("#").strip().lower() for line in text.splitlines() if re.match("#+ ", line)]
    slugs = [re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings]
    assert len(slugs) == len(set(slugs)) or page.name == "CHANGELOG.md", f"{page.name} has a heading twice"
    return set(slugs)


# -- reading the code ------------------------------------------------------------------------------------------


def _all_messages() -> list[type[Message]]:
    modules = (backups, base, caching, commits, control, feed, queries, sealing)
    names = {path.stem for path in (ROOT / "messages").glob("*.py")} - {"__init__"}
    assert {module.__name__.partition(".")[2] for module in modules} == names, (
        "a module of messages/ is missing here"
    )
    found = [one for module in modules for one in vars(module).values() if isinstance(one, type)]
    return sorted(
        {one for one in found if issubclass(one, Message) and one not in (Message, Request, queries.Push)},
        key=_tag,
    )


def _tag(message: type[Message]) -> str:
    return str(message.__struct_config__.tag)


def _actors() -> dict[str, Any]:
    names = [spec.name for spec in specs(load_config())]
    actors: dict[str, Any] = {"supervisor": Supervisor}
    for name in names:
        actors["query-n" if name.startswith("query-") else name] = load(name)
    importlib.import_module("supervisor")
    return actors


def _fields(struct: type) -> list[inspect.Field]:
    found = inspect.type_info(struct)
    assert isinstance(found, inspect.StructType)
    common = "budgetMs" if issubclass(struct, Request) else ""
    return [field for field in found.fields if field.encode_name != common]


def _expected(struct: type) -> list[tuple[str, str, str]]:
    return [(field.encode_name, _type(field.type), _default(field)) for field in _fields(struct)]


def _type(kind: inspect.Type) -> str:
    """A type in the words of the page."""
    simple = {
        inspect.IntType: "int", inspect.StrType: "str", inspect.BytesType: "bin", inspect.BoolType: "bool",
        inspect.FloatType: "float", inspect.AnyType: "any", inspect.NoneType: "nil",
    }  # fmt: skip
    match kind:
        case inspect.StructType():
            return NESTED[kind.cls]
        case inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in kind.values)
        case inspect.ListType() | inspect.VarTupleType():
            return f"array of {_type(kind.item_type)}"
        case inspect.TupleType():
            return f"({', '.join(_type(item) for item in kind.item_types)})"
        case inspect.DictType():
            return f"map of {_type(kind.key_type)} to {_type(kind.value_type)}"
        case inspect.UnionType():
            return " or ".join(_type(one) for one in kind.types)
    return simple[type(kind)]


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    factory: Any = field.default_factory
    value = factory() if field.default is msgspec.NODEFAULT else field.default
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, dict)):
        assert not value
        return "`{}`" if isinstance(value, dict) else "`[]`"
    if isinstance(value, str):
        return f"`{value}`" if value else '`""`'
    return str(value)


def _settings() -> Iterator[tuple[str, inspect.Field]]:
    sections = inspect.type_info(Config)
    assert isinstance(sections, inspect.StructType)
    for section in sections.fields:
        assert isinstance(section.type, inspect.StructType)
        for field in section.type.fields:
            yield section.encode_name, field


def _allowed(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType():
            return f"{kind.ge} to {kind.le}"
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
    return "text"
