"""Finds equality guards in clients' SQL: `WHERE t.column = ?` lets changes of other rows of `t` pass unseen.

This is not a parser. It knows one plain shape, a single SELECT with AND between its conditions, and finds nothing in
anything else: without a guard a query only runs more often than it must.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keepdb.query.catalog import Catalog, Kind, QueryField, Source
from keepdb.query.plan import SqlPlan

from .guards import Guard, guard_of

_TOKENS = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*(?s:.*?)\*/)|(?P<string>'(?:[^']|'')*')|"(?P<name>(?:[^"]|"")*)"|(?P<number>\d[\w.]*)"""
    r"""|(?P<param>\?\d*|[:@$#]\w+)|(?P<word>[^\W\d][\w$]*)|(?P<sign>==|.)""",
    re.DOTALL,
)
#: With one of these the plain reading of FROM and WHERE might be wrong.
_TOO_MUCH = frozenset({"WITH", "UNION", "INTERSECT", "EXCEPT", "VALUES", "CASE", "BETWEEN", "OR", "EXPLAIN"})
_AFTER_WHERE = frozenset({"GROUP", "ORDER", "LIMIT", "HAVING", "WINDOW"})
_JOINING = {"JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "OUTER", "ON", "USING"}
_NO_ALIAS = _AFTER_WHERE | _JOINING | {"WHERE", "INDEXED", "NOT"}
_TYPES: dict[Kind, tuple[type, ...]] = {
    "text": (str,),
    "ref": (str,),
    "enum": (str,),
    "integer": (int,),
    "timestamp": (int,),
    "boolean": (int,),
    "real": (int, float),
}


class _Token(NamedTuple):
    """kind: skip, string, name (quoted), number, param, word or sign. depth: of parentheses around it."""

    kind: str
    text: str
    depth: int

    @property
    def keyword(self) -> str:
        return self.text.upper() if self.kind == "word" and self.depth == 0 else ""

    @property
    def identifier(self) -> str:
        """As SQLite compares it; "" for anything else."""
        return self.text.lower() if self.kind in ("word", "name") else ""


def sql_guards(plan: SqlPlan, catalog: Catalog) -> dict[str, Guard]:
    """Guards by table. Tables without one are left out."""
    tokens = list(_read(plan.sql))
    words = [token.text.upper() for token in tokens if token.kind == "word"]
    if words.count("SELECT") != 1 or not _TOO_MUCH.isdisjoint(words) or any(t.text in "[`" for t in tokens):
        return {}
    clauses = _clauses(tokens)
    if clauses is None:
        return {}
    tables = {source.table.lower(): source for source in catalog.tables.values()}
    aliases = _aliases(clauses[0], tables)
    names = [token.identifier for token, after in zip(tokens, [*tokens[1:], None], strict=True)
             if after is None or after.text != "."]  # fmt: skip
    found: dict[str, Guard] = {}
    for condition in _split(clauses[1]):
        guard = _guard(condition, aliases, _Values(tokens, plan.params))
        # A table that is named twice is read in another way as well.
        if guard is not None and names.count(guard.table.lower()) == 1:
            found.setdefault(guard.table, guard)
    return found


def _read(sql: str) -> Iterator[_Token]:
    depth = 0
    for match in _TOKENS.finditer(sql):
        kind = match.lastgroup or ""
        text = match[kind]
        depth -= text == ")" and kind == "sign"
        if kind != "skip":
            yield _Token(kind, text, depth)
        depth += text == "(" and kind == "sign"


def _clauses(tokens: Sequence[_Token]) -> tuple[Sequence[_Token], Sequence[_Token]] | None:
    """What stands behind FROM and behind WHERE."""
    keywords = [token.keyword for token in tokens]
    if keywords.count("FROM") != 1 or keywords.count("WHERE") != 1:
        # IS DISTINCT FROM makes for more than one.
        return None
    at, where = keywords.index("FROM"), keywords.index("WHERE")
    ends = [
        i for i, word in enumerate(keywords) if i > where and (word in _AFTER_WHERE or tokens[i].text == ";")
    ]
    return tokens[at + 1 : where], tokens[where + 1 : min(ends, default=len(tokens))]


def _aliases(tokens: Sequence[_Token], tables: dict[str, Source]) -> dict[str, Source]:
    """The tables of a FROM clause by the name they go by; empty where it holds anything but tables."""
    found: dict[str, Source] = {}
    expected = True
    for at, token in enumerate(tokens):
        if expected:
            source = tables.get(token.identifier)
            alias = _alias(tokens, at)
            if source is None or alias is None or alias in found:
                return {}
            found[alias] = source
        expected = token.keyword == "JOIN" or (token.text == "," and token.depth == 0)
    return found


def _alias(tokens: Sequence[_Token], at: int) -> str | None:
    """What the table named at this place goes by; None for a function or a name in two parts."""
    rest = tokens[at + 1 : at + 3]
    if rest and rest[0].text in ("(", "."):
        return None
    if len(rest) == 2 and rest[0].keyword == "AS":
        return rest[1].identifier or None
    if rest and rest[0].identifier and rest[0].keyword not in _NO_ALIAS:
        return rest[0].identifier
    return tokens[at].identifier


def _split(tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
    """The conditions between the ANDs."""
    condition: list[_Token] = []
    for token in tokens:
        if token.keyword == "AND":
            yield condition
            condition = []
        else:
            condition.append(token)
    yield condition


class _Values:
    """What parameters stand for: plain ? by number, :name by name."""

    def __init__(self, tokens: Sequence[_Token], params: Any) -> None:
        self._given = params
        self._marks = [token for token in tokens if token.kind == "param"]

    def of(self, token: _Token) -> Any:
        """The value of a token; None where it is none, or not for certain."""
        match token.kind:
            case "string":
                return token.text[1:-1].replace("''", "'")
            case "number":
                return int(token.text) if token.text.isdecimal() and int(token.text) < 2**63 else None
            case "param" if isinstance(self._given, dict):
                return self._given.get(token.text[1:]) if token.text[0] == ":" else None
            case "param" if all(mark.text == "?" for mark in self._marks):
                place = next(at for at, mark in enumerate(self._marks) if mark is token)
                return self._given[place] if place < len(self._given) else None
        return None


def _guard(condition: list[_Token], aliases: dict[str, Source], values: _Values) -> Guard | None:
    """The guard in `column = value` or `alias.column = value`."""
    if len(condition) not in (3, 5) or condition[-2].text not in ("=", "==") or condition[-2].kind != "sign":
        return None
    field = _column(condition[:-2], aliases)
    if field is None or field.sealed:
        return None
    value = values.of(condition[-1])
    # Of another type, SQLite would convert one of the two before it compares.
    return guard_of(field, (value,)) if type(value) in _TYPES.get(field.kind, ()) else None


def _column(tokens: list[_Token], aliases: dict[str, Source]) -> QueryField | None:
    if len(tokens) == 3:
        source = aliases.get(tokens[0].identifier) if tokens[1].text == "." else None
    else:
        source = next(iter(aliases.values())) if len(aliases) == 1 else None
    if source is None:
        return None
    named = {name.lower(): field for name, field in source.fields.items()}
    return named.get(tokens[-1].identifier)
