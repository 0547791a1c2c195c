"""The canonical form names live windows and cache entries: whatever changes an answer must change it as well."""

from typing import Any

import msgspec
import pytest

from keepdb.query.catalog import make_catalog
from keepdb.query.compile import compile_query
from keepdb.query.cursor import encode_cursor
from keepdb.query.limits import QueryLimits
from keepdb.query.order import signature
from keepdb.query.plan import CompiledQuery
from keepdb.schema.load import parse_schema
from messages.queries import Include, Query

CATALOG = make_catalog(
    parse_schema(
        """
version: 1
collections:
  people:
    number: 1
    fields:
      name: {number: 1, type: text}
      age:  {number: 2, type: integer}
  posts:
    number: 2
    fields:
      title:  {number: 1, type: text}
      stars:  {number: 2, type: integer}
      author: {number: 3, type: ref, ref: people}
      editor: {number: 4, type: ref, ref: people}
      answer: {number: 5, type: ref, ref: posts}
      copy:   {number: 6, type: ref, ref: posts}
""",
        "test.yaml",
    )
)
LIMITS = QueryLimits(include_depth=4)

Parts = dict[str, Any]


def plan(parts: Parts) -> CompiledQuery:
    return compile_query(msgspec.convert(parts, Query), CATALOG, LIMITS)


def cursor(number: int) -> str:
    order = plan({"from": "posts", "orderBy": ["stars"]}).shape.order
    made = signature(CATALOG.source("posts"), order)
    return encode_cursor(CATALOG.schema_hash, made, (number, "p1"), 1_000)


ROWS: Parts = {
    "from": "posts",
    "where": {"stars": {">": 1}},
    "orderBy": ["stars"],
    "limit": 5,
    "after": cursor(1),
    "until": cursor(9),
    "select": ["id", "title", "author", "editor"],
    "include": {"who": {"via": "author"}},
}
GROUPS: Parts = {
    "from": "posts",
    "groupBy": ["author"],
    "aggregates": {"n": {"max": "stars"}},
    "having": {"n": {">": 1}},
}
PLAIN: Parts = {"from": "posts", "select": ["title"]}
#: What is changed, by member: a query, and other values for the member (None: it is left out).
CHANGES: dict[str, list[tuple[Parts, list[Any]]]] = {
    "from": [({"from": "posts", "select": ["id"]}, ["people"])],
    "where": [(ROWS, [None, {"stars": {">=": 1}}, {"stars": {">": 2}}, {"title": {">": "1"}}])],
    "orderBy": [(PLAIN, [["stars"], ["-stars"], ["-id"], ["title", "stars"]])],
    "limit": [(ROWS, [None, 4, 6])],
    "after": [(ROWS, [None, cursor(2), cursor(9)])],
    "until": [(ROWS, [None, cursor(8), cursor(1)])],
    "select": [(ROWS, [None, ["title"], ["title", "id", "author", "editor"], ["id", "title", "editor", "author"]])],
    "distinct": [(PLAIN, [True])],
    "groupBy": [(GROUPS, [None, ["editor"], ["author", "editor"], ["editor", "author"]])],
    "aggregates": [
        (GROUPS, [{"n": {"min": "stars"}}, {"n": {"count": "stars"}}, {"n": {"count": "*"}}]),
        (GROUPS | {"having": {}}, [{"m": {"max": "stars"}}, {"n": {"max": "stars"}, "m": {"max": "stars"}}]),
    ],
    "having": [(GROUPS, [None, {"n": {">": 2}}, {"n": {"<": 1}}])],
    "include": [(ROWS, [None, {"other": {"via": "author"}}, {"who": {"via": "editor"}}])],
    "withDeleted": [(ROWS, [True]), (GROUPS, [True])],
}  # fmt: skip

ONE: Parts = {"via": "author"}
MANY: Parts = {"from": "posts", "via": "answer", "where": {"stars": 1}, "orderBy": ["title"], "limit": 2}
INCLUDE_CHANGES: dict[str, list[tuple[Parts, list[Any]]]] = {
    "via": [(ONE, ["editor"]), (MANY, ["copy"])],
    "from": [({"from": "posts", "via": "copy"}, [None])],
    "where": [(MANY, [None, {"stars": 2}, {"stars": {">": 1}}])],
    "orderBy": [(MANY, [None, ["-title"], ["stars"]])],
    "limit": [(MANY, [None, 3])],
    "select": [(ONE, [["name"], ["age"]]), (MANY, [["title", "stars"], ["stars", "title"]])],
    "include": [(MANY, [{"who": {"via": "author"}}, {"who": {"via": "editor"}}, {"whose": {"via": "editor"}}])],
    "withDeleted": [(ONE, [True]), (MANY, [True])],
}  # fmt: skip


def changed(parts: Parts, member: str, value: Any) -> Parts:
    left = {name: old for name, old in parts.items() if name != member}
    return left if value is None else left | {member: value}


def cases(changes: dict[str, list[tuple[Parts, list[Any]]]]) -> list[Any]:
    return [
        pytest.param(parts, changed(parts, member, value), id=f"{member}: {value}")
        for member, pairs in changes.items()
        for parts, values in pairs
        for value in values
    ]


def test_every_member_of_a_query_and_of_an_include_is_tried() -> None:
    assert set(CHANGES) == {field.encode_name for field in msgspec.structs.fields(Query)}
    assert set(INCLUDE_CHANGES) == {field.encode_name for field in msgspec.structs.fields(Include)}


@pytest.mark.parametrize(("parts", "other"), cases(CHANGES))
def test_a_query_that_differs_in_one_member_has_another_canonical_form(parts: Parts, other: Parts) -> None:
    """Verifies: L3."""
    assert plan(parts).canonical != plan(other).canonical


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize(("parts", "other"), cases(INCLUDE_CHANGES))
def test_an_include_that_differs_in_one_member_has_another_canonical_form(
    parts: Parts, other: Parts, depth: int
) -> None:
    """Verifies: L3."""
    for _ in range(depth):
        parts, other = ({"via": "answer", "include": {"in": inner}} for inner in (parts, other))
    one, two = (plan({"from": "posts", "include": {"it": include}}) for include in (parts, other))

    assert one.canonical != two.canonical


@pytest.mark.parametrize(
    ("parts", "other"),
    [
        (PLAIN, PLAIN | {"limit": LIMITS.limit_default}),
        (PLAIN, PLAIN | {"orderBy": ["id"]}),
        (PLAIN, PLAIN | {"select": ["id", "title"]}),
        (
            PLAIN | {"where": {"stars": 1, "title": "a"}},
            PLAIN | {"where": {"and": [{"title": {"=": "a"}}, {"stars": 1}]}},
        ),
        (PLAIN | {"distinct": True}, {"from": "posts", "groupBy": ["title"]}),
    ],
)
def test_queries_with_equal_meaning_share_a_canonical_form(parts: Parts, other: Parts) -> None:
    assert plan(parts).canonical == plan(other).canonical
