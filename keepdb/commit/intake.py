"""The first half of a group commit: which requests are new, what events they stand for, what must be sealed.

Requests that need no work are answered here: those refused for their shape, and those carried out before.
"""

from collections.abc import Callable, Sequence

from keepdb.commit.inflight import InFlight
from keepdb.commit.ledger import Ledger, check_identity, digest_of
from keepdb.commit.sealing_plan import PlannedEvent, SealingPlan
from keepdb.commit.store import Store
from keepdb.errors import InvalidRequest, KeepError, StorageError
from keepdb.schema.validate import PreparedEvent, prepare, subject_of_new
from keepdb.storage.connection import explained
from keepdb.storage.entries import LogEntry
from messages.base import Message
from messages.commits import Commit

Answer = Message | KeepError


class Asked:
    """A request and how to answer it, once; whatever comes later is about the rest of its group."""

    __slots__ = ("_send", "answered", "commit")

    def __init__(self, commit: Commit, send: Callable[[Answer], None]) -> None:
        self.commit = commit
        self.answered = False
        self._send = send

    def answer(self, answer: Answer) -> None:
        if not self.answered:
            self.answered = True
            self._send(answer)


def has_identity(asked: Asked) -> bool:
    """Whether there is anything to know the request by; one without is answered here."""
    try:
        check_identity(asked.commit)
    except InvalidRequest as error:
        asked.answer(error)
        return False
    return True


class Accepted:
    """A request on its way. twins: the same request, sent again before it was answered."""

    __slots__ = ("asked", "digest", "entry", "events", "twins")

    def __init__(self, asked: Asked, digest: bytes, events: list[PlannedEvent]) -> None:
        self.asked = asked
        self.digest = digest
        self.events = events
        self.entry: LogEntry | None = None
        self.twins: list[Asked] = []

    def answer(self, answer: Answer) -> None:
        """Answer it and its twins."""
        for asked in (self.asked, *self.twins):
            asked.answer(answer)


class Intake:
    """Takes in the requests of one group, in one or several rounds. at: the group's time, ms since the epoch.

    given: every request of the group. accepted: those that are to be carried out.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        in_flight: InFlight,
        at: int,
        new_id: Callable[[], str],
        events_max: int,
    ) -> None:
        self.given: list[Asked] = []
        self.accepted: list[Accepted] = []
        self._store = store
        self._ledger = ledger
        self._in_flight = in_flight
        self._at = at
        self._new_id = new_id
        self._events_max = events_max
        self._by_request: dict[tuple[bytes, int], Accepted] = {}
        self._by_key: dict[str, Accepted] = {}
        self._created: dict[tuple[str, str], str] = {}

    def take(self, batch: Sequence[Asked], plan: SealingPlan) -> list[Accepted]:
        """The requests of this round that are to be carried out; all others have been answered."""
        self.given += batch
        taken: list[Accepted] = []
        for asked in batch:
            try:
                accepted = self._take_one(asked, plan)
            except StorageError:
                raise
            except KeepError as error:
                asked.answer(error)
            except RecursionError:
                # The decoder took more levels than are left this deep in the stack.
                asked.answer(_too_deep())
            else:
                taken += [accepted] if accepted is not None else []
        self.accepted += taken
        return taken

    def _take_one(self, asked: Asked, plan: SealingPlan) -> Accepted | None:
        commit = asked.commit
        digest = digest_of(commit)
        twin = self._twin(commit, digest)
        if twin is not None:
            twin.twins.append(asked)
            return None
        receipt = self._ledger.check(commit, digest)
        if receipt is not None:
            asked.answer(receipt)
            return None
        self._ledger.note(commit)
        self._refuse_poisoned(commit)
        accepted = Accepted(asked, digest, self._plan_events(commit, plan))
        self._by_request[(commit.client, commit.number)] = accepted
        if commit.idempotency_key is not None:
            self._by_key[commit.idempotency_key] = accepted
        return accepted

    def _twin(self, commit: Commit, digest: bytes) -> Accepted | None:
        twin, code = self._by_request.get((commit.client, commit.number)), "request_id_reused"
        if twin is None and commit.idempotency_key is not None:
            twin, code = self._by_key.get(commit.idempotency_key), "idempotency_key_reused"
        if twin is None or twin.asked.answered:
            return None
        if twin.digest != digest:
            raise InvalidRequest(
                code,
                "The same request id (or idempotency key) is being used for another payload right now.",
                fix="Use a new number (or key) for a new request; repeat the payload exactly for a retry.",
            )
        return twin

    def _refuse_poisoned(self, commit: Commit) -> None:
        if self._in_flight.is_poisoned((commit.client, commit.number)):
            raise InvalidRequest(
                "poisoned",
                "The writer ended twice while it was carrying out this request, so it is not tried again.",
                fix="Look into the logs (`keepdb logs`) for the cause and report it; other requests go on.",
            )

    def _plan_events(self, commit: Commit, plan: SealingPlan) -> list[PlannedEvent]:
        if not 0 < len(commit.events) <= self._events_max:
            raise InvalidRequest(
                "events_count",
                f"A commit has {len(commit.events)} events; allowed are 1 to {self._events_max}.",
                fix="Split it into several commits.",
            )
        schema = self._store.schema
        prepared = [
            event
            for new in commit.events
            for event in prepare(schema, new.type, new.id, new.data, self._at, self._new_id)
        ]
        subjects = [self._subject_of(event) for event in prepared]
        return [plan.add(event, subject) for event, subject in zip(prepared, subjects, strict=True)]

    def _subject_of(self, event: PreparedEvent) -> str:
        """Whose key seals the event: told by a creation, else that of the row, also of one made in this group."""
        row = (event.collection, event.id)
        if row in self._store.quarantined_rows:
            raise InvalidRequest(
                "entity_quarantined",
                f"An earlier event of {event.collection} {event.id} could not be applied; later ones wait for it.",
                fix="See `keepdb doctor` for the quarantined event.",
            )
        if event.creates:
            subject = self._created[row] = subject_of_new(event)
            return subject
        # The row first: a creation of this round may yet be refused because the row is there, as somebody else's.
        known = self._subject_in_state(event) or self._created.get(row)
        if known is None:
            raise InvalidRequest(
                "not_found",
                f"{event.collection} has no row with id {event.id!r}, so {event.type} cannot apply to it.",
                fix="Create it first, or check the id.",
            )
        return known

    def _subject_in_state(self, event: PreparedEvent) -> str | None:
        state = self._store.state
        with explained(state.path):
            found = state.connection.execute(
                f'SELECT _subject FROM "{event.collection}" WHERE id = ?', (event.id,)
            ).fetchone()
        return str(found[0]) if found is not None else None


def _too_deep() -> InvalidRequest:
    return InvalidRequest(
        "malformed_message",
        "The events are nested too deeply.",
        fix="Keep JSON values within the depth that docs/schema.md states.",
    )
