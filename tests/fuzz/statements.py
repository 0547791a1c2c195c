"""SQL that clients ask: joins, and conditions that look like equality guards and are none.

The oracle is SQLite itself, on the writer's connection right after the transaction: no compiler, no guards.
"""

import re
from random import Random
from typing import Any

import msgspec

from keepdb.query.plan import Plan
from keepdb.query.run import Reader
from messages.queries import Sql

from .answers import Answer
from .values import Domain
from .world import SEALED, Moment, World, unsealed


def _split(texts: str) -> tuple[str, ...]:
    """Statements, an empty line between."""
    return tuple(text.strip() for text in texts.split("\n\n"))


#: Single table; :x, :i and :t are drawn anew for each question. Every order is total.
_ALONE = _split("""
SELECT id, t FROM things WHERE x = :x ORDER BY id

SELECT id, i, secret FROM things WHERE x = :x AND deletedAt IS NULL ORDER BY i, id

SELECT id, r FROM things WHERE e = 'low' AND i > :i ORDER BY id

SELECT id FROM things WHERE 'low' = e ORDER BY id DESC LIMIT 3

SELECT id FROM things WHERE x = :x OR i = :i ORDER BY id

SELECT id FROM things WHERE NOT x = :x ORDER BY id

SELECT id FROM things WHERE NOT (x = :x AND i = :i) ORDER BY id

SELECT id FROM things WHERE x = :x COLLATE NOCASE ORDER BY id

SELECT id FROM things WHERE x COLLATE NOCASE = :x ORDER BY id

SELECT id FROM things WHERE x = :x IS NULL ORDER BY id

SELECT id FROM things WHERE x = :x = 0 ORDER BY id

SELECT id FROM things WHERE x = :x || '' ORDER BY id

SELECT id FROM things WHERE i BETWEEN 0 AND x = :x ORDER BY id

SELECT id FROM things WHERE CASE WHEN i AND x = :x THEN 1 ELSE b END ORDER BY id

SELECT id FROM things WHERE b AND /* AND i = 1 */ x = :x -- AND i = 2
 ORDER BY id

SELECT id FROM things WHERE t = 'it''s AND x = ' OR x = :x ORDER BY id

SELECT id FROM things WHERE "x" = :x AND [i] > :i ORDER BY id

SELECT th.id, th.t FROM things AS th WHERE th.x = :x AND th.i IS NOT NULL ORDER BY th.id

SELECT id FROM things WHERE x IS :x ORDER BY id

SELECT id FROM things WHERE x == :x AND b = TRUE ORDER BY id

SELECT id FROM things WHERE i + 1 = :i ORDER BY id

SELECT id FROM things WHERE -i = :i ORDER BY id

SELECT id FROM things WHERE i = '1' ORDER BY id

SELECT id FROM things WHERE i = 1.0 ORDER BY id

SELECT id FROM things WHERE r = 1 ORDER BY id

SELECT id FROM things WHERE t = 1 ORDER BY id

SELECT id FROM things WHERE i = :t ORDER BY id

SELECT id FROM things WHERE t = :i ORDER BY id

SELECT id FROM things WHERE r = :i ORDER BY id

SELECT id FROM things WHERE t = :t AND t = :t ORDER BY id

SELECT id, :i AS i FROM things WHERE x = :x ORDER BY id

SELECT count(*) AS n, min(i) AS least, group_concat(DISTINCT e ORDER BY e) AS es FROM things WHERE x = :x

SELECT e, count(*) AS n, max(t) AS t FROM things WHERE deletedAt IS NULL GROUP BY e HAVING e = 'low'
OR n > 2 ORDER BY e

SELECT id FROM things WHERE i > :i /* AND x = 'o1' */ ORDER BY id

SELECT count(*) AS n FROM things WHERE i >= :i /* AND x = 'o1' AND e = 'low'

SELECT count(*) AS n, max(t) AS t FROM things WHERE e IS NOT NULL /* AND e = 'low'

SELECT id, t FROM things WHERE x = :x AND y = :x AND i > :i ORDER BY id

SELECT id FROM things WHERE x = :x UNION SELECT id FROM things WHERE i = :i ORDER BY 1

SELECT id FROM things WHERE x IN (SELECT x FROM things WHERE i = :i) ORDER BY id

SELECT count(*) AS n FROM things

SELECT 1 AS one

WITH mine AS (SELECT id, i FROM things WHERE x = :x) SELECT id FROM mine WHERE i = (SELECT max(i)
FROM mine) ORDER BY id

SELECT id, rank() OVER (PARTITION BY e ORDER BY w) AS place FROM things WHERE x = :x ORDER BY id
""")
_JOINED = _split("""
SELECT o.id, o.name, count(*) AS n FROM others o JOIN things t ON t.x = o.id WHERE t.deletedAt IS
NULL GROUP BY o.id ORDER BY o.id

SELECT o.id, t.id AS thing, t.secret FROM others o, things t WHERE t.x = o.id AND o.id = :x ORDER BY
t.id

SELECT o.id, t.i FROM others o LEFT JOIN things t ON t.x = o.id AND t.e = 'low' ORDER BY o.id, t.id

SELECT o.id, t.id AS thing FROM others o LEFT JOIN things t ON t.x = o.id WHERE t.id IS NULL OR t.i
= :i ORDER BY o.id, t.id

SELECT a.id, b.id AS other FROM things a JOIN things b ON a.x = b.x AND a.id < b.id WHERE a.i = :i
ORDER BY a.id, b.id LIMIT 20

SELECT t.id, t.t, (SELECT count(*) FROM things__parts p WHERE p.parent = t.id) AS parts FROM things
t WHERE t.x = :x ORDER BY t.id

SELECT t.id, o.name FROM things t LEFT JOIN others o ON o.id = t.y WHERE o.rank = :i AND t.x = :x ORDER BY t.id

SELECT t.id, z.t FROM things t JOIN things z ON z.id = t.z WHERE t.x = :x AND z.i = :i ORDER BY t.id

SELECT p.id, p.label, t.t FROM things__parts p JOIN things t ON t.id = p.parent WHERE p.done = 1 AND
t.x = :x ORDER BY p.id

SELECT t.id FROM things t WHERE EXISTS (SELECT 1 FROM others o WHERE o.id = t.x AND o.rank = :i)
ORDER BY t.id

SELECT t.id, j.value FROM things t, json_each(t.l) j WHERE t.x = :x ORDER BY t.id, j.key

SELECT t.id FROM things t JOIN others x ON x.id = t.x WHERE x.rank = :i ORDER BY t.id
""")
ALL = (*_ALONE, *_JOINED)
_NAMED = re.compile(r":([xit])\b")


