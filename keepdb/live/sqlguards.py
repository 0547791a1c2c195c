"""Finds equality guards in clients' SQL: `WHERE t.column = ?` lets changes of other rows of `t` pass unseen.

This is not a parser. It knows one plain shape, a single SELECT over joined tables with AND between its conditions, of
tokens and keywords that are all listed here, and finds nothing in anything else: without a guard a query only runs
more often than it must.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apsw

from keepdb.query.catalog import Catalog, Kind, QueryField, Source
from keepdb.query.plan import SqlPlan

from .guards import Guard, guard_of

#: Every token that is known for certain. Left out on purpose: comments and strings without an end, blobs, numbers in
#: other forms, identifiers outside ASCII or in [] and ``, numbered parameters.
_TOKENS = re.compile(
    r"""(?P<skip>[ \t\n\r]+|--[^\n]*|/\*(?s:.*?)\*/)|(?<!\w)(?P<string>'(?:[^']|'')*')|"(?P<name>[^"]*)"(?!")"""
    r"""|(?P<number>\d+(?:\.\d+)?)(?![\w.$])|(?P<param>\?(?!\d)|:[A-Za-z]\w*)|(?P<word>[A-Za-z]\w*)(?!\$)"""
    r"""|(?P<sign>==|<=|>=|<>|!=|\|\||[=<>(),.;*+%]|-(?!-)|/(?!\*))""",
    re.ASCII,
)
#: With any other keyword the plain reading of FROM and WHERE might be wrong.
_KEYWORD_NAMES = """
    SELECT DISTINCT AS FROM JOIN LEFT OUTER INNER CROSS ON WHERE AND NOT IS NULL ISNULL NOTNULL IN LIKE GLOB ESCAPE
    COLLATE GROUP BY HAVING ORDER ASC DESC NULLS FIRST LAST LIMIT OFFSET
    """
_KEYWORDS = frozenset(_KEYWORD_NAMES.split())
_AFTER_WHERE = frozenset({"GROUP", "ORDER", "LIMIT", "HAVING"})
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
        """In capitals, "" for anything else, and within parentheses."""
        return self.text.upper() if self.kind == "word" and self.depth == 0 else ""

    @property
    def identifier(self) -> str:
        """As SQLite compares it; "" for anything else."""
        return self.text.lower() if self.kind in ("word", "name") else ""


def sql_guards(plan: SqlPlan, catalog: Catalog) -> dict[str, Guard]:
    """Guards by table. Tables without one are left out."""
    tokens = _read(plan.sql)
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
        # A table that is named twice is read in another way as well. What SQLite did not read was no condition.
        if (
            guard is not None
            and names.count(guard.table.lower()) == 1
            and (guard.table, guard.column) in plan.reads
        ):
            found.setdefault(guard.table, guard)
    return found


def _read(sql: str) -> list[_Token]:
    """The tokens of a statement; none if there is one that is not known."""
    tokens: list[_Token] = []
    depth = at = 0
    while at < len(sql):
        match = _TOKENS.match(sql, at)
        if match is None or "\0" in match[0]:
            return []
        at = match.end()
        kind = match.lastgroup or ""
        text = match[kind]
        depth -= text == ")" and kind == "sign"
        if kind != "skip":
            tokens.append(_Token(kind, text, depth))
        depth += text == "(" and kind == "sign"
    return tokens if all(map(_is_known, ["", *(token.text.upper() for token in tokens)], tokens)) else []


def _is_known(before: str, token: _Token) -> bool:
    """Whether a word is a known keyword or a name. Where only names can stand, some keywords are names as well."""
    word = token.text.upper()
    return (
        token.kind != "word"
        or word in _KEYWORDS
        or word not in apsw.keywords
        or before in (".", "FROM", "JOIN")
    )


def _clauses(tokens: Sequence[_Token]) -> tuple[Sequence[_Token], Sequence[_Token]] | None:
    """What stands behind FROM and behind WHERE, where there is one of each and of SELECT."""
    words = [token.text.upper() for token in tokens if token.kind == "word"]
    if any(words.count(word) != 1 for word in ("SELECT", "FROM", "WHERE")):
        # IS DISTINCT FROM makes for more than one.
        return None
    keywords = [token.keyword for token in tokens]
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
    if rest and rest[0].identifier and rest[0].keyword not in _KEYWORDS:
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
