"""Every example of docs/queries.md runs against a database of the shipped schema, and gives the answer it shows."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

import keepdb
from keepdb.clock import SystemClock
from keepdb.query.catalog import make_catalog
from keepdb.query.limits import QueryLimits
from keepdb.query.opening import SealedItem
from keepdb.query.run import RawResult, Reader
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import load_schema
from keepdb.storage import StateFile
from messages.queries import Include, Query, Sql

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```json( answer)?\n(.*?)```", PAGE, re.DOTALL)
#: Table rows: an operator, function or word of logic, and the examples beside it.
ROWS = re.findall(r"^\|((?: `[^`]+`,?)+) \| ([^|]*`\{.*?\}`[^|]*) \|", PAGE, re.MULTILINE)
KEY = b"k" * 32

TABLES: dict[str, list[dict[str, Any]]] = {
    "personas": [{"id": "p1", "name": "Ada"}, {"id": "p2", "name": "Bob"}],
    "memoryEntities": [
        {"id": "m1", "personaId": "p1", "type": "task", "name": "Buy bread", "importance": 60},
        {"id": "m2", "personaId": "p1", "type": "person", "name": "Cy", "importance": 40},
        {"id": "m3", "personaId": "p1", "type": "task", "name": "Call Bob", "importance": 90},
    ],
    "conversations": [{"id": "c1", "personaId": "p1", "title": "Monday"}],
    "conversations__messages": [
        {"id": "x1", "parent": "c1", "position": 1, "role": "user", "content": "Hi"},
        {"id": "x2", "parent": "c1", "position": 2, "role": "assistant", "content": "Hello"},
    ],
}
COMMON: dict[str, dict[str, Any]] = {"memoryEntities": {"memoryTier": "hot", "tags": '["urgent"]'}}


def open_values(items: list[SealedItem]) -> Sequence[bytes]:
    """The records here are the plaintext behind two bytes; sealing has tests of its own."""
    return [record[2:] for _, _, _, record in items]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    schema = load_schema(Path(keepdb.__file__).parent / "schema" / "schema.yaml")
    state = StateFile.create(tmp_path_factory.mktemp("state"), schema.hash, 1, KEY, compile_ddl(schema), 1)
    with state.batch() as batch:
        batch.begin(1)
        with batch.request():
            for table, rows in TABLES.items():
                names = {column.name for column in schema.columns(table)}
                for row in rows:
                    values = {"_subject": "s", "createdAt": 1_700_000_000_000, **COMMON.get(table, {}), **row}
                    if "content" in row:
                        values["content"] = b"\x01\x01" + msgspec.msgpack.encode(row["content"])
                    values = {name: value for name, value in values.items() if name in names}
                    state.connection.execute(
                        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
                        tuple(values.values()),
                    )
        batch.finish(1, b"h" * 32)
        batch.commit()
    opened = StateFile.open(state.path, KEY, "read")
    yield Reader(
        opened.connection,
        make_catalog(schema),
        clock=SystemClock(),
        open_values=open_values,
        limits=QueryLimits(),
    )
    opened.close()
    state.close()


def run(reader: Reader, given: dict[str, Any]) -> RawResult:
    if "sql" in given:
        return reader.run(reader.plan(None, msgspec.convert(given, Sql)))
    for number, name in enumerate(("after", "until"), start=1):
        if given.get(name, "").startswith("<"):
            # Stands for the cursor of some earlier page of the same query.
            page = {part: value for part, value in given.items() if part not in ("after", "until")}
            given = given | {name: run(reader, page | {"limit": number}).cursor}
    return reader.run(reader.plan(msgspec.convert(given, Query), None))


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if not kind])
def test_an_example_runs_and_finds_something(reader: Reader, text: str) -> None:
    assert run(reader, json.loads(text)).rows


@pytest.mark.parametrize(
    ("text", "answer"), [(one, other) for (_, one), (kind, other) in pairwise(BLOCKS) if kind]
)
def test_an_example_gives_the_answer_that_stands_below_it(reader: Reader, text: str, answer: str) -> None:
    result = run(reader, json.loads(text))

    assert {"columns": list(result.columns), "rows": result.rows} == json.loads(answer)


@pytest.mark.parametrize(
    ("name", "example"),
    [(name, example) for name, cell in ROWS for example in re.findall(r"`(\{.*?\})`", cell)],
)
def test_an_example_in_a_table_shows_what_its_row_is_about(reader: Reader, name: str, example: str) -> None:
    given = json.loads(example)
    assert re.findall(r"`([^`]+)`", name)[0] in example or set(given) == {"type"}

    function = next(iter(next(iter(given.values())))) if isinstance(next(iter(given.values())), dict) else ""
    part = "aggregates" if function in ("count", "sum", "avg", "min", "max") else "where"
    source = "personas" if "usageCount" in example else "memoryEntities"
    assert run(reader, {"from": source, part: given}).columns


def test_the_page_shows_each_part_of_a_query_and_of_an_include() -> None:
    shown = "".join(text for kind, text in BLOCKS if not kind)
    for struct in (Query, Include):
        for field in msgspec.structs.fields(struct):
            assert f'"{field.encode_name}"' in shown or f"`{field.encode_name}`" in PAGE, field.encode_name
