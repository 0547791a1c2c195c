"""The TypeScript we generate says what Python says, and the generated files that are committed are the newest."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from keepdb.cli.program import program
from keepdb.errors import KeepError
from keepdb.schema.load import SHIPPED, load_schema, parse_schema
from keepdb.typegen import schema_types, wire_types
from keepdb.typegen.text import comment
from keepdb.typegen.wire import ANSWERS, PUSHES, SENT
from messages.base import Message
from messages.queries import Push

ROOT = Path(__file__).parents[2]
WIRE = ROOT / "clients" / "node" / "src" / "generated" / "wire.ts"
EXAMPLE = ROOT / "examples" / "electron" / "src" / "generated" / "schema.ts"

COLLIDING = """
version: 3
collections:
  aB:
    number: 1
    fields:
      size: {number: 1, type: real, min: 0, required: true, nullable: true}
      "class": {number: 2, type: enum, values: ['say "hi"', "*/"], description: "Ends */ here,\\n\\nand goes on."}
    rows:
      c:
        number: 2
        event: cAdded
        fields: {x: {number: 1, type: ref, ref: a, encrypted: true}}
    events:
      cAdded:
        number: 10
        args: {itemId: {like: aB.c.id}, x: {like: aB.c.x}}
        operations: [{insert: {into: c, values: {id: $data.itemId, x: $data.x}}}]
  a:
    number: 3
    fields: {when: {number: 1, type: timestamp, default: $at}}
    rows:
      bC:
        number: 4
        event: bCAdded
        fields: {y: {number: 1, type: vector, maxLength: 3}}
    events:
      bCAdded:
        number: 10
        args: {itemId: {like: a.bC.id}, y: {like: a.bC.y}}
        operations: [{insert: {into: bC, values: {id: $data.itemId, y: $data.y}}}]
