"""Watchers: subscribers that write down what they are told, each in a thread with a connection of its own."""

import abc
import threading

from keepdb.client import ChangeStream, LiveQuery, Sidecar
from keepdb.client.database import as_query
from messages.queries import Rehydrate

from .history import Live, Push, Stream

#: How long a watcher may need to be told of the last event.
CATCH_UP_S = 30.0
_PAUSE_S = 0.2

NEWEST = {"from": "memoryEntities", "orderBy": ["-createdAt"], "limit": 25}


class Watcher(threading.Thread, abc.ABC):
    """Base: runs until it has been told everything up to `end(seq)`, or until time is up."""

    def __init__(self, name: str, sidecar: Sidecar) -> None:
        super().__init__(name=name, daemon=True)
        self.error: BaseException | None = None
        self.subscribed = threading.Event()
        self._sidecar = sidecar
        self._goal: int | None = None

    def end(self, seq: int) -> None:
        """Stop as soon as the log's last event has been heard of."""
        self._goal = seq
        self.join(CATCH_UP_S)
        # A watcher that never gets there is told apart by what it has; the checker says so.
        self._goal = -1
        self.join(CATCH_UP_S)

    def reached(self, seq: int) -> bool:
        return self._goal is not None and seq >= self._goal

    def run(self) -> None:
        try:
            self.watch()
        except BaseException as error:
            self.error = error
        finally:
            self.subscribed.set()

    @abc.abstractmethod
    def watch(self) -> None:
        """Take in pushes until told to stop."""


class StreamWatcher(Watcher):
    """A change stream at one query actor, from the beginning."""

    def __init__(self, service: str, sidecar: Sidecar) -> None:
        super().__init__(f"stream-{service}", sidecar)
        self.stream = Stream(self.name, 0, [])
        self._service = service

    def watch(self) -> None:
        with self._sidecar.connect() as db, ChangeStream(db.link, self._service, 0, ()) as changes:
            self.subscribed.set()
            while not self.reached(changes.seq):
                push = changes.update(_PAUSE_S)
                if isinstance(push, Rehydrate):
                    self.stream.pushes.append(Push(push.seq, push.seq, rehydrate=True))
                elif push is not None:
                    inserts = tuple((seq, entity) for seq, _, op, entity in push.rows if op == "insert")
                    self.stream.pushes.append(Push(push.seq_first, push.seq_last, inserts))


class LiveWatcher(Watcher):
    """The newest rows as a live query. expected: asked when everything has come to rest."""

    def __init__(self, sidecar: Sidecar) -> None:
        super().__init__("live-newest", sidecar)
        self.live = Live(self.name, [], [], [])

    def watch(self) -> None:
        with self._sidecar.connect() as db, LiveQuery(db.link, "query-1", as_query(NEWEST)) as live:
            self.subscribed.set()
            while not self.reached(live.seq):
                result = live.update(_PAUSE_S)
                if result is not None:
                    self.live.seqs.append(result.seq)
            self.live.shown = [str(row["id"]) for row in live_rows(live)]
            self.live.expected = [row["id"] for row in db.query(NEWEST).dicts()]


def live_rows(live: LiveQuery) -> list[dict[str, object]]:
    """A live query's rows as maps."""
    return [dict(zip(live.columns, row, strict=True)) for row in live.rows]
