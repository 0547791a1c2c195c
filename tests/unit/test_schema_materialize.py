"""Events become rows: each kind on real SQLite tables, and the same log always gives the same rows."""

from collections.abc import Callable, Iterator
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepdb.errors import InvalidRequest
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.describe import describe
from keepdb.schema.load import SHIPPED, load_schema, parse_schema
from keepdb.schema.materialize import MaterialEvent, Materializer
from keepdb.schema.model import Schema
from keepdb.schema.validate import prepare

SCHEMA = load_schema(SHIPPED)
DDL = compile_ddl(SCHEMA)


class Store:
    """Tables in memory plus the two halves of the write path that belong to the schema."""

    def __init__(self, schema: Schema = SCHEMA, ddl: tuple[str, ...] = DDL) -> None:
        self.connection = apsw.Connection(":memory:")
        for statement in ddl:
            self.connection.execute(statement)
        self.schema = schema
        self.materializer = Materializer(schema)
        self.log: list[MaterialEvent] = []

    def commit(self, name: str, entity: str, data: dict[str, Any], at: int = 1) -> None:
        """Refused events leave no row, as in the writer."""
        numbers = iter(range(10**6))
        events = prepare(self.schema, name, entity, data, at, lambda: f"{entity}-{at}-{next(numbers)}")
        with self.connection:
            made = []
            for event in events:
                sealed = {one.name: b"sealed:" + one.value for one in event.encrypted}
                subject = event.subject or self.subject(event.collection, event.id)
                values = event.clear | event.content | sealed
                made.append(MaterialEvent(event.type, event.id, event.at, subject, values))
                self.materializer.apply(self.connection, made[-1])
        self.log += made

    def subject(self, collection: str, entity: str) -> str:
        found = self.connection.execute(f'SELECT _subject FROM "{collection}" WHERE id = ?', (entity,)).get
        return found or "nobody"

    def rows(self, sql: str, *bindings: Any) -> list[Any]:
        return self.connection.execute(sql, bindings).fetchall()

    def row(self, table: str, entity: str) -> dict[str, Any]:
        names = [column.name for column in self.schema.columns(table)]
        (row,) = self.rows(f'SELECT * FROM "{table}" WHERE id = ?', entity)
        return dict(zip(names, row, strict=True))

    def dump(self) -> dict[str, list[Any]]:
        return {name: self.rows(f'SELECT rowid, * FROM "{name}"') for name in self.schema.table_names}


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.connection.close()


def code_of(call: Callable[[], None]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        call()
    return caught.value.code


def test_tables_have_exactly_the_columns_of_the_schema(store: Store) -> None:
    for table in SCHEMA.table_names:
        found = store.rows(f'SELECT name, type FROM pragma_table_info("{table}")')
        assert found == [(column.name, column.sql_type) for column in SCHEMA.columns(table)]
        assert store.rows("SELECT strict FROM pragma_table_list WHERE name = ?", table) == [(1,)]


def test_every_index_ends_in_something_unique(store: Store) -> None:
    made = store.rows("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")

    last = {
        store.rows(f'SELECT name FROM pragma_index_info("{name}") ORDER BY seqno')[-1] for (name,) in made
    }

    assert last == {("id",), ("position",)}


def test_a_page_by_persona_and_importance_needs_no_sort(store: Store) -> None:
    plan = store.rows(
        "EXPLAIN QUERY PLAN SELECT * FROM memoryEntities WHERE personaId = ? AND deletedAt IS NULL"
        " ORDER BY importance DESC, id DESC LIMIT 100",
        "p",
    )

    assert "memoryEntities__personaId__importance__id" in plan[0][3]
    assert not any("TEMP B-TREE" in row[3] for row in plan)


def test_the_same_schema_always_compiles_to_the_same_ddl() -> None:
    assert compile_ddl(load_schema(SHIPPED)) == DDL


def test_created_updated_and_deleted_change_one_row(store: Store) -> None:
    store.commit("personas.created", "p1", {"name": "Ada", "apiKeys": {"a": "b"}}, at=1)
    store.commit("personas.updated", "p1", {"name": "Eve", "description": None}, at=2)
    row = store.row("personas", "p1")
    store.commit("personas.deleted", "p1", {}, at=3)

    assert (row["name"], row["isActive"], row["settings"], row["usageCount"]) == ("Eve", 0, "{}", 0)
    assert (row["createdAt"], row["updatedAt"], row["deletedAt"], row["_subject"]) == (
        1,
        2,
        None,
        "personas/p1",
    )
    assert row["apiKeys"].startswith(b"sealed:")
    assert store.rows("SELECT updatedAt, deletedAt FROM personas") == [(3, 3)]


def test_an_id_is_given_out_once_even_after_deletion(store: Store) -> None:
    store.commit("personas.created", "p1", {"name": "a"})
    assert code_of(lambda: store.commit("personas.created", "p1", {"name": "b"})) == "already_exists"

    store.commit("personas.deleted", "p1", {})

    assert code_of(lambda: store.commit("personas.created", "p1", {"name": "b"})) == "already_exists"
    assert store.row("personas", "p1")["name"] == "a"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("conversations.updated", {"title": "a"}),
        ("conversations.deleted", {}),
        ("conversationArchived", {}),
        ("messageAdded", {"role": "user", "content": "a"}),
    ],
)
def test_a_missing_or_deleted_target_is_not_found(store: Store, name: str, data: dict[str, Any]) -> None:
    assert code_of(lambda: store.commit(name, "c1", data)) == "not_found"
    store.commit("conversations.created", "c1", {})
    store.commit("conversations.deleted", "c1", {})

    assert code_of(lambda: store.commit(name, "c1", data)) == "not_found"
    assert store.rows("SELECT count(*) FROM conversations__messages") == [(0,)]


