"""SQL operations of schema.yaml: what cannot be proved safe and deterministic is refused at compile time."""

import apsw
import pytest

from keepdb.errors import InvalidRequest, SchemaError
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import parse_schema
from keepdb.schema.materialize import MaterialEvent, Materializer
from keepdb.schema.model import Schema

TEMPLATE = """
version: 1
collections:
  notes:
    number: 1
    fields:
      title:  {number: 1, type: text}
      stars:  {number: 2, type: integer, default: 0}
      tags:   {number: 3, type: json}
      secret: {number: 4, type: text, encrypted: true}
    rows:
      lines:
        number: 2
        event: lineAdded
        fields:
          weight: {number: 1, type: integer, required: true}
          secret: {number: 2, type: text, encrypted: true}
    events:
      lineAdded:
        number: 10
        args:
          lineId: {like: notes.lines.id}
          weight: {like: notes.lines.weight, required: true}
        operations:
          - insert: {into: lines, values: {id: $data.lineId, weight: $data.weight}}
      changed:
        number: 11
        args:
          by: {type: integer, required: true}
          hidden: {like: notes.secret}
        operations:
          - update: {set: {secret: $data.hidden}}
          - sql: SQL
"""


def compiled(sql: str) -> Schema:
    return parse_schema(TEMPLATE.replace("SQL", f"'{sql.replace(chr(39), chr(39) * 2)}'"), "app.yaml")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE notes SET stars = coalesce(stars, 0) + :data_by, updatedAt = :at WHERE id = :id",
        "UPDATE notes SET stars = (SELECT count(*) FROM notes__lines WHERE parent = :id) WHERE id = :id;",
        "UPDATE notes SET title = upper(title) || tags->>'a', tags = json_set(tags, '$.b', 1) WHERE id = :id",
        "DELETE FROM notes__lines WHERE parent = :id AND weight < :data_by",
        "WITH w AS (SELECT max(weight) AS m FROM notes__lines) UPDATE notes SET stars = (SELECT m FROM w)",
    ],
)
def test_a_deterministic_update_or_delete_of_child_rows_is_accepted(sql: str) -> None:
    assert compiled(sql).version == 1


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE notes SET stars = random()", "random"),
        ("UPDATE notes SET stars = randomblob(4)", "randomblob"),
        ("UPDATE notes SET updatedAt = unixepoch('now')", "unixepoch"),
        ("UPDATE notes SET title = datetime('now')", "datetime"),
        ("UPDATE notes SET title = current_timestamp", "current_timestamp"),
        ("UPDATE notes SET stars = changes()", "changes"),
        ("UPDATE notes SET stars = (SELECT sum(weight) FROM notes__lines)", "sum"),
        ("UPDATE notes SET secret = NULL", "writing the encrypted column notes.secret"),
        ("UPDATE notes SET secret = :data_by", "writing the encrypted column notes.secret"),
        ("UPDATE notes SET stars = length(secret)", "the encrypted column notes.secret"),
        (
            "UPDATE notes SET title = (SELECT secret FROM notes__lines)",
            "the encrypted column notes__lines.secret",
        ),
        ("UPDATE notes SET stars = 1 WHERE secret IS NULL", "the encrypted column"),
        ("UPDATE notes SET stars = :data_hidden", "the parameter data_hidden"),
        ("UPDATE notes SET stars = ?", "unnamed"),
        ("UPDATE notes SET id = 'x'", "notes.id"),
        ("UPDATE notes SET _subject = 'x'", "notes._subject"),
        ("UPDATE notes SET deletedAt = NULL", "notes.deletedAt"),
        ("UPDATE notes__lines SET parent = 'x'", "notes__lines.parent"),
        ("UPDATE notes SET title = _subject", "the hidden column"),
        ("UPDATE notes SET stars = 1 WHERE rowid = 1", "ROWID"),
        ("UPDATE notes SET stars = 1 RETURNING *", "encrypted column"),
        ("INSERT INTO notes (id, _subject) VALUES ('a', 'b')", "INSERT into notes"),
        ("REPLACE INTO notes__lines (id) VALUES ('a')", "INSERT into notes__lines"),
        ("DELETE FROM notes", "only child rows"),
        ("SELECT 1", "a statement other than"),
        ("UPDATE notes SET stars = 1; UPDATE notes SET stars = 2", "more than one statement"),
        ("UPDATE notes SET stars = 1; DROP TABLE notes", "more than one statement"),
        ("DROP TABLE notes", "sqlite_master"),
        ("UPDATE OR /* */ rollback notes SET stars = :data_by", "ROLLBACK"),
        ("ATTACH 'x' AS y", "a statement other than"),
        ("PRAGMA user_version = 3", "a statement other than"),
        ("UPDATE sqlite_master SET sql = ''", "sqlite_master"),
        ("UPDATE notes SET stars = (SELECT count(*) FROM sqlite_master)", "sqlite_master"),
        ("UPDATE notes SET stars = (SELECT count(*) FROM pragma_table_info('notes'))", "pragma"),
        (
            "WITH RECURSIVE r AS (SELECT 1 n UNION SELECT n FROM r) UPDATE notes SET stars = n FROM r",
            "",
        ),
        ("UPDATE nots SET stars = 1", "no such table"),
        ("UPDATE notes SET star = 1", "no such column"),
        ("UPDATE", "incomplete"),
        ("", "a statement other than"),
        ("-- nothing", "a statement other than"),
        ("UPDATE notes SET stars = 1 --" + "x" * 10_000, "characters"),
    ],
)
def test_sql_that_cannot_be_proved_safe_is_refused(sql: str, words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        compiled(sql)

    assert caught.value.code == "schema_sql_refused"
    assert "events.changed.operations[1].sql" in caught.value.message
    assert words in caught.value.message


def opened(schema: Schema) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for statement in compile_ddl(schema):
        connection.execute(statement)
    return connection


def test_sql_operations_run_with_the_values_of_the_event() -> None:
    schema = compiled("UPDATE notes SET stars = stars + :data_by, updatedAt = :at WHERE id = :id")
    connection = opened(schema)
    materializer = Materializer(schema)

    materializer.apply(connection, MaterialEvent("notes.created", "n1", 5, "notes/n1", {"stars": 2}))
    materializer.apply(
        connection, MaterialEvent("changed", "n1", 9, "notes/n1", {"by": 3, "hidden": b"sealed"})
    )

    row = connection.execute("SELECT stars, updatedAt, secret FROM notes").fetchall()
    assert row == [(5, 9, b"sealed")]


def test_sql_that_runs_too_long_is_refused_and_the_connection_stays_usable() -> None:
    schema = compiled(
        "UPDATE notes SET stars = (SELECT count(*) FROM notes__lines a, notes__lines b, notes__lines c)"
    )
    connection = opened(schema)
    materializer = Materializer(schema)
    materializer.apply(connection, MaterialEvent("notes.created", "n1", 1, "notes/n1", {}))
    for number in range(200):
        values = {"lineId": f"l{number}", "weight": number}
        materializer.apply(connection, MaterialEvent("lineAdded", "n1", 1, "notes/n1", values))

    with pytest.raises(InvalidRequest) as caught:
        materializer.apply(connection, MaterialEvent("changed", "n1", 2, "notes/n1", {"by": 1}))

    assert caught.value.code == "too_expensive"
    many = "SELECT count(*) FROM notes__lines a, notes__lines b, notes__lines c"
    assert connection.execute(many).get == 8_000_000
