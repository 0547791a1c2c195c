"""One live query and its subscribers: the kept result, and what each has been sent of it."""

from dataclasses import dataclass, field, replace

from keepdb.query.plan import Plan
from keepdb.query.run import RawResult
from messages.queries import Diff, LiveFailed, Snapshot

from .diff import RowDiff, diff_rows, same_value

Push = Snapshot | Diff | LiveFailed


class Differences:
    """Diffs made during one refresh, each once, however many subscribers it goes to."""

    def __init__(self) -> None:
        # The results are kept along: while they live, their ids name nothing else.
        self._made: dict[tuple[int, int], tuple[RawResult, RawResult, RowDiff]] = {}

    def between(self, old: RawResult, new: RawResult) -> RowDiff:
        """What turns one result of a query with keys into another."""
        pair = (id(old), id(new))
        if pair not in self._made:
            self._made[pair] = (old, new, diff_rows(old.rows, new.rows, new.key))
        return self._made[pair][2]

    def same(self, old: RawResult, new: RawResult) -> bool:
        """Whether two results of one query hold the same rows."""
        return self.between(old, new).size == 0 if new.key >= 0 else same_value(old.rows, new.rows)


@dataclass(slots=True, eq=False)
class Subscriber:
    """One subscription of one client. credit: pushes it can take. sent: the result it has, None at first.

    `sent` is shared with the window and costs memory only while the subscriber lags behind.
    """

    client: bytes
    sub: str
    window: "Window"
    credit: int
    sent: RawResult | None = None

    def catch_up(self, result: RawResult, seq: int, differences: Differences) -> Push | None:
        """The push that brings it to `result`, paid with one credit; None if nothing differs."""
        sent, self.sent = self.sent, result
        if sent is result or (sent is not None and differences.same(sent, result)):
            return None
        self.credit -= 1
        if sent is not None and result.key >= 0:
            made = differences.between(sent, result)
            # Past this size the whole result is the shorter message.
            if made.size <= len(result.rows):
                return Diff(
                    sub=self.sub,
                    seq=seq,
                    exit=made.exit,
                    update=made.update,
                    enter=made.enter,
                    move=made.move,
                )
        return Snapshot(sub=self.sub, seq=seq, columns=result.columns, rows=result.rows, key=result.key)


@dataclass(slots=True, eq=False)
class Window:
    """The kept result of a query. key: the plan's canonical form. result: None until it first ran."""

    key: bytes
    plan: Plan
    subscribers: list[Subscriber] = field(default_factory=list)
    result: RawResult | None = None
    failures: int = 0

    @property
    def seq(self) -> int:
        """The position of the kept result, -1 before the first."""
        return -1 if self.result is None else self.result.seq

    def take(self, result: RawResult, differences: Differences) -> None:
        """Keep a newer result. If it holds the same rows, those who were sent the old one have this one."""
        self.failures = 0
        old = self.result
        if old is not None and differences.same(old, result):
            # The old rows, so that subscribers who lag further behind share them.
            result = replace(result, rows=old.rows)
            for subscriber in self.subscribers:
                if subscriber.sent is old:
                    subscriber.sent = result
        self.result = result
