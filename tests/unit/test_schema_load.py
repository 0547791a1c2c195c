"""schema.yaml: what is accepted, and that each mistake is named with its place."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from keepdb.errors import SchemaError
from keepdb.schema.fields import FIELD_KEYS
from keepdb.schema.load import SHIPPED, load_schema, parse_schema
from keepdb.schema.model import FieldType, InsertRow, Schema, SealTarget

SMALL = """
version: 1
collections:
  notes:
    number: 1
    fields:
      title:  {number: 1, type: text, required: true, maxLength: 50}
      stars:  {number: 2, type: integer, min: 0, max: 5, default: 0}
      secret: {number: 3, type: text, encrypted: true}
      owner:  {number: 4, type: ref, ref: people}
      kind:   {number: 5, type: enum, values: [draft, final], default: draft}
    rows:
      lines:
        number: 3
        event: lineAdded
        fields:
          text: {number: 1, type: text, encrypted: true, required: true}
    events:
      lineAdded:
        number: 10
        args:
          lineId: {like: notes.lines.id}
          text:   {like: notes.lines.text, required: true}
        operations:
          - insert: {into: lines, values: {id: $data.lineId, text: $data.text}}
      starred:
        number: 11
        args:
          by: {type: integer, min: 1, max: 5, required: true}
        operations:
          - update: {set: {stars: {increment: $data.by}, updatedAt: $at}}
    methods:
      star: starred
  people:
    number: 2
    fields:
      name: {number: 1, type: text}
