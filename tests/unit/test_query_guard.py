"""Read-only SQL from clients: what it may do, what it may not, and how far it gets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_query_world import World, world_in

from keepdb.errors import InvalidRequest, KeepError, Unavailable
from keepdb.query.limits import QueryLimits
from messages.queries import Query, Sql

ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) "


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("state"), QueryLimits(time_s=0.3)) as made:
        made.put(
            "things",
            {
                "id": "a",
                "t": "alpha",
                "i": 1,
                "b": 1,
                "j": '{"k":[1]}',
                "v": b"\x00\x00\x80?",
                "secret": {"s": 1},
            },
            {"id": "b", "t": "beta", "i": 2, "b": 0, "secret": "two"},
            {"id": "c"},
        )
        made.put("things__parts", {"id": "p", "parent": "a", "position": 1, "label": "one", "hidden": "h"})
        made.put("others", {"id": "o", "name": "other"})
        yield made


@pytest.mark.parametrize(
    ("sql", "params", "columns", "rows"),
    [
        ("SELECT id, i FROM things WHERE i > ? ORDER BY i", [0], "id i", [["a", 1], ["b", 2]]),
        ("SELECT id FROM things WHERE t = :t AND b = $b", {"t": "alpha", "b": True}, "id", [["a"]]),
        ("SELECT id FROM Things WHERE T = 'beta'", [], "id", [["b"]]),
        ("SELECT count(*) AS n FROM THINGS", [], "n", [[3]]),
        ("SELECT b, j, v FROM things WHERE id = 'a'", [], "b j v", [[True, {"k": [1]}, [1.0]]]),
        ("SELECT o.id, t.b FROM others o JOIN things t ON t.i = 1", [], "id b", [["o", True]]),
        ("SELECT parent, label FROM things__parts", [], "parent label", [["a", "one"]]),
        ("WITH q AS (SELECT id, b FROM things) SELECT b FROM q WHERE id = 'b'", [], "b", [[False]]),
        ("WITH q(x) AS (SELECT 1) SELECT count(*) AS n FROM q", [], "n", [[1]]),
        (ENDLESS + "SELECT max(n) AS n FROM (SELECT n FROM t LIMIT 5)", [], "n", [[5]]),
        ("SELECT value AS x FROM things, json_each(j, '$.k')", [], "x", [[1]]),
        ("SELECT row_number() OVER (ORDER BY id) AS n FROM things", [], "n", [[1], [2], [3]]),
        ("VALUES (1, 'a')", [], "column1 column2", [[1, "a"]]),
        ("  SELECT 1 AS one ; -- that is all\n /* really; */ ", [], "one", [[1]]),
        ("SELECT ? AS x", [b"bytes"], "x", [[b"bytes"]]),
        ("SELECT id FROM things WHERE secret IS NULL", [], "id", [["c"]]),
        ("SELECT i FROM things UNION ALL SELECT b FROM things WHERE id = 'a' ORDER BY 1", [], "i",
         [[None], [1], [1], [2]]),
        ("SELECT b FROM things WHERE id = 'a' UNION ALL SELECT 'x'", [], "b", [[True], ["x"]]),
        ("SELECT j FROM things WHERE id = 'a' UNION ALL SELECT 'text'", [], "j", [[{"k": [1]}], ["text"]]),
    ],
)  # fmt: skip
def test_reading_sql_gives_wire_values(
    world: World, sql: str, params: Any, columns: str, rows: list[Any]
) -> None:
    result = world.sql(sql, params)

    assert result.columns == tuple(columns.split())
    assert result.rows == rows
    assert result.key == -1


def test_all_columns_are_the_ones_of_the_schema(world: World) -> None:
    result = world.sql("SELECT * FROM things WHERE id = 'a'")

    assert "_subject" not in result.columns
    assert len(result.rows[0]) == len(result.columns)
    assert result.rows[0][result.columns.index("secret")] == {"s": 1}


def test_explain_query_plan_shows_how_a_query_runs(world: World) -> None:
    (row,) = world.sql("EXPLAIN QUERY PLAN SELECT id FROM things WHERE i = 1").rows

    assert "things__i" in row[3]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("INSERT INTO things (id, _subject) VALUES ('x', 's')", "sql_not_read_only"),
        ("UPDATE things SET i = 1", "sql_not_read_only"),
        ("DELETE FROM things", "sql_not_read_only"),
        ("WITH q AS (SELECT 1) DELETE FROM things", "sql_not_read_only"),
        ("DROP TABLE things", "sql_not_read_only"),
        ("CREATE TEMP TABLE x (a)", "sql_not_read_only"),
        ("ALTER TABLE things ADD COLUMN z", "sql_not_read_only"),
        ("PRAGMA table_info(things)", "sql_not_read_only"),
        ("PRAGMA query_only = 0", "sql_not_read_only"),
        ("ATTACH ':memory:' AS other", "sql_not_read_only"),
        ("DETACH main", "sql_not_read_only"),
        ("BEGIN", "sql_not_read_only"),
        ("COMMIT", "sql_not_read_only"),
        ("SAVEPOINT s", "sql_not_read_only"),
        ("VACUUM", "sql_not_read_only"),
        ("VACUUM INTO '/tmp/stolen.db'", "sql_not_read_only"),
        ("ANALYZE", "sql_not_read_only"),
        ("REINDEX", "sql_not_read_only"),
        ("EXPLAIN SELECT 1", "sql_not_read_only"),
        ("", "sql_not_read_only"),
        ("-- nothing", "sql_not_read_only"),
        ("SELECT 1; SELECT 2", "sql_one_statement"),
        ("SELECT 1; DROP TABLE things", "sql_one_statement"),
        ("SELECT 1 /* ; */; /* x */ SELECT 2 -- */", "sql_one_statement"),
        ("SELECT * FROM _meta", "sql_not_allowed"),
        ("SELECT count(*) FROM _meta", "sql_not_allowed"),
        ("SELECT count(*) FROM _META", "sql_not_allowed"),
        ("SELECT body FROM _changes", "sql_not_allowed"),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM _versions)", "sql_not_allowed"),
        ("SELECT _subject FROM things", "sql_not_allowed"),
        ("SELECT id FROM things WHERE \"_SUBJECT\" = 's'", "sql_not_allowed"),
        ("SELECT rowid FROM things", "sql_not_allowed"),
        ("SELECT name FROM sqlite_master", "sql_not_allowed"),
        ("SELECT count(*) FROM sqlite_schema", "sql_not_allowed"),
        ("SELECT name FROM pragma_table_info('things')", "sql_not_allowed"),
        ("SELECT count(*) FROM pragma_function_list", "sql_not_allowed"),
        ("SELECT name FROM dbstat", "sql_not_allowed"),
        ("SELECT count(*) FROM dbstat", "sql_not_allowed"),
        ("SELECT load_extension('/tmp/x.so')", "sql_not_allowed"),
        ("SELECT random()", "sql_not_allowed"),
        ("SELECT zeroblob(1000000000)", "sql_not_allowed"),
        ("SELECT sqlite3mc_codec_data('hexkey')", "sql_not_allowed"),
        ("SELECT fts5(1)", "sql_not_allowed"),
        ("SELECT nothing FROM things", "sql_error"),
        ("SELECT id FROM nowhere", "sql_error"),
        ("SELEKT 1", "sql_error"),
        ("SELECT json_extract('{', '$')", "sql_error"),
        ("SELECT CAST(x'ff' AS TEXT)", "sql_error"),
        ("SELECT 1 \x00; DROP TABLE things", "sql_error"),
        ("SELECT '\ud800'", "sql_error"),
        ("SELECT 1" + "+1" * 2_000, "sql_error"),
        ("SELECT '" + "x" * 100_000 + "'", "query_too_large"),
        ("SELECT printf('%*d', 100000000, 1)", "query_too_large"),
        ("SELECT hex(printf('%*d', 5000000, 1))", "query_too_large"),
        ("SELECT printf('%*d', 8000000, 1)", "query_too_large"),
        (ENDLESS + "SELECT n FROM t", "query_too_many_rows"),
        ("SELECT secret FROM things", "sql_sealed"),
        ("SELECT a.id, b.id, a.secret FROM things a, things b", "sql_sealed"),
        ("SELECT p.id, t.secret FROM things t, things__parts p", "sql_sealed"),
        ("SELECT id, secret || '' AS x FROM things", "sql_error"),
        ("SELECT id, coalesce(secret, 1) FROM things", "sql_sealed"),
        ("SELECT id, t FROM things UNION ALL SELECT id, secret FROM things", "sql_sealed"),
        (
            "SELECT t.id, u.secret FROM things u LEFT JOIN things t ON t.id = 'nobody' AND u.id = 'a'",
            "sql_sealed",
        ),
    ],
)
def test_sql_that_may_not_run_is_refused(world: World, sql: str, code: str) -> None:
    with pytest.raises(KeepError) as caught:
        world.sql(sql)

    assert caught.value.code == code, caught.value
    assert world.ids() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("sql", "params", "code"),
    [
        ("SELECT ?", [], "sql_bad_params"),
        ("SELECT ?", [1, 2], "sql_bad_params"),
        ("SELECT :a, :b", {"a": 1}, "sql_bad_params"),
        ("SELECT ?", [[1]], "query_bad_value"),
        ("SELECT ?", [2**63], "query_bad_value"),
        ("SELECT :a", {"a": {}}, "query_bad_value"),
        ("SELECT ?", ["\ud800"], "query_bad_value"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(world: World, sql: str, params: Any, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        world.sql(sql, params)

    assert caught.value.code == code


def test_encrypted_columns_selected_beside_their_id_are_opened_in_one_batch(world: World) -> None:
    world.opened.clear()

    result = world.sql(
        "SELECT p.hidden AS h, t.id, t.secret AS s, p.id AS part FROM things t"
        " LEFT JOIN things__parts p ON p.parent = t.id ORDER BY t.id"
    )

    assert result.rows == [["h", "a", {"s": 1}, "p"], [None, "b", "two", None], [None, "c", None, None]]
    assert world.opened == [3]


def test_a_record_in_a_foreign_row_is_not_opened_as_something_else(world: World) -> None:
    with pytest.raises(AssertionError, match="bound to another place"):
        world.sql("SELECT a.id, b.secret FROM things a, things b WHERE a.id = 'a' AND b.id = 'b'")


@pytest.mark.parametrize(
    "sql",
    [
        ENDLESS + "SELECT count(*) FROM t",
        ENDLESS + "SELECT n FROM t WHERE n < 0",
        "SELECT count(*) FROM things a, things b, things c, things d, things e, things f, things g, things h,"
        " things i, things j, things k, things l, things m, things n, things o, things p, things q",
    ],
)
def test_a_query_without_end_is_stopped_in_time(world: World, sql: str) -> None:
    with pytest.raises(Unavailable) as caught:
        world.sql(sql)

    assert caught.value.code == "query_timeout"
    assert not caught.value.retryable
    assert world.ids() == ["a", "b", "c"]


def test_a_query_that_eats_memory_is_stopped(tmp_path: Path) -> None:
    limits = QueryLimits(memory_bytes=32 << 20, time_s=20)
    hungry = ENDLESS + ", u AS (SELECT printf('%*d', 100000, n) AS s FROM t) SELECT s FROM u ORDER BY s"
    with world_in(tmp_path, limits) as world, pytest.raises(InvalidRequest, match="32 MiB of memory"):
        world.sql(hungry)


def test_a_structured_query_is_stopped_in_time_as_well(tmp_path: Path) -> None:
    with world_in(tmp_path, QueryLimits(time_s=0.0)) as world:
        world.put("things", *({"id": str(n)} for n in range(500)))
        with pytest.raises(Unavailable, match="longer than 0 s"):
            world.query(where={"or": [{"t": {"like": "%x%"}}, {"l": {"contains": "x"}}]})


def test_a_client_cannot_reach_statements_that_keepdb_prepared_for_itself(world: World) -> None:
    """apsw keeps prepared statements by text; the internal ones were not checked by the guard."""
    with world.reader.snapshot():
        world.reader.versions()

    for sql in ("SELECT applied_seq FROM _meta", "SELECT collection, version FROM _versions"):
        with pytest.raises(InvalidRequest) as caught:
            world.sql(sql)
        assert caught.value.code == "sql_not_allowed"


def test_a_refusal_is_the_same_when_the_statement_comes_again(world: World) -> None:
    for sql, code in (
        ("SELECT body FROM _changes", "sql_not_allowed"),
        ("SELECT 1; SELECT 2", "sql_one_statement"),
    ):
        for _ in range(3):
            with pytest.raises(InvalidRequest) as caught:
                world.sql(sql)
            assert caught.value.code == code


def test_a_plan_knows_the_tables_and_columns_that_sql_reads(world: World) -> None:
    inner = "(SELECT count(*) FROM others) AND t.t IN (SELECT label FROM things__parts)"

    plan = world.reader.plan(None, Sql(sql=f"SELECT t.id FROM things t WHERE t.i > {inner}"))

    assert plan.tables == {"things", "others", "things__parts"}
    assert {("things", "i"), ("things", "t"), ("things__parts", "label")} <= plan.reads
    assert ("things", "secret") not in plan.reads


def test_the_canonical_form_of_sql_tells_statements_and_parameters_apart(world: World) -> None:
    def canonical(sql: str, *params: Any) -> bytes:
        return world.reader.plan(None, Sql(sql=sql, params=list(params))).canonical

    forms = [
        canonical("SELECT ?", 1),
        canonical("SELECT ?", "1"),
        canonical("SELECT ?", 1.0),
        canonical("SELECT 1"),
    ]
    assert len(set(forms)) == 4
    assert canonical("SELECT ?", 1) == forms[0]


def test_a_read_gives_exactly_one_of_query_and_sql(world: World) -> None:
    for query, sql in ((None, None), (Query(source="things"), Sql(sql="SELECT 1"))):
        with pytest.raises(InvalidRequest, match="exactly one"):
            world.reader.plan(query, sql)


def test_a_snapshot_does_not_see_what_is_written_meanwhile(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.put("things", {"id": "a"})
        with world.reader.snapshot() as seq:
            world.put("things", {"id": "b"})
            inside = world.query()
            versions = world.reader.versions()

        assert (seq, inside.seq, len(inside.rows), versions) == (1, 1, 1, {"things": 1})
        assert (world.reader.position(), world.query().seq, len(world.query().rows)) == (2, 2, 2)


def test_a_failed_query_leaves_no_transaction_open(world: World) -> None:
    for sql in (
        ENDLESS + "SELECT count(*) FROM t",
        "SELECT json_extract('{', '$')",
        ENDLESS + "SELECT n FROM t",
    ):
        with pytest.raises(KeepError):
            world.sql(sql)
        assert not world.connection.in_transaction


@pytest.mark.parametrize(
    ("sql", "volatile"),
    [
        ("SELECT date('now') AS d", True),
        ("SELECT CURRENT_TIMESTAMP AS d", True),
        ("SELECT id FROM things WHERE w < unixepoch() * 1000", True),
        ("SELECT id FROM things WHERE i IN (SELECT STRFTIME('%s', 'now'))", True),
        ("WITH q AS (SELECT julianday('now') AS d) SELECT d FROM q", True),
        ("SELECT id, upper(t) AS t FROM things", False),
        ("SELECT count(*) AS n FROM things", False),
    ],
)
def test_sql_that_may_depend_on_the_clock_is_known(world: World, sql: str, volatile: bool) -> None:
    """Verifies: L9. An earlier result of it says nothing about the present one."""
    for _ in range(2):
        assert world.reader.plan(None, Sql(sql=sql)).volatile is volatile


def test_structured_queries_do_not_depend_on_the_clock(world: World) -> None:
    assert world.reader.plan(Query(source="things"), None).volatile is False


def test_a_statement_in_constant_use_never_loses_the_tables_it_reads(world: World) -> None:
    """Verifies: L9. SQLite's library keeps a statement longer than we keep its plan; read anew, the plan must name
    its tables again, or its cached result would never change."""
    hot = Sql(sql="SELECT count(*) AS n FROM others")
    for number in range(600):
        world.reader.plan(None, Sql(sql=f"SELECT {number} AS x"))
        plan = world.reader.plan(None, hot)
        world.reader.run(plan)
        assert plan.tables == {"others"}
