"""What all live queries have in common: the rows they show, who is shown them, and the steps of one turn.

A window takes in changed rows (`apply`), reads its tables where that is not enough (`read`), says which rows must
be rendered (`prepare`) and makes the next result (`finish`). horizon.py, groups.py and rerun.py fill these in.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from keepdb.query.plan import CompiledQuery, Plan
from keepdb.query.run import Reader
from keepdb.storage.changes import Row
from messages.queries import Diff, Snapshot

from .buffer import Entry
from .result import Differences, Result

if TYPE_CHECKING:
    from .router import Route

#: What a row in memory costs beside its values: an entry, a sort key, lists and their places.
_ROW_BYTES = 512

Strategy = Literal["window", "groups", "rerun"]
Outcome = Literal["sent", "silent", "skipped", "refilled", "ran"]
#: (seq, what a change did, why).
Decision = tuple[int, Outcome, str]


class Window(ABC):
    """One live query. key: the plan's canonical form. routes: which changes concern it.

    seq: its rows hold everything up to there, -1 before the first read. stale: it must read its tables before it can
    take in changes again. pending: it waits for a read or for opened values, so its result is not that of seq.
    """

    __slots__ = (
        "changes",
        "counted",
        "failures",
        "key",
        "pending",
        "plan",
        "reads",
        "rests_until",
        "result",
        "routes",
        "sent",
        "seq",
        "stale",
        "subscribers",
    )
    strategy: ClassVar[Strategy]

    def __init__(self, plan: Plan) -> None:
        self.key = plan.canonical
        self.plan = plan
        self.routes: tuple[Route, ...] = ()
        self.subscribers: list[Subscriber] = []
        self.result: Result | None = None
        self.seq = -1
        self.stale = self.pending = True
        self.failures = 0
        #: Monotonic seconds before which it does not read its tables again, because that took long.
        self.rests_until = 0.0
        #: Its bytes in the total of all windows.
        self.counted = 0
        # For explain: changed rows taken in, reads of its tables, pushes.
        self.changes = self.reads = self.sent = 0

    @abstractmethod
    def apply(self, before: Row | None, after: Row | None) -> bool:
        """Take in one changed row; False if it makes no difference. Images are whole rows in table order."""

    @property
    @abstractmethod
    def needs_read(self) -> bool:
        """Whether changed rows alone no longer tell what to show."""

    @abstractmethod
    def read(self, reader: Reader, at_head: bool) -> None:
        """Read what is needed, inside the current snapshot. Raises what Reader.run raises.

        at_head: all changes up to the snapshot have been taken in, so that reading a part will do.
        """

    @property
    @abstractmethod
    def kept(self) -> int:
        """Number of rows in memory."""

    @property
    @abstractmethod
    def packed(self) -> int:
        """Bytes of these rows, see buffer.weigh()."""

    @property
    def size(self) -> int:
        """Bytes that it keeps in memory, about: rows as stored and as shown, and once more for every further result
        that some subscriber still has, though these share most of their rows."""
        old = {id(each.sent) for each in self.subscribers if each.sent not in (None, self.result)}
        return (2 * self.packed + _ROW_BYTES * self.kept) * max(1, len(old))

    @abstractmethod
    def prepare(self) -> list[Entry]:
        """Decide what to show; returns the rows of it that must be rendered before finish()."""

    @abstractmethod
    def finish(self, differences: Differences) -> bool:
        """Make the next result; False if it is what was shown before. Raises KeepError if it cannot be shown."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the result's columns."""
        plan = self.plan
        return plan.shape.names if isinstance(plan, CompiledQuery) else plan.names


class Subscriber:
    """One subscription of one client. credit: pushes it can take. sent: the result it has, None at first.

    at_least: what it is shown must be no older than this seq.
    """

    __slots__ = ("at_least", "client", "credit", "sent", "sub", "window")

    def __init__(self, client: bytes, sub: str, window: Window, credit: int, at_least: int) -> None:
        self.client = client
        self.sub = sub
        self.window = window
        self.credit = credit
        self.at_least = at_least
        self.sent: Result | None = None

    def catch_up(self, seq: int, differences: Differences) -> Snapshot | Diff | None:
        """The push that brings it to its window's result, paid with one credit; None if nothing differs."""
        window = self.window
        result, key = window.result, window.plan.key
        sent, self.sent = self.sent, result
        if result is None or sent is result:
            return None
        if sent is not None and differences.same(sent, result, key):
            return None
        self.credit -= 1
        window.sent += 1
        if sent is not None and key >= 0:
            made = differences.between(sent, result, key)
            # Past this size the whole result is the shorter message.
            if made.size <= len(result.rows):
                return Diff(
                    sub=self.sub,
                    seq=seq,
                    exit=made.exit,
                    update=made.update,
                    enter=made.enter,
                    move=made.move,
                    cursor=result.cursor,
                )
        return Snapshot(
            sub=self.sub, seq=seq, columns=window.columns, rows=result.rows, key=key, cursor=result.cursor
        )
