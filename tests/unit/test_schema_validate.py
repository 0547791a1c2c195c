"""Checking clients' events: what comes out, and what a refusal says."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepdb.errors import InvalidRequest
from keepdb.schema.convert import to_wire
from keepdb.schema.load import SHIPPED, load_schema
from keepdb.schema.model import Column, Field
from keepdb.schema.validate import EncryptedValue, PreparedEvent, prepare, subject_of_new
from keepdb.schema.values import Mismatch, check_storage

SCHEMA = load_schema(SHIPPED)
AT = 1_700_000_000_000


def ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"new-{next(numbers)}"


def prepared(name: str, entity: str | None, data: dict[str, Any]) -> list[PreparedEvent]:
    return prepare(SCHEMA, name, entity, data, AT, ids())


def refused(name: str, entity: str | None, data: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        prepared(name, entity, data)
    return caught.value


def test_a_created_event_is_split_by_sealing_class_and_filled_with_defaults() -> None:
    data = {
        "personaId": "p1",
        "type": "concept",
        "name": "Ada",
        "content": "secret",
        "compressionApplied": True,
    }

    (event,) = prepared("memoryEntities.created", None, data)

    assert (event.id, event.at, event.creates, event.collection) == ("new-1", AT, True, "memoryEntities")
    assert event.clear == {
        "personaId": "p1",
        "type": "concept",
        "compressionApplied": 1,
        "importance": 50,
        "accessCount": 0,
        "memoryTier": "hot",
        "connectionCount": 0,
    }
    assert event.content == {"name": "Ada", "tags": "[]", "metadata": "{}"}
    assert event.encrypted == [EncryptedValue("content", 2, 4, "new-1", msgspec.msgpack.encode("secret"))]


def test_the_subject_of_a_new_entity_follows_the_rule_of_its_collection() -> None:
    memory = {"type": "task", "name": "a"}

    def subject(name: str, data: dict[str, Any]) -> str:
        return subject_of_new(prepared(name, "e1", data)[0])

    assert subject("personas.created", {"name": "a"}) == "personas/e1"
    assert subject("memoryEntities.created", memory | {"personaId": "p7"}) == "personas/p7"
    assert subject("memoryEntities.created", memory | {"personaId": None}) == "memoryEntities/e1"
    assert subject("memoryEntities.created", memory) == "memoryEntities/e1"
    assert subject("uiState.created", {"windowId": "w", "name": "n"}) == "uiState/*"
    with pytest.raises(ValueError, match="creates nothing"):
        subject("personaActivated", {})


def test_child_rows_given_on_creation_become_their_own_events() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"id": "m2", "role": "assistant", "content": "yo", "timestamp": 7},
    ]

    created, first, second = prepared("conversations.created", "c1", {"title": "T", "messages": messages})

    assert (created.type, created.content["title"], created.creates) == ("conversations.created", "T", True)
    assert (first.type, first.id, first.creates) == ("messageAdded", "c1", False)
    assert first.clear == {"messageId": "new-1", "role": "user", "timestamp": AT}
    assert second.clear == {"messageId": "m2", "role": "assistant", "timestamp": 7}
    assert second.encrypted == [EncryptedValue("content", 7, 2, "m2", msgspec.msgpack.encode("yo"))]


def test_an_encrypted_child_value_is_bound_to_the_new_row() -> None:
    (event,) = prepared("messageAdded", "c1", {"role": "tool", "content": "x"})

    assert event.clear["messageId"] == "new-1"
    assert [(value.collection_no, value.field_no, value.row_id) for value in event.encrypted] == [
        (7, 2, "new-1")
    ]


def test_null_is_kept_apart_from_left_out() -> None:
    (event,) = prepared("memoryEntities.updated", "m1", {"summary": None, "content": None, "personaId": None})

    assert event.clear == {"content": None, "personaId": None}
    assert event.content == {"summary": None}
    assert event.encrypted == []
    assert not event.creates


def test_an_update_fills_in_no_defaults() -> None:
    (event,) = prepared("memoryEntities.updated", "m1", {"importance": 3})

    assert (event.clear, event.content) == ({"importance": 3}, {})


def test_all_problems_of_an_event_are_reported_at_once() -> None:
    error = refused(
        "memoryEntities.created",
        "m\n1",
        {"nam": "x", "importance": 140, "type": "persn", "connections": [{"toid": "a"}, 3]},
    )

    assert error.code == "validation_failed"
    assert not error.retryable
    for words in (
        "memoryEntities.id: found text 'm\\n1', allowed: an id",
        "the unknown field 'nam', allowed: personaId",
        "did you mean name?",
        "memoryEntities.importance: found integer 140, allowed: an integer from 0 to 100",
        "memoryEntities.type: found text 'persn', allowed: one of person",
        "did you mean person?",
        "memoryEntities.name: found nothing, allowed: text of at most 500",
        "memoryEntities.connections[0]: found the unknown field 'toid'",
        "memoryEntities.connections[0].toId: found nothing",
        "memoryEntities.connections[1]: found integer 3, allowed: a map",
    ):
        assert words in error.message


def test_a_long_list_of_problems_is_cut() -> None:
    error = refused("personas.created", "p", {"name": "a"} | {f"x{number}": 1 for number in range(500)})

    assert "and 480 more" in error.message
    assert len(error.message) < 10_000


def test_values_of_encrypted_fields_are_not_quoted_back() -> None:
    error = refused("personas.updated", "p1", {"apiKeys": {"a": "CANARY", "b": {1: "CANARY"}}})
    other = refused("memoryEntities.updated", "m1", {"content": ["CANARY"]})

    assert "CANARY" not in error.message + other.message
    assert "memoryEntities.content: found a list of 1" in other.message


@pytest.mark.parametrize(
    ("name", "entity", "code", "words"),
    [
        ("personas.create", "p1", "unknown_event", "personas.create"),
        ("", None, "unknown_event", "text ''"),
        ("personas.updated", None, "id_required", "existing row of personas"),
        ("personaActivated", None, "id_required", "existing row of personas"),
        ("personas.updated", "p1", "validation_failed", "at least one field"),
    ],
)
def test_a_request_without_meaning_is_refused(name: str, entity: str | None, code: str, words: str) -> None:
    error = refused(name, entity, {})

    assert error.code == code
    assert words in error.message


def test_a_near_miss_of_an_event_is_suggested() -> None:
    assert "personas.created" in refused("persona.created", None, {}).fix


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("personas.updated", {"name": None}, "personas.name: found null, allowed: text"),
        ("personas.deleted", {"name": "a"}, "allowed: no data"),
        ("personaActivated", {"a": 1}, "personaActivated: found the unknown field 'a', allowed: no data"),
        ("conversations.updated", {"messages": []}, "child rows are added by the event messageAdded"),
        ("personas.updated", {"id": "x"}, "allowed: the id beside the data"),
        ("memoryImportanceUpdated", {}, "memoryImportanceUpdated.importance: found nothing"),
        ("memoryImportanceUpdated", {"importance": True}, "found boolean true, allowed: an integer"),
        ("memoryImportanceUpdated", {"importance": 1.0}, "found real 1.0, allowed: an integer"),
        ("personas.updated", {"usageCount": 2**63}, "an integer from 0 to 9223372036854775807"),
        ("personas.updated", {"usageCount": 10**5000}, "of 16610 bits"),
        ("personas.updated", {"isActive": 1}, "allowed: true or false"),
        ("personas.updated", {"lastUsed": 1e12}, "a time in milliseconds"),
        ("personas.updated", {"lastUsed": 10**18}, "a time in milliseconds"),
        ("personas.updated", {"name": "x" * 201}, "at most 200 characters"),
        ("personas.updated", {"description": "\ud800"}, "personas.description: found text '\\ud800'"),
        ("personas.updated", {"settings": {"a": math.nan}}, "NaN or an infinity"),
        ("personas.updated", {"settings": {1: 2}}, "maps whose keys are text"),
        ("personas.updated", {"settings": b"x"}, "found 1 bytes"),
        ("personas.updated", {"settings": {"a": 2**64}}, "a larger integer"),
        ("personas.updated", {"settings": ["x" * 1_000_001]}, "at most 1000000 bytes as JSON"),
        ("memoryEntities.updated", {"tags": ["a", 1]}, "integer 1 at position 1"),
        ("memoryEntities.updated", {"tags": "a"}, "a list of at most 10000 texts"),
        ("memoryEntities.updated", {"embedding": []}, "a list of 1 to 4096"),
        ("memoryEntities.updated", {"embedding": [math.inf]}, "real inf at position 0"),
        ("memoryEntities.updated", {"embedding": [3.45e38]}, "float32"),
        ("memoryEntities.updated", {"personaId": "a\x00"}, "an id"),
        ("memoryConnectionAdded", {"toId": "m", "strength": math.nan}, "a finite number from 0 to 1"),
        ("conversations.created", {"messages": {}}, "a list of at most 10000 maps"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_would_be(
    name: str, data: dict[str, Any], words: str
) -> None:
    error = refused(name, "e1", data)

    assert error.code == "validation_failed"
    assert words in error.message


def test_documents_deeper_than_the_limit_are_refused_without_recursing_far() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]

    assert "nested at most 32 deep" in refused("personas.updated", "p1", {"settings": deep}).message
    assert "nested at most 32 deep" in refused("personas.updated", "p1", {"apiKeys": deep}).message


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ANYTHING = (
    JSON | st.floats() | st.integers() | st.binary(max_size=9) | st.text(max_size=9) | st.sets(st.integers())
)


FIELDS = [arg.field.name for arg in SCHEMA.events["memoryEntities.created"].args]


# The first draw of any text builds Hypothesis' character tables, which takes a second.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3))
def test_any_data_is_either_prepared_or_refused_with_a_typed_error(data: dict[str, Any]) -> None:
    code, stored = "", {}
    try:
        (event,) = prepared("memoryEntities.created", None, {"type": "task", "name": "a"} | data)
        stored = event.clear | event.content
    except InvalidRequest as error:
        code = error.code

    assert code == "validation_failed" or {"type", "name", "importance"} <= stored.keys()
    assert all(isinstance(value, str | int | float | bytes | None) for value in stored.values())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON, st.booleans())
def test_json_comes_back_as_it_was_given(value: Any, encrypted: bool) -> None:
    field = Field(name="f", number=1, type="json", encrypted=encrypted)
    try:
        stored = check_storage(field)(value)
    except Mismatch:
        pytest.fail("valid JSON was refused")

    back = to_wire(Column(name="f", sql_type=field.sql_type, field=field))

    assert back is not None
    assert back(stored) == value
    assert back(None) is None


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_vectors_keep_every_float32(value: list[float]) -> None:
    field = Field(name="f", number=1, type="vector")
    stored = check_storage(field)(value)
    back = to_wire(Column(name="f", sql_type="BLOB", field=field))

    assert len(stored) == 4 * len(value)
    assert back is not None
    assert back(stored) == value


def test_columns_that_need_no_conversion_have_no_converter() -> None:
    converters = {
        column.name: to_wire(column) for table in SCHEMA.table_names for column in SCHEMA.columns(table)
    }

    assert (
        converters["id"] is converters["createdAt"] is converters["importance"] is converters["title"] is None
    )
    is_active = converters["isActive"]
    assert is_active is not None
    assert [is_active(1), is_active(0), is_active(None)] == [True, False, None]
