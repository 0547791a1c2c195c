"""Decides whether an `sql:` operation of schema.yaml may run, by preparing it on an empty copy of the tables.

What an authorizer cannot prove is refused. So SQL may not name encrypted columns at all, neither to read nor
to write (typed operations place them), and may not INSERT, because the authorizer is not told which columns
an INSERT fills: nobody could prove that the row gets its right subject and no sealed value.
"""

import re
from collections.abc import Iterable

import apsw

from .model import Column

#: Same arguments, same result, on every machine. sum and avg depend on the order of rows, the rest of the
#: missing ones on clock, chance, locale or connection.
# fmt: off
FUNCTIONS = frozenset((
    "->", "->>", "abs", "ceil", "ceiling", "char", "coalesce", "concat", "concat_ws", "count",
    "floor", "format", "glob", "hex", "ifnull", "iif", "if", "instr", "json", "json_array",
    "json_array_length", "json_each", "json_extract", "json_insert", "json_object", "json_patch",
    "json_quote", "json_remove", "json_replace", "json_set", "json_type", "json_valid", "length",
    "like", "likely", "lower", "ltrim", "max", "min", "mod", "nullif", "octet_length", "printf",
    "quote", "replace", "round", "rtrim", "sign", "substr", "substring", "trim", "trunc", "typeof",
    "unicode", "unlikely", "upper",
))
# fmt: on
SQL_CHARACTERS_MAX = 10_000

_FIXED_COLUMNS = frozenset({"id", "parent", "position", "createdAt", "deletedAt"})
_Tables = dict[str, tuple[Column, ...]]


class Refusal(Exception):
    """Why the statement may not run."""


def check_sql(sql: str, tables: _Tables, children: Iterable[str], params: Iterable[str]) -> None:
    """Raise Refusal unless `sql` is one safe, deterministic UPDATE or DELETE.

    children: tables whose rows may be deleted. params: names that may be bound, without the colon.
    """
    if len(sql) > SQL_CHARACTERS_MAX:
        raise Refusal(f"more than {SQL_CHARACTERS_MAX} characters")
    if re.search(r"\brollback\b", sql, re.IGNORECASE):
        # UPDATE OR ROLLBACK would end the writer's whole transaction, and no authorizer sees it.
        raise Refusal("the word ROLLBACK")
    guard = _Guard(tables, frozenset(children), frozenset(params))
    connection = _empty_copy(tables)
    connection.authorizer = guard.authorize
    connection.exec_trace = guard.prepared
    try:
        connection.execute(sql, _AnyName())
    except apsw.ExecTraceAbort:
        pass
    except apsw.BindingsError:
        raise Refusal("unnamed parameters (?); use :id, :at and :data_<arg>") from None
    except apsw.Error as error:
        raise Refusal(guard.refused or str(error)) from None
    finally:
        connection.close()
    guard.verdict(sql)


class _AnyName(dict[str, None]):
    """Bindings with a value for every name, so that the guard and not apsw names an unknown one."""

    def __missing__(self, _name: str) -> None:
        return None


class _Guard:
    def __init__(self, tables: _Tables, children: frozenset[str], params: frozenset[str]) -> None:
        self.params = params
        self.refused = ""
        self._tables = tables
        self._children = children
        self._statement: str | None = None
        self._writes = False

    def authorize(self, op: int, one: str | None, two: str | None, _db: str | None, _by: str | None) -> int:
        reason = self._objection(op, one or "", two or "")
        if reason:
            self.refused = self.refused or reason
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def _objection(self, op: int, one: str, two: str) -> str:
        if op == apsw.SQLITE_SELECT:
            return ""
        if op == apsw.SQLITE_FUNCTION:
            return "" if two in FUNCTIONS else f"the function {two}, which may differ from run to run"
        if op == apsw.SQLITE_READ:
            return self._objection_to_read(one, two)
        if op == apsw.SQLITE_UPDATE:
            self._writes = True
            return self._objection_to_update(one, two)
        if op == apsw.SQLITE_DELETE:
            self._writes = True
            return "" if one in self._children else f"DELETE from {one}; only child rows may be deleted"
        if op == apsw.SQLITE_INSERT:
            return f"INSERT into {one}; use the typed operation `insert`"
        return "a statement other than UPDATE and DELETE"

    def _objection_to_read(self, table: str, name: str) -> str:
        if table == "json_each":
            return ""
        column = self._column(table, name)
        # count(*) reads the column "" of a table.
        if column is None:
            return "" if table in self._tables and not name else f"the column {table}.{name}"
        if column.field is not None and column.field.encrypted:
            return f"the encrypted column {table}.{name}; use a typed operation"
        return f"the hidden column {table}.{name}" if column.hidden else ""

    def _objection_to_update(self, table: str, name: str) -> str:
        column = self._column(table, name)
        if column is None or column.hidden or name in _FIXED_COLUMNS:
            return f"writing the column {table}.{name}, which is not a field"
        if column.field is not None and column.field.encrypted:
            return f"writing the encrypted column {table}.{name}; use a typed operation"
        return ""

    def _column(self, table: str, name: str) -> Column | None:
        return next((column for column in self._tables.get(table, ()) if column.name == name), None)

    def prepared(self, cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        """Called once the first statement is compiled; false stops before it runs."""
        self._statement = statement
        unknown = [name for name in cursor.bindings_names if name not in self.params]
        if unknown:
            known = ", ".join(f":{name}" for name in sorted(self.params))
            self.refused = self.refused or f"the parameter {unknown[0]}; there are {known}"
        return False

    def verdict(self, sql: str) -> None:
        if self.refused:
            raise Refusal(self.refused)
        if self._statement is None or not self._writes:
            raise Refusal("a statement other than UPDATE and DELETE")
        if _bare(self._statement) != _bare(sql):
            raise Refusal("more than one statement")


def _bare(sql: str) -> str:
    return sql.strip().rstrip(";").rstrip()


def _empty_copy(tables: _Tables) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for name, columns in tables.items():
        declared = ", ".join(f'"{column.name}" {column.sql_type}' for column in columns)
        connection.execute(f'CREATE TABLE "{name}" ({declared}, PRIMARY KEY ("id")) STRICT')
    return connection
