"""Many commits on their way when their writer is killed: they are sent again together, in order."""

import time
from collections.abc import Callable

import psutil

from keepdb.client import NewEvent, Sidecar

Start = Callable[..., Sidecar]

COMMITS = 400
#: With a resend clock for each commit the backlog drained one per pause: more than a minute.
DRAINED_S = 15.0


def test_a_backlog_drains_at_once_after_the_writer_was_killed(start: Start) -> None:
    """Verifies: L1, L5, L6."""
    with start().connect() as db:
        pid = next(actor.pid for actor in db.status().actors if actor.name == "writer")
        events = [NewEvent(type="personas.created", data={"name": f"P{number}"}) for number in range(COMMITS)]
        pending = [db.submit([event], timeout=60) for event in events[: COMMITS // 2]]
        psutil.Process(pid).kill()
        pending += [db.submit([event], timeout=60) for event in events[COMMITS // 2 :]]
        killed_at = time.monotonic()
        seqs = [one.receipt().seq_first for one in pending]
        assert time.monotonic() - killed_at < DRAINED_S
        assert seqs == sorted(set(seqs))
        assert db.sql("SELECT count(*), count(DISTINCT name) FROM personas").rows == [[COMMITS, COMMITS]]
