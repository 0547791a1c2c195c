"""Which changes reach which live queries: guards, columns, and SQL that is read with care."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_world import Stage, stage_in
from test_query_world import CATALOG

from keepdb.live.sqlguards import sql_guards
from keepdb.query.plan import SqlPlan
from messages.queries import Include


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as made:
        yield made


def guards(stage: Stage, sql: str, *params: Any, **named: Any) -> list[str]:
    return stage.explain(stage.sql(sql, *params, **named)).guards


@pytest.mark.parametrize(
    ("where", "guard"),
    [
        ({"x": "o1"}, "things.x = 'o1'"),
        ({"e": "low", "x": "o1", "b": True}, "things.x = 'o1'"),
        ({"id": "a", "x": "o1"}, "things.id = 'a'"),
        ({"and": [{"i": 3}, {"r": {">": 1}}]}, "things.i = 3"),
        ({"x": {"in": ["o1", None]}}, "things.x = 'o1' or null"),
        ({"x": None}, "things.x = null"),
    ],
)
def test_an_equality_that_every_row_must_meet_is_a_guard(
    stage: Stage, where: dict[str, Any], guard: str
) -> None:
    assert stage.explain(stage.plan(where=where)).guards == [guard]


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"or": [{"x": "o1"}, {"x": "o2"}]},
        {"not": {"x": "o1"}},
        {"x": {"!=": "o1"}},
        {"i": {">": 3}},
        {"i": {"in": []}},
        {"i": {"in": list(range(100))}},
    ],
)
def test_what_only_some_rows_must_meet_is_no_guard(stage: Stage, where: dict[str, Any]) -> None:
    assert stage.explain(stage.plan(where=where)).guards == []


SELECT = "SELECT t.id FROM things t"


@pytest.mark.parametrize(
    ("sql", "params", "guard"),
    [
        (f"{SELECT} WHERE t.x = ?", ["o1"], "things.x = 'o1'"),
        ("SELECT id FROM things WHERE X == 'it''s'", [], "things.x = \"it's\""),
        ('SELECT count(*) FROM "things" WHERE "i" = 7 AND t LIKE ?', ["a%"], "things.i = 7"),
        (f"{SELECT} JOIN others o ON o.id = t.x WHERE t.i > ? AND t.x = ? LIMIT ?", [1, "o", 5], "things.x = 'o'"),
        (f"{SELECT} LEFT JOIN others AS o ON o.name = ? WHERE o.name = ?", ["a", "b"], "others.name = 'b'"),
        ("SELECT e, sum(i) FROM things WHERE b = ? GROUP BY e HAVING sum(i) = 3", [True], "things.b = 1"),
        (f"{SELECT} WHERE t.r = ? -- AND t.x = 'no'", [1.5], "things.r = 1.5"),
    ],
)  # fmt: skip
def test_a_plain_equality_in_sql_is_a_guard(stage: Stage, sql: str, params: list[Any], guard: str) -> None:
    assert guards(stage, sql, *params) == [guard]


def test_a_named_parameter_is_a_guard(stage: Stage) -> None:
    assert guards(stage, f"{SELECT} WHERE t.x = :of", of="o1") == ["things.x = 'o1'"]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        (f"{SELECT} WHERE t.x = ? OR t.i = 1", ["o1"]),
        (f"{SELECT} WHERE NOT t.x = ?", ["o1"]),
        (f"{SELECT} WHERE t.i BETWEEN 1 AND t.i = ?", [1]),
        (f"{SELECT} WHERE CASE WHEN t.i = 1 AND t.x = ? THEN 0 ELSE 1 END", ["o1"]),
        (f"{SELECT} WHERE t.x = ? COLLATE NOCASE", ["o1"]),
        (f"{SELECT} WHERE t.x = ? || 'b'", ["o1"]),
        (f"{SELECT} WHERE t.i = ?", ["1"]),
        (f"{SELECT} WHERE t.x = ?", [1]),
        (f"{SELECT} WHERE t.x = ?", [None]),
        (f"{SELECT} WHERE t.x = ?2 AND t.t = ?1", ["a", "b"]),
        (f"{SELECT}, things u WHERE t.x = ? AND u.i = 1", ["o1"]),
        (f"{SELECT} WHERE t.x = ? AND t.id IN (SELECT id FROM things)", ["o1"]),
        (f"{SELECT} WHERE t.x = ? UNION SELECT id FROM others", ["o1"]),
        ("WITH a AS (SELECT * FROM things) SELECT id FROM a WHERE x = ?", ["o1"]),
        ("SELECT id FROM (SELECT * FROM things) WHERE x = ?", ["o1"]),
        (f"{SELECT} JOIN others o ON t.x = ?", ["o1"]),
        ("SELECT i = ? FROM things", [1]),
        ("SELECT i IS DISTINCT FROM 1 FROM things WHERE x = ?", ["o1"]),
        ("SELECT t.id FROM things t, others o WHERE x = ?", ["o1"]),
        ("SELECT id FROM things WHERE lower(x) = ? AND (x = 'o1')", ["o1"]),
        ("SELECT [id] FROM things WHERE x = ?", ["o1"]),
        ("SELECT `id` FROM things WHERE x = ?", ["o1"]),
        ("SELECT id FROM things WHERE i > ? /* AND x = 'o1'", [0]),
        ("SELECT id FROM things WHERE i > ? AND /* x = 'o1' AND */ i < 9 /* AND t = 'a'", [0]),
        ("SELECT id FROM things WHERE x = 'o1' /**/ AND i > ? /* z", [0]),
        ("SELECT id FROM things WHERE i = 1e0", []),
        ("SELECT id FROM things WHERE i = 0x1", []),
        ("SELECT id FROM things WHERE t = x'61'", []),
        ("SELECT id FROM things AS \u00e9 WHERE x = ?", ["o1"]),
        ("SELECT id FROM things WHERE x = @x", {"x": "o1"}),
        ("SELECT id FROM things WHERE x = $x", {"x": "o1"}),
        ("SELECT t.id FROM things t RIGHT JOIN others o ON o.id = t.x WHERE t.x = ?", ["o1"]),
        ("SELECT id FROM things NOT INDEXED WHERE x = ?", ["o1"]),
        ("SELECT (SELECT 1 WHERE x = ?) FROM things WHERE 1 AND i = 1", ["o1"]),
        ("SELECT count(*) FILTER (WHERE i = 1) FROM things", []),
    ],
)
def test_sql_that_is_not_plain_has_no_guard(
    stage: Stage, sql: str, params: list[Any] | dict[str, Any]
) -> None:
    found = guards(stage, sql, **params) if isinstance(params, dict) else guards(stage, sql, *params)
    assert found == []


def test_what_sqlite_did_not_read_is_no_guard(stage: Stage) -> None:
    plan = stage.sql(f"{SELECT} WHERE t.x = ?", "o1")
    assert isinstance(plan, SqlPlan)
    other = replace(plan, reads=frozenset({("things", "id")}))

    assert (len(sql_guards(plan, CATALOG)), sql_guards(other, CATALOG)) == (1, {})


def test_a_commented_condition_does_not_hide_rows(stage: Stage) -> None:
    """Verifies: L3."""
    client = stage.watch(stage.sql("SELECT id FROM things WHERE i > 0 /* AND t = 'a'"))

    stage.put({"id": "a", "i": 1, "t": "other"})

    assert client.rows == [["a"]]


def test_rows_that_do_not_meet_a_guard_run_nothing(stage: Stage) -> None:
    stage.put({"id": "o1"}, {"id": "o2"}, table="others")
    sql = "SELECT t.id, o.name FROM things t JOIN others o ON o.id = t.x WHERE t.x = ? ORDER BY t.id"
    client = stage.watch(stage.sql(sql, "o1"))

    stage.put({"id": "a", "x": "o2"}, {"id": "b"})
    assert stage.engine.reads == 1
    stage.put({"id": "a", "x": "o1"})
    assert (stage.engine.reads, client.rows) == (2, [["a", None]])
    stage.put({"id": "a", "x": "o2"})
    assert (stage.engine.reads, client.rows) == (3, [])


def test_sql_runs_again_only_for_columns_that_it_reads(stage: Stage) -> None:
    stage.put({"id": "a", "i": 1, "t": "x"})
    client = stage.watch(stage.sql("SELECT sum(i) FROM things"), "sum")
    stage.watch(stage.sql("SELECT count(*) FROM things"), "count")

    stage.put({"id": "a", "i": 1, "t": "y"})
    assert stage.engine.reads == 2
    stage.put({"id": "a", "i": 2, "t": "y"})
    assert (stage.engine.reads, client.rows) == (3, [[2]])
    stage.put({"id": "b", "i": None})
    assert (stage.engine.reads, client.rows) == (5, [[2]])


def test_included_rows_are_followed_and_others_are_not(stage: Stage) -> None:
    stage.put({"id": "o1", "name": "one"}, {"id": "o2", "name": "two"}, table="others")
    stage.put({"id": "a", "x": "o1", "i": 1}, {"id": "b", "x": "o2", "i": 2})
    plan = stage.plan(where={"i": 1}, select=("i",), include={"other": Include(via="x", select=("name",))})
    client = stage.watch(plan)

    stage.put({"id": "b", "x": "o1", "i": 3})
    stage.put({"id": "a", "x": "o1", "i": 1, "t": "not shown"})
    assert stage.engine.reads == 1
    stage.put({"id": "o1", "name": "uno"}, table="others")
    assert stage.engine.reads == 2
    stage.put({"id": "a", "x": "o2", "i": 1})

    assert stage.engine.reads == 3
    stage.assert_holds(client, plan)


def test_a_row_reaches_a_query_once_though_it_leaves_one_value_of_its_guard_for_another(stage: Stage) -> None:
    plan = stage.plan(where={"x": {"in": ["o1", "o2"]}}, aggregates={"n": {"count": "*"}})
    client = stage.watch(plan)

    for value in ("o1", "o2", "o3", "o2"):
        stage.put({"id": "a", "x": value})
        stage.assert_holds(client, plan)

    assert client.rows == [[1]]


def test_guarded_queries_that_end_leave_nothing_behind(stage: Stage) -> None:
    for n, where in enumerate([{"x": "o1"}, {"x": {"in": ["o1", "o1", "o2"]}}, {"i": 1}, {}]):
        stage.watch(stage.plan(where=where), f"{n}")
    for n in range(4):
        stage.engine.unsubscribe(b"client 1", f"{n}")

    stage.put({"id": "a", "x": "o1", "i": 1})

    assert (stage.engine.windows, stage.engine.size, stage.engine.reads) == (0, 0, 4)