"""


def edited(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new, 1)


def refusal(text: str) -> SchemaError:
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, "app.yaml")
    return caught.value


def test_the_shipped_schema_has_every_collection_event_and_method_of_the_mission() -> None:
    schema = load_schema(SHIPPED)

    assert set(schema.collections) == {"personas", "memoryEntities", "conversations", "workflows", "uiState"}
    assert set(schema.methods) == {
        "personas.activate",
        "personas.deactivate",
        "personas.incrementUsage",
        "memoryEntities.updateAccess",
        "memoryEntities.updateImportance",
        "memoryEntities.addConnection",
        "conversations.addMessage",
        "conversations.archive",
        "workflows.execute",
    }
    assert {method.event for method in schema.methods.values()} <= set(schema.events)
    for name in schema.collections:
        assert {f"{name}.created", f"{name}.updated", f"{name}.deleted"} <= set(schema.events)


def test_the_shipped_schema_encrypts_exactly_the_starred_fields() -> None:
    schema = load_schema(SHIPPED)

    sealed = {
        f"{table}.{column.name}"
        for table in schema.table_names
        for column in schema.columns(table)
        if column.field is not None and column.field.encrypted
    }

    assert sealed == {
        "personas.personality",
        "personas.privateMemory",
        "personas.apiKeys",
        "memoryEntities.content",
        "conversations__messages.content",
    }


def test_sealing_follows_from_type_and_encryption() -> None:
    notes = parse_schema(SMALL, "app.yaml").collections["notes"]

    assert {field.name: field.sealing for field in notes.fields} == {
        "title": "content",
        "stars": "clear",
        "secret": "encrypted",
        "owner": "clear",
        "kind": "clear",
    }


def test_tables_hold_short_columns_before_those_that_may_be_long() -> None:
    schema = parse_schema(SMALL, "app.yaml")

    assert schema.table_names == ("notes", "notes__lines", "people")
    assert [column.name for column in schema.columns("notes")] == [
        *("id", "stars", "owner", "kind", "createdAt", "updatedAt", "deletedAt", "_subject"),
        *("title", "secret"),
    ]
    assert [column.name for column in schema.columns("notes__lines")] == [
        *("id", "parent", "position", "_subject", "text")
    ]
    assert [schema.number_of(table) for table in schema.table_names] == [1, 3, 2]


def test_an_encrypted_argument_knows_what_its_seal_is_bound_to() -> None:
    event = parse_schema(SMALL, "app.yaml").events["lineAdded"]

    seals = {arg.field.name: arg.seal for arg in event.args}

    assert seals == {"lineId": None, "text": SealTarget(collection_no=3, field_no=1, row="lineId")}
    assert [arg.field.name for arg in event.args if arg.new_row] == ["lineId"]
    assert isinstance(event.operations[0], InsertRow)


def test_the_hash_ignores_comments_order_of_keys_and_descriptions() -> None:
    plain = parse_schema(SMALL, "app.yaml").hash

    assert parse_schema("# a comment\n" + SMALL, "other.yaml").hash == plain
    assert (
        parse_schema(edited("number: 1, type: text, required", "type: text, number: 1, required"), "a").hash
        == plain
    )
    assert parse_schema(edited("type: ref,", "type: ref, description: Whose it is.,"), "a").hash == plain
    assert len(plain) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max: 5,", "max: 6,"),
        ("title: ", "heading: "),
        ("increment: $data.by", "increment: 1"),
        ("version: 1", "version: 2"),
    ],
)
def test_the_hash_changes_with_anything_else(old: str, new: str) -> None:
    assert parse_schema(edited(old, new), "a").hash != parse_schema(SMALL, "a").hash


def test_a_schema_survives_the_way_to_another_process() -> None:
    schema = load_schema(SHIPPED)

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(schema), type=Schema) == schema


MISTAKES = [
    ("version: 1", "version: one", "schema_invalid", "version", "an integer from 1"),
    ("version: 1", "verson: 1", "schema_unknown_key", "verson", "did you mean version?"),
    ("    number: 1\n", "", "schema_missing_key", "collections.notes", "'number'"),
    (
        "type: text, required",
        "type: txt, required",
        "schema_invalid",
        "notes.fields.title.type",
        "did you mean text?",
    ),
    (
        "required: true, max",
        "requird: true, max",
        "schema_unknown_key",
        "title.requird",
        "did you mean required?",
    ),
    ("min: 0, max: 5", "min: 9, max: 5", "schema_invalid", "fields.stars.max", "at least min"),
    ("default: 0", "default: 7", "schema_invalid", "stars.default", "found integer 7"),
    ("default: draft", "default: drat", "schema_invalid", "kind.default", "did you mean draft?"),
    ("stars:  {number: 2", "stars:  {number: 1", "schema_duplicate", "stars.number", "such as 2"),
    ("number: 3\n", "number: 1\n", "schema_duplicate", "rows.lines.number", "the number of notes"),
    ("title:  {", "Stars:  {", "schema_duplicate", "fields.stars", "more than case"),
    ("title:  {", "stars:  {", "schema_duplicate", "notes.fields", "'stars' twice"),
    ("title:  {", "createdAt: {", "schema_invalid", "fields.createdAt", "reserved"),
    ("title:  {", "_title: {", "schema_invalid", "fields._title", "KeepDB's own"),
    ("title:  {", "a-b: {", "schema_invalid", "fields.a-b", "a name"),
    ("title:  {", "on: {", "schema_invalid", "fields", "quotes"),
    ("          text: {", "          parent: {", "schema_invalid", "lines.fields.parent", "reserved"),
    ("ref: people", "ref: peple", "schema_invalid", "fields.owner.ref", "did you mean people?"),
    (", ref: people", "", "schema_missing_key", "fields.owner", "'ref'"),
    (
        "type: text, required: true, max",
        "type: text, min: 1, max",
        "schema_invalid",
        "title.min",
        "integer, real",
    ),
    ("values: [draft, final]", "values: [draft, yes]", "schema_invalid", "kind.values[1]", "quotes"),
    ("values: [draft, final]", "values: [draft, draft]", "schema_invalid", "kind.values", "different"),
    (
        "required: true, maxLength: 50",
        "required: true, default: a",
        "schema_invalid",
        "title.default",
        "required",
    ),
    ("    rows:", "    subject: title\n    rows:", "schema_invalid", "notes.subject", "owner"),
    ("    rows:", "    indexes: [[secret]]\n    rows:", "schema_invalid", "indexes[0][0]", "compared"),
    ("    rows:", "    indexes: [[stars], [stars]]\n    rows:", "schema_duplicate", "indexes[1]", "once"),
    (
        "stars:  {number: 2",
        "stars:  {number: 2, was: [title]",
        "schema_duplicate",
        "notes.fields",
        "'title' twice",
    ),
    ("event: lineAdded", "event: lineAded", "schema_invalid", "lines.event", "did you mean lineAdded?"),
    ("event: lineAdded", "event: starred", "schema_invalid", "lines.event", "insert: into: lines"),
    ("star: starred", "star: stared", "schema_invalid", "methods.star", "did you mean starred?"),
    ("number: 11", "number: 10", "schema_duplicate", "events.starred.number", "lineAdded"),
    ("number: 11", "number: 3", "schema_invalid", "events.starred.number", "from 10"),
    (
        "like: notes.lines.id",
        "like: notes.lines.no",
        "schema_invalid",
        "args.lineId.like",
        "fields there: text",
    ),
    (
        "like: notes.lines.text, required: true",
        "like: notes.lines.text",
        "schema_invalid",
        "values",
        "required field",
    ),
    (
        "like: notes.lines.text, required",
        "like: notes.title, required",
        "schema_invalid",
        "values.text",
        "encrypted",
    ),
    ("id: $data.lineId, text", "text", "schema_invalid", "insert.values", "id: $data"),
    ("text: $data.text}}", "text: open}}", "schema_invalid", "values.text", "encrypted argument or null"),
    ("text: $data.text}}", "text: $data.txt}}", "schema_invalid", "values.text", "lineId, text"),
    ("stars: {increment: $data.by}", "stars: $data.by", "ok", "", ""),
    ("stars: {increment: $data.by}", "title: $data.by", "schema_invalid", "set.title", "of type text"),
    (
        "stars: {increment: $data.by}",
        "title: {increment: 1}",
        "schema_invalid",
        "set.title",
        "integer or real",
    ),
    ("stars: {increment: $data.by}", "stars: {increment: 0.5}", "schema_invalid", "increment", "integer"),
    ("stars: {increment: $data.by}", "stars: 6", "schema_invalid", "set.stars", "from 0 to 5"),
    ("stars: {increment: $data.by}", "stars: $now", "schema_invalid", "set.stars", "$at, $id"),
    ("stars: {increment: $data.by}", "createdAt: $at", "schema_unknown_key", "set.createdAt", "updatedAt"),
    ("stars: {increment: $data.by}", "secret: open", "schema_invalid", "set.secret", "encrypted"),
    ("stars: {increment: $data.by}", "secret: null", "ok", "", ""),
    ("min: 1, max: 5, required: true}", "min: 1, max: 5}", "schema_invalid", "increment", "cannot be null"),
    (
        "by: {type: integer",
        "by: {encrypted: true, type: integer",
        "schema_invalid",
        "increment",
        "cannot be null",
    ),
]


@pytest.mark.parametrize(("old", "new", "code", "path", "words"), MISTAKES)
def test_a_mistake_is_named_with_file_line_path_and_what_is_allowed(
    old: str, new: str, code: str, path: str, words: str
) -> None:
    text = edited(old, new)
    if code == "ok":
        assert parse_schema(text, "app.yaml").version == 1
        return

    error = refusal(text)

    assert error.code == code
    assert error.message.startswith("app.yaml, line ")
    assert path in error.message
    assert words in error.message


def test_an_argument_wider_than_its_field_is_refused() -> None:
    text = edited("stars: {increment: $data.by}", "stars: $data.by").replace(
        "min: 1, max: 5, req", "min: 1, max: 6, req"
    )

    assert "with max 5 or less" in refusal(text).message


def test_an_encrypted_argument_goes_to_exactly_one_field() -> None:
    nowhere = edited("by: {type", "hidden: {type: text, encrypted: true}\n          by: {type")
    twice = edited(
        "text: $data.text}}", "text: $data.text}}\n          - update: {set: {secret: $data.text}}"
    )

    assert "none does" in refusal(nowhere).message
    assert "one field only" in refusal(twice).message or "cannot be null" in refusal(twice).message


def test_numbers_once_used_stay_retired() -> None:
    field = edited("    rows:", "    retired: [2]\n    rows:")
    collection = edited("version: 1", "version: 1\nretired: [2]")

    assert "a retired one" in refusal(field).message
    assert "a retired one" in refusal(collection).message


def test_aliases_cannot_multiply_a_small_file() -> None:
    bomb = "version: 1\na: &a [x, x]\nb: &b [*a, *a, *a]\ncollections: [*b, *b, *b]\n"

    assert "alias" in refusal(bomb).message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("version: [1", "line 2"),
        ("version: 1\n\tcollections: {}", "line 2"),
        ("- 1\n", "a map"),
        ("version: 2020-01-01", "quotes"),
        ("version: !!python/object:os.system {}", "found"),
        ("[" * 2_000_000, "deeper than 40"),
        ("a: &a 1\nb: *a", "alias (*a)"),
        ("a: " + "[" * 60 + "]" * 60, "deeper than 40"),
        ("version: 1\ncollections: {}", "1 to 256 collections"),
        ("version: 1\ncollections: \x00", "cannot be read"),
    ],
)
def test_text_that_is_no_schema_is_one_clear_error(text: str, words: str) -> None:
    assert words in refusal(text).message


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"version: \xe9")

    with pytest.raises(SchemaError, match="No such file"):
        load_schema(tmp_path / "none.yaml")
    with pytest.raises(SchemaError, match="byte 9 is not UTF-8"):
        load_schema(latin)


def test_more_collections_or_fields_than_the_limit_are_refused() -> None:
    fields = "".join(f"      f{n}: {{number: {n}, type: text}}\n" for n in range(1, 258))
    collections = "".join(
        f"  c{n}: {{number: {n}, fields: {{a: {{number: 1, type: text}}}}}}\n" for n in range(1, 258)
    )

    assert (
        "1 to 256 fields"
        in refusal(f"version: 1\ncollections:\n  a:\n    number: 1\n    fields:\n{fields}").message
    )
    assert "1 to 256 collections" in refusal(f"version: 1\ncollections:\n{collections}").message


def test_the_worked_example_of_the_reference_compiles() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")

    schema = parse_schema(reference.split("```yaml\n")[1].split("```")[0], "docs/schema.md")

    assert set(schema.methods) == {"tasks.finish", "tasks.raise", "tasks.comment"}


def test_every_type_and_key_is_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")

    missing = [name for name in (*get_args(FieldType), *FIELD_KEYS) if f"`{name}`" not in reference]

    assert missing == []