def test_persona_methods_do_what_they_say(store: Store) -> None:
    store.commit("personas.created", "p1", {"name": "a"}, at=1)
    store.commit("personaActivated", "p1", {}, at=2)
    active = store.row("personas", "p1")
    store.commit("personaUsed", "p1", {}, at=3)
    store.commit("personaUsed", "p1", {}, at=4)
    store.commit("personaDeactivated", "p1", {}, at=5)
    row = store.row("personas", "p1")

    assert (active["isActive"], active["updatedAt"]) == (1, 2)
    assert (row["isActive"], row["usageCount"], row["lastUsed"], row["updatedAt"]) == (0, 2, 4, 5)


def test_memory_methods_do_what_they_say(store: Store) -> None:
    store.commit("memoryEntities.created", "m1", {"type": "task", "name": "a", "personaId": "p1"}, at=1)
    store.commit("memoryEntityAccessed", "m1", {}, at=2)
    store.commit("memoryImportanceUpdated", "m1", {"importance": 90}, at=3)
    store.commit("memoryConnectionAdded", "m1", {"toId": "m2", "strength": 1, "connectionId": "k"}, at=4)
    row = store.row("memoryEntities", "m1")

    assert (row["accessCount"], row["lastAccessed"], row["importance"]) == (1, 2, 90)
    assert (row["connectionCount"], row["updatedAt"]) == (1, 4)
    assert store.row("memoryEntities__connections", "k") == {
        "id": "k",
        "parent": "m1",
        "position": 1,
        "toId": "m2",
        "kind": "related",
        "strength": 1.0,
        "_subject": "personas/p1",
    }


def test_messages_are_numbered_within_their_conversation(store: Store) -> None:
    hello = {"role": "user", "content": "hello"}
    store.commit("conversations.created", "c1", {"messages": [hello, hello]}, at=1)
    store.commit("conversations.created", "c2", {"messages": [hello]}, at=2)
    store.commit("messageAdded", "c1", {**hello, "messageId": "last"}, at=3)

    rows = store.rows(
        "SELECT parent, position, timestamp, _subject FROM conversations__messages ORDER BY 1, 2"
    )

    assert rows == [
        ("c1", 1, 1, "conversations/c1"),
        ("c1", 2, 1, "conversations/c1"),
        ("c1", 3, 3, "conversations/c1"),
        ("c2", 1, 2, "conversations/c2"),
    ]
    assert store.row("conversations", "c1")["updatedAt"] == 3
    assert (
        code_of(lambda: store.commit("messageAdded", "c2", {**hello, "messageId": "last"}))
        == "already_exists"
    )


def test_archive_and_execute_do_what_they_say(store: Store) -> None:
    store.commit("conversations.created", "c1", {})
    store.commit("conversationArchived", "c1", {}, at=7)
    store.commit("workflows.created", "w1", {"name": "a", "definition": {"steps": []}})
    store.commit("workflowExecuted", "w1", {}, at=8)

    archived = store.row("conversations", "c1")
    executed = store.row("workflows", "w1")

    assert (archived["isArchived"], archived["archivedAt"], archived["updatedAt"]) == (1, 7, 7)
    assert (executed["executionCount"], executed["lastExecuted"]) == (1, 8)


def test_values_whose_key_was_destroyed_leave_empty_columns(store: Store) -> None:
    erased = {"type": "task", "importance": 1, "name": None, "content": None}
    apply = store.materializer.apply

    apply(store.connection, MaterialEvent("memoryEntities.created", "m1", 1, "personas/p1", erased))
    apply(store.connection, MaterialEvent("memoryEntities.created", "m2", 1, "personas/p1", {"type": "task"}))
    apply(store.connection, MaterialEvent("conversations.created", "c1", 1, "conversations/c1", {}))
    message = {"messageId": "x", "role": "user", "content": None}
    apply(store.connection, MaterialEvent("messageAdded", "c1", 1, "conversations/c1", message))

    assert store.rows("SELECT name, content, tags, importance FROM memoryEntities") == [
        (None, None, None, 1),
        (None, None, None, 50),
    ]
    assert store.rows("SELECT content FROM conversations__messages") == [(None,)]


