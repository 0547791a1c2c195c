"""Reads the `where` of a query: plain data from a client becomes a checked predicate, or a refusal."""

from typing import Any, get_args

from keepdb.errors import InvalidRequest

from .catalog import ORDERED, QueryField, Source, refuse_sealed
from .limits import QueryLimits
from .operands import operand, text
from .predicate import Not, Operator, Predicate, Term, group
from .refusal import bad_value, names, too_large, unknown

_ORDERING = frozenset({"<", "<=", ">", ">=", "between"})
_OPERATORS: tuple[Operator, ...] = get_args(Operator)
_TEXTS = frozenset({"text", "ref"})


class WhereReader:
    """Reads one filter and counts what it holds, so that the limits cover the whole of it."""

    def __init__(self, source: Source, limits: QueryLimits) -> None:
        self._source = source
        self._limits = limits
        self._terms = 0
        self._values = 0

    def read(self, where: Any, path: str = "where", depth: int = 1) -> Predicate:
        """The predicate of a map. Raises InvalidRequest. docs/queries.md has the grammar and the codes."""
        if not isinstance(where, dict):
            raise bad_value(path, where, 'a map like {"field": value} or {"or": [...]}')
        if depth > self._limits.depth:
            raise too_large(path, depth, "levels of and, or, not", self._limits.depth)
        if not where:
            # It compiles to something, too.
            self._count(1, path)
        return group("and", [self._entry(key, value, path, depth) for key, value in where.items()])

    def _entry(self, key: Any, value: Any, path: str, depth: int) -> Predicate:
        if key == "and" or key == "or":
            return self._group(key, value, f"{path}.{key}", depth)
        if key == "not":
            return Not(self.read(value, f"{path}.not", depth + 1))
        found = self._source.field(key, path)
        path = f"{path}.{key}"
        refuse_sealed(found, path, "in a filter")
        if not isinstance(value, dict):
            return self._term(found, "=", value, path)
        if not value:
            raise bad_value(path, value, 'a value or a map like {">": 1}')
        return group("and", [self._term(found, op, given, f"{path}.{op}") for op, given in value.items()])

    def _group(self, op: Any, value: Any, path: str, depth: int) -> Predicate:
        if not isinstance(value, list | tuple):
            raise bad_value(path, value, "a list of filters")
        if not value:
            self._count(1, path)
        return group(op, [self.read(part, f"{path}[{index}]", depth + 1) for index, part in enumerate(value)])

    def _count(self, terms: int, path: str) -> None:
        self._terms += terms
        if self._terms > self._limits.terms:
            raise too_large(path, self._terms, "terms", self._limits.terms)

    def _term(self, field: QueryField, op: Any, value: Any, path: str) -> Term:
        self._count(1, path)
        if op not in _OPERATORS:
            raise unknown("query_bad_operator", path, "an operator", op, _OPERATORS)
        match op:
            case "isNull":
                if not isinstance(value, bool):
                    raise bad_value(path, value, "true or false")
                return self._null(field, value, path)
            case "=" | "!=" if value is None:
                return self._null(field, op == "=", path)
            case "in" | "notIn":
                return Term(field, op, self._list(field, value, path))
            case "between":
                return Term(field, op, self._pair(field, value, path))
            case "like":
                return Term(field, op, self._pattern(field, value, path))
            case "contains":
                return Term(field, op, self._contained(field, value, path))
            case _:
                if op in _ORDERING:
                    _require_order(field, path)
                return Term(field, op, operand(field, value, path))

    def _null(self, field: QueryField, wanted: bool, path: str) -> Term:
        if field.kind == "rows":
            raise InvalidRequest(
                "query_bad_operator",
                f"{path}: {field.name} is a list of rows and cannot be filtered.",
                fix=f"Query {field.table}.{field.name} itself.",
            )
        return Term(field, "isNull", wanted)

    def _list(self, field: QueryField, value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise bad_value(path, value, "a list of values")
        if len(value) > self._limits.list_items:
            raise too_large(path, len(value), "items", self._limits.list_items)
        self._values += len(value)
        if self._values > self._limits.values:
            raise too_large(path, self._values, "values in lists", self._limits.values)
        return tuple(
            None if item is None else operand(field, item, f"{path}[{at}]") for at, item in enumerate(value)
        )

    def _pair(self, field: QueryField, value: Any, path: str) -> tuple[Any, Any]:
        _require_order(field, path)
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise bad_value(path, value, "a list of two values, the lowest and the highest")
        return operand(field, value[0], f"{path}[0]"), operand(field, value[1], f"{path}[1]")

    def _pattern(self, field: QueryField, value: Any, path: str) -> str:
        if field.kind not in _TEXTS:
            raise _wrong_operator(field, path, "texts")
        if len(pattern := text(value, path)) > self._limits.pattern_chars:
            raise too_large(path, len(pattern), "characters", self._limits.pattern_chars)
        return pattern

    def _contained(self, field: QueryField, value: Any, path: str) -> tuple[str, str]:
        if field.kind not in _TEXTS and field.kind != "list":
            raise _wrong_operator(field, path, "texts and lists")
        return ("list" if field.kind == "list" else "text"), text(value, path)


def _require_order(field: QueryField, path: str) -> None:
    if field.kind not in ORDERED or field.kind == "boolean":
        raise _wrong_operator(field, path, "texts, numbers, times, enums and refs")


def _wrong_operator(field: QueryField, path: str, fitting: str) -> InvalidRequest:
    return InvalidRequest(
        "query_bad_operator",
        f"{path}: {field.name} is a {field.kind}; this operator is for {fitting}.",
        fix=f"Use one of {names(_fitting(field))}.",
    )


def _fitting(field: QueryField) -> list[str]:
    if field.kind in ("json", "vector", "list"):
        return ["isNull"] + ["contains"] * (field.kind == "list")
    if field.kind == "boolean":
        return ["=", "!=", "in", "notIn", "isNull"]
    texts = ["like", "contains"] if field.kind in _TEXTS else []
    return ["=", "!=", "<", "<=", ">", ">=", "in", "notIn", "between", "isNull", *texts]