class Statement:
    """One statement with its parameters. at_once: SQLite's answer as of the writer's present."""

    tables: tuple[str, ...] = ("things", "things__parts", "others")

    def __init__(self, number: int, text: str, params: dict[str, Any] | list[Any]) -> None:
        self.number = number
        self.text = text
        self.params = params
        self.sealed = "secret" in text
        self._read: list[Any] = []
        self._rows: list[list[Any]] = []
        self._known: tuple[Any, Answer] | None = None

    def __str__(self) -> str:
        return f"{self.text} {self.params}"

    def plan(self, reader: Reader) -> Plan:
        return reader.plan(None, Sql(sql=self.text, params=self.params))

    def note(self, world: World, moment: Moment) -> None:
        """Ask SQLite now and keep the answer with this moment, which is the writer's present."""
        read = [moment.tables[table] for table in self.tables]
        if not self._read or any(old is not new for old, new in zip(self._read, read, strict=True)):
            self._read = read
            found = world.state.connection.execute(self.text, self.params)
            self._rows = [self._opened(list(row)) for row in found]
        moment.answers[self.number] = self._rows

    def _opened(self, row: list[Any]) -> list[Any]:
        if not self.sealed:
            return row
        # The sealed value is last in these statements, and carries the id it was made for.
        if row[-1] is not None:
            name = msgspec.msgpack.decode(row[-1][2:])[2]
            plain = unsealed(*SEALED["things", "secret"], name, row[-1])
            row[-1] = None if plain is None else msgspec.msgpack.decode(plain)
        return row

    def answer(self, moment: Moment) -> Answer:
        rows = moment.answers[self.number]
        if self._known is None or self._known[0] is not rows:
            self._known = (rows, Answer((), -1, rows))
        return self._known[1]


class Author:
    """Draws statements."""

    def __init__(self, rng: Random, domain: Domain) -> None:
        self._rng = rng
        self._domain = domain
        self._made = 0

    def statement(self) -> Statement:
        text = self._rng.choice(_ALONE if self._rng.random() < 0.7 else _JOINED)
        self._made += 1
        params: dict[str, Any] | list[Any] = self._params(text)
        if self._rng.random() < 0.4:
            params = [params[name] for name in _NAMED.findall(text)]
            text = _NAMED.sub("?", text)
        return Statement(self._made, text, params)

    def _params(self, text: str) -> dict[str, Any]:
        drawn = {
            "x": self._domain.some("ref"),
            "i": self._domain.some("integer"),
            "t": self._domain.some("text"),
        }
        if self._rng.random() < 0.05:
            drawn["x"] = None
        return {name: value for name, value in drawn.items() if f":{name}" in text}