"""


# -- what is committed ---------------------------------------------------------------------------------------


def test_the_committed_wire_types_are_those_of_the_messages() -> None:
    assert WIRE.read_text(encoding="utf-8") == wire_types(), "run `make generate`"


def test_the_committed_types_of_the_example_are_those_of_the_shipped_schema() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == schema_types(load_schema(SHIPPED)), "run `make generate`"


# -- the wire --------------------------------------------------------------------------------------------------


def test_the_wire_types_have_every_message_that_the_protocol_page_offers_to_clients() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    for kind, messages in (("Request|Tell", SENT), ("Answer", ANSWERS), ("Push", PUSHES)):
        shown = re.findall(rf"^#### (\w+)\n\n(?:{kind})(?: ·|\.)", page, re.MULTILINE)
        assert sorted(shown) == sorted(_tag(message) for message in messages), kind


def test_a_wire_type_has_each_member_under_its_name_on_the_wire_optional_if_it_has_a_default() -> None:
    text = wire_types()
    for message in (*SENT, *ANSWERS, *PUSHES):
        body = _body(text, message.__name__)
        assert f'  readonly type: "{_tag(message)}";' in body
        for field in msgspec.structs.fields(message):
            mark = "" if field.required else r"\?"
            assert re.search(rf"^  readonly {field.encode_name}{mark}: ", body, re.MULTILINE), field.name
        assert body.count("readonly ") >= len(msgspec.structs.fields(message)) + 1


def test_the_defaults_that_a_receiver_fills_in_are_those_of_the_messages() -> None:
    table = _between(wire_types(), "export const RECEIVED_DEFAULTS = {\n", "} as const;")
    shown = dict(line.strip().removesuffix(" },").split(": { ", 1) for line in table.splitlines())
    for message in (*ANSWERS, *PUSHES):
        for field in msgspec.structs.fields(message):
            if not field.required:
                factory: Any = field.default_factory
                value = factory() if field.default is msgspec.NODEFAULT else field.default
                assert f"{field.encode_name}: {msgspec.json.encode(value).decode()}" in shown[_tag(message)]
    assert all(issubclass(message, Push) for message in PUSHES)


def test_no_generated_type_is_any() -> None:
    for text in (wire_types(), schema_types(load_schema(SHIPPED))):
        assert not re.search(r"\bany\b(?!thing)", re.sub(r"/\*.*?\*/|//.*", "", text, flags=re.DOTALL))


# -- a schema ----------------------------------------------------------------------------------------------------


def test_every_collection_event_and_method_of_a_schema_has_its_types() -> None:
    schema = load_schema(SHIPPED)
    text = schema_types(schema)
    for name, collection in schema.collections.items():
        row = _body(text, f"{name[0].upper()}{name[1:]}Row")
        columns = [column.name for column in schema.columns(name) if not column.hidden]
        assert sorted(re.findall(r"readonly (\w+):", row)) == sorted(columns)
        assert f"    {name}: {{\n" in text
        for rows in collection.rows:
            assert f'"{name}.{rows.name}": {{\n' in text
    for event in schema.events.values():
        needs = "optional" if event.kind == "created" else "required"
        assert re.search(rf'^    "?{event.name}"?: {{ id: "{needs}"; data: ', text, re.MULTILINE)
    for method in schema.methods.values():
        assert f'    "{method.name}": "{method.event}";' in text
    assert f'export const schemaHash = "{schema.hash}";' in text


def test_the_types_that_docs_schema_md_shows_are_those_of_its_worked_example() -> None:
    page = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    made = schema_types(parse_schema(_between(page, "```yaml\n", "```"), "docs"))
    at = 0
    for line in sorted(_between(page, "```ts\n", "```").splitlines(), key=lambda one: made.find(one)):
        found = made.find(line)
        assert found >= 0, line
        at = max(at, found)
    assert at > 0


def test_a_member_is_null_or_left_out_exactly_where_the_server_lets_it_be() -> None:
    text = schema_types(parse_schema(COLLIDING, "colliding"))
    row, create, update = (_body(text, f"AB{kind}") for kind in ("Row", "Create", "Update"))
    assert "  readonly size: number | null;" in row
    assert "  readonly size: number | null;" in create
    assert "  readonly size?: number | null;" in update
    assert "  readonly when: number;" in _body(text, "ARow")
    assert "  readonly when?: number;" in _body(text, "ACreate")
    assert "  readonly y?: readonly number[] | null;" in text
    assert "  readonly itemId?: string;" in _body(text, "CAddedData"), "made up when left out, but never null"


def test_interfaces_keep_apart_though_their_names_would_meet() -> None:
    """`aB.c` and `a.bC` are both `ABC`."""
    text = schema_types(parse_schema(COLLIDING, "colliding"))
    names = re.findall(r"^export (?:interface|type) (\w+)", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert {"ABCRow", "ABCRow_2"} <= set(names)
    assert _between(text, '    "a.bC": {\n', "create").split() == ["row:", "ABCRow_2;", "item:", "ABCItem_2;"]
    assert "  readonly bC?: readonly ABCCreate_2[];" in text


def test_text_from_a_schema_can_neither_end_a_comment_nor_a_literal() -> None:
    text = schema_types(parse_schema(COLLIDING, "colliding"))
    assert r'  readonly class?: "say \"hi\"" | "*/" | null;' in text
    assert "   * Ends *\\/ here,\n   *\n   * and goes on." in text
    for words in ("*/ alert()", "a\u2028b", "a\r\nb\x00c", "**/"):
        assert "\n".join(comment(words)).count("*/") == 1
        assert len(comment(words)) == 1


# -- the command ---------------------------------------------------------------------------------------------------


def test_types_are_written_once_and_then_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "wire.ts"
    assert "written" in _run(tmp_path, "--wire", "-o", str(output)).stderr
    assert output.read_text(encoding="utf-8") == wire_types()
    made = output.stat()
    assert "unchanged" in _run(tmp_path, "--wire", "-o", str(output)).stderr
    assert output.stat().st_mtime_ns == made.st_mtime_ns
    assert [path.name for path in tmp_path.iterdir()] == ["wire.ts"]


def test_types_go_to_standard_output_where_no_file_is_named(tmp_path: Path) -> None:
    assert _run(tmp_path, "--wire").stdout == wire_types()
    told = msgspec.json.decode(_run(tmp_path, "--json").stdout)
    assert told == {"schema": 1, "path": None, "text": schema_types(load_schema(SHIPPED))}


def test_the_schema_of_the_data_directory_is_the_one_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(COLLIDING)
    assert _run(tmp_path).stdout == schema_types(parse_schema(COLLIDING, "colliding"))
    assert _run(tmp_path, "--schema", str(SHIPPED)).stdout == schema_types(load_schema(SHIPPED))


@pytest.mark.parametrize("content", [None, "// older\n"])
def test_a_check_of_outdated_types_fails_with_the_command_to_run_and_writes_nothing(
    tmp_path: Path, content: str | None
) -> None:
    output = tmp_path / "schema.ts"
    if content is not None:
        output.write_text(content)
    arguments = ("--schema", str(SHIPPED), "-o", str(output))
    error = _run(tmp_path, *arguments, "--check").exception
    assert isinstance(error, KeepError)
    assert (error.code, error.exit_code) == ("types_outdated", 1)
    assert error.fix == f"Run `keepdb typegen {' '.join(arguments)}`."
    assert output.exists() == (content is not None)
    _run(tmp_path, *arguments)
    assert _run(tmp_path, *arguments, "--check").exception is None
    # What Git makes of it on Windows is no difference.
    output.write_bytes(output.read_bytes().replace(b"\n", b"\r\n"))
    assert _run(tmp_path, *arguments, "--check").exception is None


@pytest.mark.parametrize("arguments", [("--check",), ("--wire", "--schema", "x.yaml")])
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    error = _run(tmp_path, *arguments).exception
    assert isinstance(error, KeepError)
    assert error.code == "usage"


# -- reading -------------------------------------------------------------------------------------------------------


def _run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        program, ["typegen", "--data", str(data), *arguments], obj=None, standalone_mode=False
    )


def _tag(message: type[Message]) -> str:
    return str(message.__struct_config__.tag)


def _body(text: str, name: str) -> str:
    return _between(text, f"export interface {name} {{\n", "\n}\n")


def _between(text: str, start: str, end: str) -> str:
    assert start in text, start
    return text.partition(start)[2].partition(end)[0]
