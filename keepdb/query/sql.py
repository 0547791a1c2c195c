"""Clients' SQL before it runs: prepared under the guard, so that it is known what it reads and returns.

Encrypted columns may be selected plainly, together with the id of their row, and are then opened like in any
other query. In a filter or an expression SQL would only see the sealed record.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import apsw
import msgspec

from keepdb.clock import Clock
from keepdb.errors import InvalidRequest
from messages.queries import Sql

from .catalog import Catalog, QueryField, Source
from .guard import Guard, Trail, not_read_only
from .limits import QueryLimits
from .operands import text
from .plan import ResultColumn, SqlPlan, result_column
from .refusal import bad_value, too_large

#: Marks prepared statements of clients: apsw keeps statements by their text, and no client's text may meet a
#: statement that KeepDB prepared for itself, unguarded.
MARK = "/* client */ "
_PLANS_MAX = 256

_NOTHING = re.compile(r"(?>--[^\n]*|/\*(?s:.*?)\*/|[\s;])*+")
_packer = msgspec.msgpack.Encoder()
_Described = Sequence[tuple[str, str | None, str | None, str | None, str | None]]


class SqlCompiler:
    """Plans the SQL of one connection and remembers plans by text."""

    def __init__(
        self, connection: apsw.Connection, guard: Guard, catalog: Catalog, clock: Clock, limits: QueryLimits
    ) -> None:
        self._cursor = connection.cursor()
        self._guard = guard
        self._catalog = catalog
        self._clock = clock
        self._limits = limits
        self._plans: dict[str, SqlPlan] = {}

    def plan(self, request: Sql) -> SqlPlan:
        """Check the statement and its parameters without running it. Raises InvalidRequest."""
        if len(request.sql) > self._limits.sql_chars:
            raise too_large("sql", len(request.sql), "characters", self._limits.sql_chars)
        params = _params(request.params)
        known = self._plans.get(request.sql)
        if known is None:
            known = self._prepare(request.sql, params)
            if len(self._plans) >= _PLANS_MAX:
                del self._plans[next(iter(self._plans))]
            self._plans[request.sql] = known
        canonical = _packer.encode([self._catalog.schema_hash[:12], "sql", request.sql, params])
        return replace(known, params=params, canonical=canonical)

    def _prepare(self, sql: str, params: Any) -> SqlPlan:
        described: list[_Described] = []

        def prepared(cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
            if not cursor.is_readonly or cursor.is_explain == 1 or not cursor.description_full:
                raise not_read_only()
            _require_end(marked[len(statement) :])
            described.append(cursor.description_full)
            return False

        trail, marked = Trail(), MARK + sql
        self._cursor.exec_trace = prepared
        try:
            deadline = self._clock.monotonic() + self._limits.time_s
            with self._guard.bounded(deadline, trail), sql_errors(trail):
                # A statement that apsw keeps would not be prepared again, and the trail would stay empty.
                self._cursor.execute(marked, params, can_cache=False)
        except apsw.ExecTraceAbort:
            pass
        finally:
            self._cursor.exec_trace = None
        if not described:
            raise not_read_only()
        self._require_no_hidden(sql, trail)
        return self._plan(sql, described[0], trail)

    def _require_no_hidden(self, sql: str, trail: Trail) -> None:
        # `SELECT *` reads hidden columns as well, as NULL. Named, they would silently be NULL.
        for name in trail.hidden:
            if re.search(rf"\b{re.escape(name)}\b", sql, re.IGNORECASE):
                raise InvalidRequest(
                    "sql_not_allowed", f"SQL: {name} cannot be read.", fix="Use the fields of the schema."
                )

    def _plan(self, sql: str, described: _Described, trail: Trail) -> SqlPlan:
        columns = [self._column(described, at) for at in range(len(described))]
        dropped = [
            at for at, (name, *_, origin) in enumerate(described) if not origin and name in trail.hidden
        ]
        fields = self._catalog.tables
        return SqlPlan(
            sql=MARK + sql,
            params=(),
            columns=tuple(columns),
            dropped=tuple(dropped),
            reads_sealed=any(name and fields[table].fields[name].sealed for table, name in trail.reads),
            volatile=trail.volatile,
            tables=frozenset(table for table, _ in trail.reads),
            reads=frozenset(trail.reads),
            canonical=b"",
        )

    def _column(self, described: _Described, at: int) -> ResultColumn:
        name, _, _, table, origin = described[at]
        source = self._catalog.tables.get(table or "")
        field = source.fields.get(origin or "") if source else None
        if source is None or field is None:
            return ResultColumn(name)
        ids = [i for i, other in enumerate(described) if other[3] == table and other[4] == "id"]
        if field.sealed and len(ids) != 1:
            raise _sealed_without_id(source, field, len(ids))
        made = result_column(field, source, ids[0] if field.sealed else -1)
        return replace(made, name=name, convert=_tolerant(field))


@contextmanager
def sql_errors(trail: Trail) -> Iterator[None]:
    """Turn what SQLite says about a client's statement into the refusal it deserves."""
    try:
        yield
    except apsw.ExecTraceAbort:
        raise
    except apsw.SQLError as error:
        # What the guard denies, SQLite reports as AuthError, or for functions as this.
        raise trail.refused or sql_error(error) from None
    except apsw.Error as error:
        raise _refusal(error, trail) from None
    except (KeyError, ValueError) as error:
        raise _bad_params(error) if isinstance(error, KeyError) else sql_error(error) from None


