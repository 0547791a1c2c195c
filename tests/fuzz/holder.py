"""One subscriber: it holds what its pushes give it, as a client does, and judges every push it gets."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from keepdb.live.diff import apply_diff
from messages.base import decoder, encode
from messages.queries import Diff, LiveFailed, Push, Snapshot

from .answers import Answer, pack
from .questions import Question
from .world import Moment

_decode = decoder(Snapshot, Diff, LiveFailed).decode


class Wrong(Exception):
    """A wrong result. expected, found: rows."""

    def __init__(self, what: str, expected: Any = None, found: Any = None) -> None:
        super().__init__(what)
        self.expected = expected
        self.found = found


class Holder:
    """credit: pushes the engine may still send. at_least: no push may be older. ended: it was told so.

    rows, packed, seq: what it holds. moments: where its pushes are judged. pushes: how many of each kind came.
    """

    def __init__(self, client: bytes, sub: str, question: Question, credit: int, at_least: int) -> None:
        self.client, self.sub, self.question = client, sub, question
        self.credit, self.at_least = credit, at_least
        self.owed = 0
        self.ended = False
        self.fresh = True
        self.rows: list[Any] = []
        self.packed = b""
        self.cursor: str | None = None
        self.key = -1
        self.seq = -1

    def __str__(self) -> str:
        return f"{self.client.decode()}/{self.sub}: {self.question}"

    def restart(self) -> None:
        """The engine begins anew with another state file: positions may go back."""
        self.fresh, self.seq, self.at_least = True, -1, 0

    def take(self, push: Push, moments: dict[int, Moment], head: int) -> str:
        """Apply one push and judge it; returns its kind. head: the position of the snapshot it was made in."""
        given: Snapshot | Diff | LiveFailed = _decode(encode(push))
        if isinstance(given, LiveFailed):
            self.ended = True
            self._failed(given, moments[head])
        else:
            self._shown(given, moments, head)
        return type(given).__name__

    def _shown(self, push: Snapshot | Diff, moments: dict[int, Moment], head: int) -> None:
        self.credit -= 1
        self.owed += 1
        if self.credit < 0:
            raise Wrong("a push without credit")
        if push.seq not in moments or push.seq > head:
            raise Wrong(f"a push at {push.seq}, which nobody could see at {head}")
        if push.seq < max(self.seq, self.at_least):
            raise Wrong(f"a push at {push.seq} after {self.seq}, at least {self.at_least} was asked for")
        answer = self.question.answer(moments[push.seq])
        before, was, fresh = self.rows, (self.packed, self.cursor), self.fresh
        self._apply(push, answer)
        if answer.fails == "yes":
            raise Wrong(f"rows at {push.seq}, where SQLite refuses")
        if answer.fails == "no" and not answer.agrees(self.rows, self.packed):
            raise Wrong(f"wrong rows at {push.seq}", answer.rows, self.rows)
        if answer.fails == "no" and (self.cursor is not None) != answer.more:
            raise Wrong(f"wrong cursor at {push.seq}: {self.cursor}", answer.more)
        if not fresh and (self.packed, self.cursor) == was:
            raise Wrong(f"a push at {push.seq} that changes nothing")
        if not fresh and self.key >= 0:
            _judge(push, self.key, before, self.rows)

    def _apply(self, push: Snapshot | Diff, answer: Answer) -> None:
        if isinstance(push, Snapshot):
            self.rows, self.key = push.rows, push.key
            if answer.columns and (push.columns, push.key) != (answer.columns, answer.key):
                raise Wrong("wrong columns", [answer.columns, answer.key], [push.columns, push.key])
        elif self.fresh or self.key < 0:
            raise Wrong("a diff where there is nothing it could apply to")
        else:
            try:
                self.rows = apply_diff(self.rows, self.key, push)
            except (KeyError, IndexError) as error:
                raise Wrong(f"the diff {push} does not apply: {error!r}", answer.rows, self.rows) from error
        self.packed, self.cursor = pack(self.rows), push.cursor
        self.fresh, self.seq = False, push.seq

    def _failed(self, push: LiveFailed, moment: Moment) -> None:
        if self.question.answer(moment).fails == "no" and not push.retryable:
            raise Wrong(f"ended at {moment.seq} without reason: {push.code} {push.message}")

    def ack(self, count: int) -> int:
        """Give back up to so much credit; returns how much."""
        count = min(count, self.owed)
        self.owed -= count
        self.credit += count
        return count

    def settled(self, moment: Moment) -> None:
        """Judge that everything has come: it has credit left, and the engine nothing more to do."""
        answer = self.question.answer(moment)
        if answer.fails == "yes":
            raise Wrong(f"still alive at {moment.seq}, where SQLite refuses")
        if answer.fails == "no" and (self.fresh or not answer.agrees(self.rows, self.packed)):
            raise Wrong(f"nothing came for {moment.seq}, it holds {self.seq}", answer.rows, self.rows)
        if answer.fails == "no" and (self.cursor is not None) != answer.more:
            raise Wrong(f"no new cursor came for {moment.seq}", answer.more, self.cursor)


def _judge(push: Snapshot | Diff, key: int, before: Sequence[Any], after: Sequence[Any]) -> None:
    """Only what changed may be sent: rows that came or differ, whole; a snapshot where that is the shorter."""
    old = {row[key]: pack(row) for row in before}
    new = {row[key]: pack(row) for row in after}
    came = [name for name in new if name not in old]
    gone = [name for name in old if name not in new]
    differ = [name for name in new if name in old and old[name] != new[name]]
    places = {row[key]: at for at, row in enumerate(before)}
    kept = [places[row[key]] for row in after if row[key] in places]
    moves = len(kept) - _longest_increasing(kept)
    if isinstance(push, Diff):
        entered = [row[key] for _, row in push.enter]
        updated = [row[key] for row in push.update]
        if sorted(map(repr, entered)) != sorted(map(repr, came)):
            raise Wrong("a diff with other rows than those that came", came, entered)
        if sorted(map(repr, updated)) != sorted(map(repr, differ)):
            raise Wrong("a diff with other rows than those that differ", differ, updated)
        if sorted(map(repr, push.exit)) != sorted(map(repr, gone)):
            raise Wrong("a diff with other keys than those that left", gone, push.exit)
        if len(push.move) > moves:
            raise Wrong(f"a diff that moves more than {moves} rows", moves, push.move)
    elif len(came) + len(gone) + len(differ) + moves <= len(after):
        raise Wrong("a snapshot where a diff is shorter", [came, gone, differ, moves], after)


def _longest_increasing(numbers: Sequence[int]) -> int:
    tails: list[int] = []
    for number in numbers:
        at = bisect_left(tails, number)
        tails[at : at + 1] = [number]
    return len(tails)
