"""Group commit: the requests that are waiting become events, rows and receipts with one sync.

The order is the design's (section 4): check, seal, apply to the state under savepoints, append to the log and
sync, commit the state, then answer and publish (W1). The log commits before the state, so the state can be
behind the log but never ahead of it (W2). Just before the sync is paid for, whatever has arrived meanwhile
joins the group; nothing is ever waited for.
"""

import logging
from collections.abc import Callable, Sequence

import msgspec

from keepdb.clock import Clock
from keepdb.commit.ids import uuid7
from keepdb.commit.inflight import InFlight
from keepdb.commit.intake import Accepted, Asked, Intake, has_identity
from keepdb.commit.ledger import Ledger
from keepdb.commit.sealing_plan import SealingPlan, SubjectKeys
from keepdb.commit.store import Store
from keepdb.crypto.spare import SealItem
from keepdb.errors import InvalidRequest, KeepError, StorageError, Unavailable
from keepdb.schema.materialize import MaterialEvent
from keepdb.storage.batch import Batch
from keepdb.storage.entries import LogEntry, NewLogEvent, Recorded
from keepdb.storage.faults import CommitFailed
from messages.commits import Receipt

logger = logging.getLogger("keepdb.commit")

#: Seals items; the number is the first data key that no subject has.
Seal = Callable[[tuple[SealItem, ...], int], tuple[bytes, ...]]
#: Gives requests that have arrived meanwhile, at most so many.
More = Callable[[int], list[Asked]]


class Committed(msgspec.Struct, frozen=True):
    """What a group did, for the change feed. versions: seq of the last change per changed collection."""

    seq: int
    versions: dict[str, int]


