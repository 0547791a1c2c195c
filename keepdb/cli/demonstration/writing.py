"""Commits the documents with many commits in flight, and kills the writer in the middle."""

from collections import deque
from collections.abc import Callable, Iterator

import msgspec
import psutil

from keepdb.cli.demonstration.docstrings import Document
from keepdb.client.database import Database, PendingCommit
from keepdb.clock import Clock
from keepdb.errors import Unavailable
from messages.commits import NewEvent

#: Documents in one commit, all or none; commits on their way at once share one sync.
EVENTS_EACH = 8
IN_FLIGHT = 64
#: Longer than any restart; an answer that takes this long has failed.
ANSWER_S = 60.0


class Written(msgspec.Struct):
    """acknowledged: id -> document for every document a receipt names. personas: how many were made.

    Times in seconds; unanswered: commits on their way when the writer was killed.
    """

    acknowledged: dict[str, Document] = {}
    personas: int = 0
    commits: int = 0
    seconds: float = 0.0
    killed_pid: int = 0
    unanswered: int = 0
    next_acknowledgement_s: float = 0.0


class _Sent(msgspec.Struct):
    pending: PendingCommit
    events: list[NewEvent]
    documents: list[Document | None]


def write(
    db: Database, documents: list[Document], clock: Clock, progress: Callable[[int, int], None]
) -> Written:
    """Commit everything; SIGKILL the writer when half of it is acknowledged. Raises KeepError."""
    written = Written()
    batches = commits_of(documents, written)
    waiting: deque[_Sent] = deque()
    began = clock.monotonic()
    for events, of in batches:
        waiting.append(_Sent(db.submit(events, timeout=ANSWER_S), events, of))
        written.commits += 1
        if not written.killed_pid and len(written.acknowledged) * 2 >= len(documents):
            _kill_writer(db, batches, waiting, written, clock)
        while len(waiting) >= IN_FLIGHT:
            _take(waiting.popleft(), written)
        progress(len(written.acknowledged), len(documents))
    while waiting:
        _take(waiting.popleft(), written)
    written.seconds = clock.monotonic() - began
    return written


def commits_of(
    documents: list[Document], written: Written
) -> Iterator[tuple[list[NewEvent], list[Document | None]]]:
    """Commits as (events, the document of each event); a package's persona is made before its first document."""
    known: set[str] = set()
    for at in range(0, len(documents), EVENTS_EACH):
        events: list[NewEvent] = []
        of: list[Document | None] = []
        for document in documents[at : at + EVENTS_EACH]:
            if document.package not in known:
                known.add(document.package)
                written.personas += 1
                events.append(
                    NewEvent(
                        type="personas.created", id=persona_id(document.package),
                        data={"name": document.package, "description": f"The package {document.package}"},
                    )
                )  # fmt: skip
                of.append(None)
            # Without an id: the writer makes one, so an event carried out twice would be a second row.
            events.append(NewEvent(type="memoryEntities.created", data=memory_of(document)))
            of.append(document)
        yield events, of


def persona_id(package: str) -> str:
    return f"python.{package}"


def memory_of(document: Document) -> dict[str, object]:
    """A docstring as a memory: its importance grows with its length."""
    return {
        "personaId": persona_id(document.package),
        "type": "knowledge",
        "name": document.name,
        "content": document.text,
        "summary": document.text.partition("\n")[0],
        "tags": [document.kind],
        "importance": min(100, len(document.text) // 20),
        "metadata": {"line": document.line},
    }


def _kill_writer(
    db: Database,
    batches: Iterator[tuple[list[NewEvent], list[Document | None]]],
    waiting: deque[_Sent],
    written: Written,
    clock: Clock,
) -> None:
    """SIGKILL, then measure until a commit that was sent after it is acknowledged."""
    row = next(row for row in db.status().actors if row.name == "writer")
    written.killed_pid = row.pid
    written.unanswered = sum(not sent.pending.answered for sent in waiting)
    killed_at = clock.monotonic()
    psutil.Process(row.pid).kill()
    following = next(batches, None)
    if following is None:
        raise Unavailable(
            "demo_too_small", "Nothing was left to commit after the kill.", fix="Use more --docs."
        )
    sent = _Sent(db.submit(following[0], timeout=ANSWER_S), *following)
    waiting.append(sent)
    written.commits += 1
    sent.pending.receipt()
    written.next_acknowledgement_s = clock.monotonic() - killed_at


def _take(sent: _Sent, written: Written) -> None:
    receipt = sent.pending.receipt()
    for key, document in zip(receipt.ids, sent.documents, strict=True):
        if document is not None:
            written.acknowledged[key] = document
