"""What was promised, what was told and what is on disk; and whether the three agree. Pure: no process, no file.

The checker judges by identity: every event creates an entity whose id names its client, request and place, so
an event that is missing, there twice, out of order or nobody's is seen for what it is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec


class Request(msgspec.Struct, kw_only=True):
    """One commit as its client saw it. Times in monotonic seconds, 0.0 = never. refused: the code, or "".

    ids: the entities its events create, in order.
    """

    client: str
    number: int
    ids: tuple[str, ...]
    durability: str
    sent_at: float
    acked_at: float = 0.0
    seq_first: int = 0
    seq_last: int = 0
    refused: str = ""


class Logged(msgspec.Struct, frozen=True):
    """One event of the log."""

    seq: int
    entity: str
    client: str
    number: int


class Push(msgspec.Struct, frozen=True):
    """One push of a change stream. inserts: (seq, entity). rehydrate: continuity is broken, go on at seq_last."""

    seq_first: int
    seq_last: int
    inserts: tuple[tuple[int, str], ...] = ()
    rehydrate: bool = False


class Stream(msgspec.Struct):
    """All one subscriber was told. start: the position its subscription began at."""

    name: str
    start: int
    pushes: list[Push]


class Live(msgspec.Struct):
    """A live query's last result and what the same query gives when asked at the end."""

    name: str
    seqs: list[int]
    shown: list[str]
    expected: list[str]


class Evidence(msgspec.Struct, kw_only=True):
    """What is on disk after the end. chain_error: why the hash chain does not verify, or "".

    rows: ids of all rows in the state. digest, rebuilt_digest: of the state as found, and built anew.
    """

    log: list[Logged]
    rows: list[str]
    digest: str
    rebuilt_digest: str
    chain_error: str = ""


class History(msgspec.Struct, kw_only=True):
    """Everything about one session."""

    requests: list[Request]
    streams: list[Stream]
    live: list[Live]
    evidence: Evidence


def check(history: History) -> list[str]:
    """Every broken promise, one sentence each; an empty list is the proof."""
    evidence = history.evidence
    return [
        *_requests(history.requests, evidence.log),
        *_order(evidence.log),
        *_state(evidence),
        *(line for stream in history.streams for line in _stream(stream, evidence.log)),
        *(line for live in history.live for line in _live(live)),
    ]


def _requests(requests: list[Request], log: list[Logged]) -> Iterator[str]:
    """Acknowledged means there, once, where the receipt says; refused means not there; nothing is nobody's."""
    found: dict[tuple[str, int], list[Logged]] = defaultdict(list)
    for event in log:
        found[event.client, event.number].append(event)
    for request in requests:
        events = found.pop((request.client, request.number), [])
        name = f"request {request.number} of {request.client}"
        if request.acked_at and not events:
            yield f"lost: {name} was acknowledged at seq {request.seq_first} and is not in the log"
        elif events and request.refused:
            yield f"phantom: {name} was refused ({request.refused}) and is in the log"
        elif events:
            yield from _one_request(request, events, name)
    for (client, number), events in found.items():
        yield f"phantom: seq {events[0].seq} holds request {number} of {client}, which nobody sent"
    for entity, times in Counter(event.entity for event in log).items():
        if times > 1:
            yield f"doubled: {entity} was created {times} times"


def _one_request(request: Request, events: list[Logged], name: str) -> Iterator[str]:
    ids = tuple(event.entity for event in events)
    if len(ids) > len(request.ids):
        yield f"doubled: {name} has {len(request.ids)} events and is in the log with {len(ids)}"
    elif ids != request.ids:
        yield f"torn: {name} is in the log with other events than were sent"
    if request.acked_at and (request.seq_first, request.seq_last) != (events[0].seq, events[-1].seq):
        yield f"misplaced: {name} is not where its receipt says ({request.seq_first})"
    if events[-1].seq - events[0].seq != len(events) - 1:
        yield f"torn: the events of {name} do not stand together"


def _order(log: list[Logged]) -> Iterator[str]:
    for before, after in pairwise(log):
        if after.seq != before.seq + 1:
            yield f"gap: the log goes from seq {before.seq} to {after.seq}"
    last: dict[str, int] = {}
    for event in log:
        if event.number < last.get(event.client, 0):
            yield f"reordered: {event.client} sent {event.number} before {last[event.client]}, the log has it after"
        last[event.client] = event.number


def _state(evidence: Evidence) -> Iterator[str]:
    if evidence.chain_error:
        yield f"chain: {evidence.chain_error}"
    if evidence.digest != evidence.rebuilt_digest:
        yield "state: its digest is not that of a state built anew from the log"
    if (rows := set(evidence.rows)) != (created := {event.entity for event in evidence.log}):
        yield f"state: {len(created - rows)} created rows are missing, {len(rows - created)} are nobody's"


def _stream(stream: Stream, log: list[Logged]) -> Iterator[str]:
    """L3: each seq once, in order, with its content, up to the end; or told to re-hydrate."""
    at, told = stream.start, dict[int, str]()
    created = {event.seq: event.entity for event in log}
    for push in stream.pushes:
        if push.rehydrate:
            at = push.seq_last
            continue
        if push.seq_first > at + 1:
            yield f"stream gap: {stream.name} was told {push.seq_first} after {at}"
        elif push.seq_first <= at:
            yield f"stream repeat: {stream.name} was told {push.seq_first} after {at}"
        told.update(push.inserts)
        wrong = [seq for seq in range(push.seq_first, push.seq_last + 1) if told.get(seq) != created.get(seq)]
        if wrong:
            yield f"stream content: {stream.name} was told something else than the log has at seq {wrong[0]}"
        at = push.seq_last
    if log and at != log[-1].seq:
        yield f"stream end: {stream.name} stands at {at}, the log at {log[-1].seq}"


def _live(live: Live) -> Iterator[str]:
    if live.shown != live.expected:
        yield f"live: {live.name} shows another result than the query gives"
    if any(after < before for before, after in pairwise(live.seqs)):
        yield f"live: {live.name} went back in time"


def acknowledged(requests: Iterable[Request]) -> list[Request]:
    """The requests that were promised."""
    return [request for request in requests if request.acked_at]