class GroupCommit:
    """Carries out groups over a Store. seal: asks the encryption actor. random: gives random bytes.

    requests_max: size of a group. events_max: events of one request.
    """

    def __init__(
        self,
        store: Store,
        in_flight: InFlight,
        seal: Seal,
        clock: Clock,
        random: Callable[[int], bytes],
        *,
        requests_max: int,
        events_max: int,
    ) -> None:
        self.in_flight = in_flight
        self._store = store
        self._seal = seal
        self._clock = clock
        self._random = random
        self._requests_max = requests_max
        self._events_max = events_max
        self.after_reopen()

    def after_reopen(self) -> None:
        """The store was opened anew: what memory knows of the log may be wrong."""
        self._ledger = Ledger(self._store.log)
        self._keys = SubjectKeys(self._store.log.subject_keys())
        self._last_at = max(
            (event.at for event in self._store.log.read(self._store.log.head.seq - 1, 1)), default=0
        )

    @property
    def requests_max(self) -> int:
        """Requests per group: one while suspects of a crash are about, so that a second crash names the culprit."""
        return 1 if self.in_flight.has_suspects else self._requests_max

    def run(self, first: Sequence[Asked], more: More) -> Committed | None:
        """Carry out and answer these requests and what `more` gives; None if nothing was committed.

        Raises StorageError, after having answered, when the files need to be opened anew.
        """
        # Stamps never fall, whatever the machine's clock does.
        self._last_at = at = max(self._clock.now_ms(), self._last_at)
        intake = Intake(
            self._store, self._ledger, self.in_flight, at, lambda: uuid7(at, self._random), self._events_max
        )
        try:
            committed = self._commit(intake, first, more)
        except CommitFailed:
            self._ledger.forget()
            for accepted in intake.accepted:
                self._answer_unknown(accepted)
            self._end(intake, _unknown())
            raise
        except KeepError as error:
            # Nothing of the group is committed: sealing failed, or the state refused to be written. It will be
            # sent again, and a later request of the same client must not overtake it.
            self._ledger.forget()
            self._end(intake, error)
            if isinstance(error, StorageError):
                raise
            return None
        self.in_flight.end()
        return committed

    def _end(self, intake: Intake, error: KeepError) -> None:
        """Nobody is left without an answer. Not reached when the writer dies: then the notes must stay."""
        for asked in intake.given:
            asked.answer(error)
        self.in_flight.end()

    # -- committing --------------------------------------------------------------------------------------

    def _commit(self, intake: Intake, first: Sequence[Asked], more: More) -> Committed | None:
        store = self._store
        with store.state.batch() as batch:
            done = self._fill(batch, intake, first, more)
            if not done:
                return None
            subjects = self._keys.new_among(
                planned.subject for accepted in done for planned in accepted.events if planned.key is not None
            )
            sync = any(accepted.asked.commit.durability == "disk" for accepted in done)
            with store.log.transaction(sync):
                recorded = store.log.append(
                    [accepted.entry for accepted in done if accepted.entry is not None]
                )
                store.log.assign_subjects(subjects)
                head = store.log.head
                batch.finish(head.seq, head.hash, durable=sync)
            self._keys.committed(subjects)
            try:
                batch.commit()
            except StorageError:
                # The log has the events, so they are not lost: the state rolls forward before the next group.
                _answer(done, recorded, materialized=False)
                raise
        _answer(done, recorded, materialized=True)
        return Committed(head.seq, batch.versions)

    def _fill(self, batch: Batch, intake: Intake, first: Sequence[Asked], more: More) -> list[Accepted]:
        """Apply round after round until nothing more is there or the group is full."""
        done: list[Accepted] = []
        room, seq, asked = self.requests_max, self._store.log.head.seq, first
        while asked:
            asked = [one for one in asked if has_identity(one)]
            self.in_flight.begin([(one.commit.client, one.commit.number) for one in asked])
            plan = SealingPlan(self._store.schema, self._keys)
            taken = intake.take(asked, plan)
            plan.seal(self._seal)
            for accepted in taken:
                if self._materialize(batch, accepted, plan, seq):
                    assert accepted.entry is not None
                    seq += len(accepted.entry.events)
                    done.append(accepted)
            room -= len(asked)
            asked = more(room) if room > 0 else []
        return done

    def _materialize(self, batch: Batch, accepted: Accepted, plan: SealingPlan, seq: int) -> bool:
        """Apply one request under a savepoint of its own; a refused one rolls back alone and is answered."""
        try:
            with batch.request():
                accepted.entry = self._apply(batch, accepted, plan, seq)
                return True
        except StorageError:
            raise
        except KeepError as error:
            accepted.answer(error)
        except Exception as error:
            # Whatever a materializer raises is about its request alone; the savepoint has undone it.
            logger.error("a materializer failed", exc_info=error)
            accepted.answer(_materializer_failed(accepted, error))
        return False

    def _apply(self, batch: Batch, accepted: Accepted, plan: SealingPlan, seq: int) -> LogEntry:
        events: list[NewLogEvent] = []
        connection, apply = self._store.state.connection, self._store.materializer.apply
        for planned in accepted.events:
            seq += 1
            event = planned.event
            new, sealed = plan.finish(planned)
            batch.begin(seq)
            values = {**event.clear, **event.content, **sealed}
            apply(connection, MaterialEvent(event.type, event.id, event.at, planned.subject, values))
            events.append(new)
        commit = accepted.asked.commit
        return LogEntry(
            client=commit.client,
            number=commit.number,
            digest=accepted.digest,
            at=self._last_at,
            events=events,
            ids=tuple(new.entity for new in events),
            idempotency_key=commit.idempotency_key,
        )

    def _answer_unknown(self, accepted: Accepted) -> None:
        """W6: a COMMIT that errs may have succeeded. The log itself says what became of the request."""
        commit = accepted.asked.commit
        try:
            found = self._store.log.find_request(commit.client, commit.number)
        except StorageError:
            found = None
        if found is not None:
            _answer([accepted], [found], materialized=False)
            return
        accepted.answer(_unknown())


def _unknown() -> Unavailable:
    return Unavailable(
        "outcome_unknown",
        "The disk did not confirm the commit, so it is not known whether it was kept.",
        fix="Send the same request (same client and number) again: it is carried out at most once.",
    )


def _answer(done: list[Accepted], recorded: list[Recorded], *, materialized: bool) -> None:
    for accepted, record in zip(done, recorded, strict=True):
        accepted.answer(
            Receipt(
                seq_first=record.seq_first,
                seq_last=record.seq_last,
                ids=record.ids,
                at=record.at,
                stage="materialized" if materialized else "logged",
            )
        )


def _materializer_failed(accepted: Accepted, error: Exception) -> InvalidRequest:
    types = ", ".join(sorted({planned.event.type for planned in accepted.events}))
    return InvalidRequest(
        "materializer_failed",
        f"The rows could not be changed as {types} says: {type(error).__name__}.",
        fix="Check the event's operations in schema.yaml; nothing of this request was stored.",
    )