def _refusal(error: apsw.Error, trail: Trail) -> Exception:
    match error:
        case apsw.AuthError():
            return trail.refused or sql_error(error)
        case apsw.BindingsError():
            return _bad_params(error)
        case apsw.TooBigError() | apsw.NoMemError():
            return InvalidRequest(
                "query_too_large", "SQL made a value longer than 8 MiB.", fix="Build shorter values."
            )
        case apsw.MismatchError() | apsw.RangeError():
            return sql_error(error)
        case _:
            return error


def _bad_params(error: Exception) -> InvalidRequest:
    found = f"nothing for :{error.args[0]}" if isinstance(error, KeyError) else str(error)
    return InvalidRequest(
        "sql_bad_params", f"params: they do not fit the statement: {found}.", fix="Give one value for each."
    )


def sql_error(error: Exception) -> InvalidRequest:
    """The refusal that says what SQLite says."""
    if isinstance(error, UnicodeDecodeError):
        return InvalidRequest(
            "sql_error",
            "SQL: a text of the result is not valid UTF-8.",
            fix="Select binary and encrypted columns plainly, not as text.",
        )
    return InvalidRequest("sql_error", f"SQL: {error}.", fix="Correct the statement.")


def _require_end(rest: str) -> None:
    if not _NOTHING.fullmatch(rest):
        raise InvalidRequest(
            "sql_one_statement", "SQL: more than one statement.", fix="Send them one by one."
        )


def _sealed_without_id(source: Source, field: QueryField, ids: int) -> InvalidRequest:
    where = f"{source.table}.{field.name}"
    found = "is missing" if ids == 0 else "is there more than once, so that the row of the value is not clear"
    return InvalidRequest(
        "sql_sealed",
        f"SQL: {where} is encrypted and opens only with the id of its row, which {found}.",
        fix=f"Select {source.table}.id once beside it, both as plain columns.",
    )


def _tolerant(field: QueryField) -> Callable[[Any], Any] | None:
    """SQLite names the origin of a UNION's column after its first part, so values may have another form."""
    convert = field.to_wire
    if convert is None:
        return None
    if field.kind == "boolean" and not field.sealed:
        return lambda value: value == 1 if type(value) is int and 0 <= value <= 1 else value

    def convert_if_it_fits(value: Any) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, msgspec.DecodeError):
            return value

    return convert_if_it_fits


def _params(given: list[Any] | dict[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
    if isinstance(given, dict):
        return {name: _param(value, f"params.{name}") for name, value in given.items()}
    return tuple(_param(value, f"params[{index}]") for index, value in enumerate(given))


def _param(value: Any, path: str) -> Any:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, float | bytes):
        return value
    if isinstance(value, str):
        return text(value, path)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    raise bad_value(path, value, "null, true, false, a 64-bit integer, a number, a text or bytes")
