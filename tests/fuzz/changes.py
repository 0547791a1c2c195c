"""Random transactions: rows come, change, are deleted softly or for good, come back, and often stay as they are."""

from random import Random

from .values import OTHER_IDS, PART_IDS, THING_IDS, THINGS, Domain
from .world import Refused, Row, World, Writing

#: Rows of things around which an episode stays.
THINGS_WANTED = 36


class Changes:
    """The writer of one episode. log: what the last transactions did, for the report."""

    def __init__(self, rng: Random, world: World) -> None:
        self._rng = rng
        self._world = world
        self.domain = Domain(rng)
        self.log: dict[int, list[str]] = {}
        self._done: list[str] = []
        self._wanted = rng.choice((0, 4, THINGS_WANTED, THINGS_WANTED, len(THING_IDS)))
        #: How many rows a transaction changes; most episodes have small ones as well as large ones.
        self._sizes = rng.choice(((1,), (1, 1, 1, 2, 3), (1, 2, 4, 8, 12), (12,)))

    def fill(self) -> None:
        """The rows an episode begins with."""
        with self._world.batch() as writing, writing.transaction():
            for name in OTHER_IDS[:4]:
                writing.put("others", self.domain.other(name))
            for name in self._rng.sample(THING_IDS, self._wanted):
                writing.put("things", self.domain.thing(name))
            for name in self._rng.sample(PART_IDS, 10):
                writing.put("things__parts", self.domain.part(name, self._parent()))

    def batch(self, most: int) -> int:
        """Write up to `most` transactions that become visible together; returns how many."""
        first = self._world.seq
        with self._world.batch() as writing:
            for _ in range(self._rng.randint(1, most)):
                self._transaction(writing)
        return self._world.seq - first

    def _transaction(self, writing: Writing) -> None:
        self._done, before = [], self._world.seq
        with writing.transaction():
            if self._rng.random() < 0.02:
                self._sweep(writing)
            for _ in range(self._rng.choice(self._sizes)):
                self._change(writing)
            if self._rng.random() < 0.02:
                raise Refused
        if self._world.seq > before:
            self.log[self._world.seq] = self._done
            self.log.pop(self._world.seq - 200, None)

    def _change(self, writing: Writing) -> None:
        place = self._rng.random()
        if place < 0.80:
            self._change_thing(writing)
        elif place < 0.92:
            self._change_part(writing)
        elif place < 0.98:
            self._change_other(writing)

    # -- things ---------------------------------------------------------------------------------------------

    def _change_thing(self, writing: Writing) -> None:
        there = self._world.tables["things"]
        name = self._rng.choice(THING_IDS)
        if name not in there and (not there or self._rng.random() < 0.7 * self._wanted / len(there)):
            return self._put(writing, name)
        if not there:
            return None
        name = name if name in there else self._rng.choice(list(there))
        what = self._rng.random()
        if what < 0.10 + 0.3 * (len(there) > self._wanted):
            self._delete(writing, "things", name)
            if self._rng.random() < 0.3:
                self._put(writing, name)
        elif what < 0.14 + 0.3 * (len(there) > self._wanted):
            self._put(writing, name)
        elif what < 0.5:
            self._soft_delete(writing, there[name])
        elif what < 0.52:
            self._rename(writing, there[name])
        else:
            self._update(writing, there[name])
        return None

    def _sweep(self, writing: Writing) -> None:
        """Most rows on one side of some order go or come back, more than a window has to spare."""
        column = self._rng.choice(("id", "i", "t", "r", "updatedAt"))
        there = self._world.tables["things"].values()
        ordered = sorted(there, key=lambda row: (row[column] is not None, row[column]))
        if self._rng.random() < 0.5:
            ordered.reverse()
        values = {"deletedAt": self._rng.choice((None, self.domain.some("timestamp")))}
        for row in ordered[: self._rng.randint(10, 30)]:
            self._set(writing, "things", row, values)

    def _put(self, writing: Writing, name: str) -> None:
        row = self.domain.thing(name)
        self._done.append(f"put {row}")
        writing.put("things", row)

    def _delete(self, writing: Writing, table: str, name: str) -> None:
        self._done.append(f"delete {table} {name!r}")
        writing.delete(table, name)

    def _soft_delete(self, writing: Writing, row: Row) -> None:
        if row["deletedAt"] is not None:
            values = {"deletedAt": None}
        elif self._rng.random() < 0.25:
            values = {"deletedAt": self.domain.some("timestamp")}
        else:
            return self._update(writing, row)
        return self._set(writing, "things", row, values)

    def _update(self, writing: Writing, row: Row) -> None:
        columns = self._rng.sample(list(THINGS), self._rng.choice((1, 1, 1, 2, 3)))
        if self._rng.random() < 0.15:
            # Written, but the same as before.
            return self._set(writing, "things", row, {name: row[name] for name in columns})
        return self._set(writing, "things", row, {name: self.domain.maybe(THINGS[name]) for name in columns})

    def _rename(self, writing: Writing, row: Row) -> None:
        free = [name for name in THING_IDS if name not in self._world.tables["things"]]
        if free:
            self._set(writing, "things", row, {"id": self._rng.choice(free), "secret": row["secret"]})

    def _set(self, writing: Writing, table: str, row: Row, values: Row) -> None:
        self._done.append(f"update {table} {row['id']!r}: {values}")
        writing.update(table, row["id"], values)

    # -- child rows and what refs point to ------------------------------------------------------------------

    def _parent(self) -> str:
        return self._rng.choice(list(self._world.tables["things"]) or THING_IDS)

    def _change_part(self, writing: Writing) -> None:
        there = self._world.tables["things__parts"]
        name = self._rng.choice(PART_IDS)
        if name not in there:
            row = self.domain.part(name, self._parent())
            self._done.append(f"put part {row}")
            writing.put("things__parts", row)
        elif self._rng.random() < 0.4:
            self._delete(writing, "things__parts", name)
        else:
            fresh = self.domain.part(name, self._parent())
            column = self._rng.choice([column for column in fresh if column != "id"])
            self._set(writing, "things__parts", there[name], {column: fresh[column]})

    def _change_other(self, writing: Writing) -> None:
        there = self._world.tables["others"]
        name = self._rng.choice(OTHER_IDS)
        if name not in there or self._rng.random() < 0.2:
            row = self.domain.other(name)
            self._done.append(f"put other {row}")
            writing.put("others", row)
        elif self._rng.random() < 0.3:
            self._delete(writing, "others", name)
        else:
            column = self._rng.choice(["name", "rank", "deletedAt"])
            kind = {"name": "text", "rank": "integer", "deletedAt": "timestamp"}[column]
            self._set(writing, "others", there[name], {column: self.domain.maybe(kind)})
