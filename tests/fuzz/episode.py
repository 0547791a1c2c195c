"""One episode: a world, an engine, a few queries, and some hundred transactions with everything in between.

Everything random comes from Random(f"{seed}/{number}"): the same numbers play the same episode again.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from keepdb.errors import InvalidRequest
from keepdb.query.limits import QueryLimits
from keepdb.storage.changes import RingLimits
from messages.queries import Push

from .answers import pack
from .changes import Changes
from .engine import Live, spare_rows
from .groups import Counter as Counts
from .holder import Holder, Wrong
from .questions import Asker, Question, Rows
from .statements import Author, Statement
from .world import Moment, World

_TURNS_MAX = 2_000
_CHANGES_SHOWN = 30
_CLIENTS = (b"one", b"two", b"three")


@dataclass
class Played:
    """What an episode did."""

    transactions: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class Finding(Exception):
    """A wrong result, with all one needs to see it again."""


class Episode:
    """seed, number: what it is made from. engine: another one, to see that the harness notices its faults."""

    def __init__(self, seed: int, number: int, folder: Path, engine: type[Live] = Live) -> None:
        self._name = f"--seed {seed} --episode {number}"
        self._rng = rng = Random(f"{seed}/{number}")
        ring = (
            RingLimits()
            if rng.random() < 0.7
            else RingLimits(rng.choice((1, 3, 8)), rng.choice((300, 20_000)))
        )
        # Turns that take in little, and turns that take in much.
        windows, size = rng.choice((1, 2, 32)), rng.choice((1, 600, 1 << 20))
        groups = rng.choice((3, 10_000, 10_000, 10_000))
        limits = QueryLimits(credit_max=8, turn_windows=windows, turn_bytes=size, live_groups=groups)
        self._world = World(folder, ring, limits)
        self._changes = Changes(rng, self._world)
        self._asker = Asker(rng, self._changes.domain)
        self._counts = Counts(rng, self._changes.domain)
        self._author = Author(rng, self._changes.domain)
        self._live = engine(self._world, limits)
        # Queries that are quick, that take up turns, and that must rest.
        self._live.clock.step = rng.choice((0.0, 0.0, 0.001, 0.03))
        self._spare = rng.choice((1, 2, 4, 10))
        self._names = 0
        self._questions: list[Question] = []
        self._holders: dict[tuple[bytes, str], Holder] = {}
        self._judged: Holder | None = None
        self.played = Played()

    def play(self, transactions: int) -> Played:
        """Raises Finding at the first wrong result."""
        try:
            with spare_rows(self._spare):
                self._play(transactions)
        except Wrong as wrong:
            raise self._finding(wrong, self._judged) from wrong
        except Exception as error:
            raise self._finding(Wrong(f"it raised {error!r}"), self._judged) from error
        finally:
            self._world.close()
        return self.played

    def _play(self, transactions: int) -> None:
        self._changes.fill()
        for _ in range(self._rng.choice((1, 3, 5, 8))):
            self._question()
        steps = self._steps()
        while self.played.transactions < transactions:
            for _ in range(self._rng.choice((1, 1, 1, 2, 4))):
                self._rng.choice(steps)()
            self._turns()
            self._forget()
        self._end()

    def _steps(self) -> list[Callable[[], None]]:
        """What may happen between two turns, each as often as it stands here."""
        often = [self._write] * 24 + [self._ack] * 8 + [self._subscribe] * 3 + [self._unsubscribe] * 2
        return [*often, self._question, self._retire, self._leave, self._flicker, *self._seldom()]

    def _seldom(self) -> list[Callable[[], None]]:
        return [self._restart] if self._rng.random() < 0.1 else []

    # -- steps ----------------------------------------------------------------------------------------------

    def _write(self) -> None:
        batches = self._rng.choice((1, 1, 1, 1, 2, 12 if self._rng.random() < 0.1 else 1))
        for _ in range(batches):
            done = self._changes.batch(3 if self._rng.random() < 0.2 else 1)
            if done:
                self._note()
            self.played.transactions += done

    def _note(self) -> None:
        for question in self._questions:
            if isinstance(question, Statement):
                question.note(self._world, self._world.moments[self._world.seq])

    def _question(self) -> None:
        """A new query, with one subscriber or more."""
        if len(self._questions) >= 8:
            return
        kind, moment = self._rng.random(), self._world.moments[self._world.seq]
        question: Question
        rows = [each for each in self._questions if isinstance(each, Rows)]
        if rows and kind < 0.15:
            related = [each for each in rows if "include" in each.parts]
            question = self._asker.near(self._rng.choice(related or rows))
        elif kind < 0.62:
            question = self._asker.rows(self._world.reader, moment)
        elif kind < 0.82:
            question = self._counts.groups(self._world.reader, moment)
        else:
            question = self._author.statement()
        self._questions.append(question)
        self._note()
        for _ in range(self._rng.choice((1, 1, 2, 3))):
            self._subscribe_to(question)

    def _retire(self) -> None:
        """Nobody asks one of the queries any more."""
        if len(self._questions) > 2:
            gone = self._questions.pop(self._rng.randrange(len(self._questions)))
            for holder in [holder for holder in self._holders.values() if holder.question is gone]:
                self._end_one(holder)

    def _subscribe(self) -> None:
        if self._questions:
            self._subscribe_to(self._rng.choice(self._questions))

    def _subscribe_to(self, question: Question) -> None:
        if len(self._holders) >= 16:
            return
        self._names += 1
        client, sub = self._rng.choice(_CLIENTS), f"s{self._names}"
        credit = self._rng.choice((1, 1, 2, 8, 8, 8))
        at_least = self._world.seq if self._rng.random() < 0.3 else 0
        try:
            plan = question.plan(self._world.reader)
        except InvalidRequest as error:
            raise Wrong(f"refused: {error.code} {error.message}: {question}") from error
        self._live.subscribe(client, sub, plan, credit, at_least)
        self._holders[client, sub] = Holder(client, sub, question, credit, at_least)

    def _unsubscribe(self) -> None:
        if self._holders:
            self._end_one(self._rng.choice(list(self._holders.values())))

    def _end_one(self, holder: Holder) -> None:
        self._live.unsubscribe(holder.client, holder.sub)
        del self._holders[holder.client, holder.sub]

    def _leave(self) -> None:
        """A client goes without a word."""
        if self._rng.random() < 0.2:
            client = self._rng.choice(_CLIENTS)
            self._live.drop_client(client)
            self._holders = {key: holder for key, holder in self._holders.items() if key[0] != client}

    def _ack(self) -> None:
        for holder in self._holders.values():
            if self._rng.random() < 0.6:
                count = holder.ack(self._rng.randint(1, 8))
                self._live.ack(holder.client, holder.sub, count)

    def _flicker(self) -> None:
        """The vault is away for a turn, and surely back before a query is given up."""
        self._world.down = not self._world.down and self._rng.random() < 0.5

    def _restart(self) -> None:
        """Another state file, whose positions may go back."""
        self._world.rebuild(max(1, self._world.seq + self._rng.choice((-50, -1, 0, 1))))
        self._note()
        self._changes.log.clear()
        self._live.restart()
        for holder in self._holders.values():
            holder.restart()

    # -- turns ----------------------------------------------------------------------------------------------

    def _turns(self) -> None:
        """Turns until the engine has nothing more to do; then everybody with credit holds the present."""
        if self._rng.random() < 0.1:
            self._world.reader.meanwhile = self._write
        self._live.retry()
        for _ in range(_TURNS_MAX):
            pushes = self._live.turn()
            head = self._world.reader.head
            for client, push in pushes:
                self._take(client, push, head)
            if self._live.rests() or self._live.waiting or head < self._world.seq:
                continue
            break
        else:
            raise Wrong("the engine does not come to rest")
        self._live.assert_counts_are_right()
        self._settle()
        self._world.down = False

    def _take(self, client: bytes, push: Push, head: int) -> None:
        holder = self._judged = self._holders.get((client, push.sub))
        if holder is None:
            raise Wrong(f"a push for {push.sub}, which is not subscribed")
        kind = holder.take(push, self._world.moments, head)
        self.played.counts[kind] += 1
        if holder.ended:
            del self._holders[client, push.sub]

    def _settle(self) -> None:
        moment = self._world.moments[self._world.seq]
        for holder in self._holders.values():
            if holder.credit and not (self._world.down and holder.question.sealed):
                self._judged = holder
                self.played.counts["judged"] += 1
                holder.settled(moment)
        self._judged = None
        if self._rng.random() < 0.02 and not self._world.down:
            self._ask_sqlite(moment)

    def _ask_sqlite(self, moment: Moment) -> None:
        """The oracle is judged itself, by a fresh read."""
        reader = self._world.reader
        for question in self._questions:
            answer = question.answer(moment)
            if answer.fails != "no":
                continue
            found = reader.run(question.plan(reader))
            self.played.counts["asked SQLite"] += 1
            if not answer.agrees(found.rows, pack(found.rows)):
                raise Wrong(f"a fresh read differs at {moment.seq}: {question}", answer.rows, found.rows)
            if (found.cursor is not None) != answer.more:
                raise Wrong(
                    f"a fresh read has the cursor {found.cursor} at {moment.seq}: {question}", answer.more
                )

    def _finding(self, wrong: Wrong, holder: Holder | None) -> Finding:
        """What one needs to see it again and to understand it."""
        since = holder.seq if holder else self._world.seq - 1
        lines = [
            f"{wrong}",
            f"replay: python -m tests.fuzz live {self._name}",
            f"transaction {self.played.transactions}, the writer is at {self._world.seq}",
            f"expected {wrong.expected}",
            f"got      {wrong.found}",
        ]
        if holder is not None:
            lines += [f"subscriber {holder}", f"it holds {holder.rows} of {holder.seq}"]
        changes = [
            f"  {seq}: {one}" for seq, done in self._changes.log.items() if seq > since for one in done
        ]
        lines += changes[-_CHANGES_SHOWN:]
        return Finding("\n".join(lines))

    def _forget(self) -> None:
        """Moments that no push can be of any more."""
        for seq in list(self._world.moments)[:-300]:
            del self._world.moments[seq]

    def _end(self) -> None:
        """Everybody gets credit, and so must hold the present."""
        for holder in self._holders.values():
            self._live.ack(holder.client, holder.sub, holder.ack(8))
        self._turns()
        for client in _CLIENTS:
            self._live.drop_client(client)
        self._live.assert_nothing_is_left()