def test_events_older_than_the_schema_still_materialize() -> None:
    """Verifies: L2"""
    schema = parse_schema(
        "version: 2\ncollections:\n  notes:\n    number: 1\n    retired: [2]\n    fields:\n"
        "      heading: {number: 1, type: text, was: [title]}\n"
        "      stars: {number: 3, type: integer, nullable: false, default: 3}\n"
        "      seen: {number: 4, type: timestamp, default: $at}\n",
        "app.yaml",
    )
    store = Store(schema, compile_ddl(schema))
    apply = store.materializer.apply

    apply(store.connection, MaterialEvent("notes.created", "n1", 9, "notes/n1", {"title": "a", "gone": 1}))
    apply(store.connection, MaterialEvent("notes.updated", "n1", 10, "notes/n1", {"title": "b", "gone": 2}))
    apply(store.connection, MaterialEvent("notes.updated", "n1", 11, "notes/n1", {"gone": 2}))

    row = store.row("notes", "n1")
    assert (row["heading"], row["stars"], row["seen"], row["updatedAt"]) == ("b", 3, 9, 11)


def test_an_increment_beyond_the_limits_of_its_field_is_refused() -> None:
    schema = parse_schema(
        "version: 1\ncollections:\n  notes:\n    number: 1\n    fields:\n"
        "      stars: {number: 1, type: integer, max: 5}\n"
        "      count: {number: 2, type: integer}\n"
        "      weight: {number: 3, type: real}\n"
        "    events:\n      added:\n        number: 10\n        args:\n"
        "          stars: {type: integer, nullable: false}\n"
        "          count: {type: integer, nullable: false}\n"
        "          weight: {type: real, nullable: false}\n"
        "        operations:\n"
        "          - update: {set: {stars: {increment: $data.stars}, count: {increment: $data.count},\n"
        "                           weight: {increment: $data.weight}}}\n",
        "app.yaml",
    )
    store = Store(schema, compile_ddl(schema))
    store.commit("notes.created", "n1", {"count": 2**63 - 1, "weight": 1.7e308})
    store.commit("added", "n1", {"stars": 5})

    assert code_of(lambda: store.commit("added", "n1", {"stars": 1})) == "out_of_range"
    assert code_of(lambda: store.commit("added", "n1", {"count": 1})) == "constraint_failed"
    assert code_of(lambda: store.commit("added", "n1", {"weight": 1.7e308})) == "out_of_range"
    row = store.row("notes", "n1")
    assert (row["stars"], row["count"], row["weight"]) == (5, 2**63 - 1, 1.7e308)


def test_an_event_the_schema_does_not_know_is_refused(store: Store) -> None:
    event = MaterialEvent("personas.renamed", "p1", 1, "personas/p1", {})

    assert code_of(lambda: store.materializer.apply(store.connection, event)) == "unknown_event"


COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("personas.created", {"name": "a", "apiKeys": {"k": 1}}),
    ("personas.updated", {"name": "b"}),
    ("personas.updated", {"isActive": True, "personality": None}),
    ("personas.deleted", {}),
    ("personaUsed", {}),
    (
        "memoryEntities.created",
        {"type": "task", "name": "m", "embedding": [0.5], "connections": [{"toId": "x"}]},
    ),
    ("memoryEntities.updated", {"tags": ["t"], "content": "c"}),
    ("memoryConnectionAdded", {"toId": "y", "kind": "causes"}),
    ("memoryEntityAccessed", {}),
    ("conversations.created", {"messages": [{"role": "user", "content": "q"}]}),
    ("messageAdded", {"role": "assistant", "content": "a"}),
    ("conversationArchived", {}),
]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(COMMANDS), st.sampled_from(["a", "b"])), max_size=40))
def test_replaying_the_same_events_gives_identical_tables(
    plan: list[tuple[tuple[str, dict[str, Any]], str]],
) -> None:
    """Verifies: L2"""
    live, rebuilt = Store(), Store()
    refusals = set()
    for at, ((name, data), entity) in enumerate(plan):
        try:
            live.commit(name, entity, data, at)
        except InvalidRequest as error:
            refusals.add(error.code)

    for event in live.log:
        rebuilt.materializer.apply(rebuilt.connection, event)

    assert rebuilt.dump() == live.dump()
    assert refusals <= {"not_found", "already_exists"}


def test_the_description_is_plain_data_that_names_everything() -> None:
    described = describe(SCHEMA)

    memory = described["collections"]["memoryEntities"]
    assert described["hash"] == SCHEMA.hash
    assert memory["fields"]["importance"] == {
        "number": 7,
        "type": "integer",
        "sealing": "clear",
        "required": False,
        "nullable": False,
        "default": 50,
        "min": 0,
        "max": 100,
    }
    assert memory["rows"]["connections"]["table"] == "memoryEntities__connections"
    assert "_subject" not in memory["columns"]
    assert described["events"]["messageAdded"]["args"]["messageId"]["newRow"] is True
    assert described["methods"]["conversations.addMessage"]["event"] == "messageAdded"
