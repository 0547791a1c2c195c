"""Group commit: a batch of requests becomes events, rows and receipts with one sync.

The order is the design's (section 4): check, seal, apply to the state under savepoints, append to the log and
sync, commit the state, then answer and publish (W1). The log commits before the state, so the state can be
behind the log but never ahead of it (W2).
"""

import logging
from collections.abc import Callable, Sequence

import apsw
import msgspec

from keepdb.clock import Clock
from keepdb.commit.ids import uuid7
from keepdb.commit.inflight import InFlight
from keepdb.commit.ledger import Ledger, digest_of
from keepdb.commit.sealing_plan import PlannedEvent, SealingPlan, SealItem, SubjectKeys
from keepdb.commit.store import Store
from keepdb.errors import InvalidRequest, KeepError, StorageError, Unavailable
from keepdb.schema.materialize import MaterialEvent
from keepdb.schema.validate import PreparedEvent, prepare, subject_of_new
from keepdb.storage.batch import Batch
from keepdb.storage.entries import LogEntry, NewLogEvent, Recorded
from keepdb.storage.faults import CommitFailed
from messages.base import Message
from messages.commits import Commit, Receipt

logger = logging.getLogger("keepdb.commit")

Answer = Message | KeepError
Seal = Callable[[tuple[SealItem, ...]], tuple[bytes, ...]]


class Asked(msgspec.Struct, frozen=True):
    """A request and how to answer it."""

    commit: Commit
    answer: Callable[[Answer], None]


class _Accepted(msgspec.Struct):
    """A request on its way: its planned events, then the entry for the log."""

    asked: Asked
    digest: bytes
    events: list[PlannedEvent]
    entry: LogEntry | None = None
    twins: list[Asked] = []

    def answer(self, answer: Answer) -> None:
        for asked in (self.asked, *self.twins):
            asked.answer(answer)


class Committed(msgspec.Struct, frozen=True):
    """What a batch did, for the change feed. Empty versions: no row changed."""

    seq: int
    versions: dict[str, int]


class GroupCommit:
    """Carries out batches over a Store. seal: asks the encryption actor. random: gives random bytes."""

    def __init__(
        self,
        store: Store,
        in_flight: InFlight,
        seal: Seal,
        clock: Clock,
        random: Callable[[int], bytes],
        events_max: int,
    ) -> None:
        self.store = store
        self.ledger = Ledger(store.log)
        self.keys = SubjectKeys(store.log.subject_keys())
        self.in_flight = in_flight
        self._seal = seal
        self._clock = clock
        self._random = random
        self._events_max = events_max
        self._last_at = 0
        self._new_id = lambda: uuid7(self._last_at, self._random)

    def after_reopen(self) -> None:
        """The store was opened anew: what memory knows of the log may be wrong."""
        self.ledger = Ledger(self.store.log)
        self.keys = SubjectKeys(self.store.log.subject_keys())

    def run(self, batch: Sequence[Asked]) -> Committed | None:
        """Carry out and answer every request of the batch; None if nothing was committed.

        Raises StorageError after having answered, when the files need to be opened anew.
        """
        ids = [(asked.commit.client, asked.commit.number) for asked in batch]
        self.in_flight.begin(ids)
        waiting: list[_Accepted] = []
        try:
            self._last_at = max(self._clock.now_ms(), self._last_at)
            plan = SealingPlan(self.store.schema, self.keys)
            waiting = self._accept(batch, plan)
            if not waiting:
                return None
            plan.seal(self._seal)
            return self._commit(waiting, plan)
        except CommitFailed:
            self._answer_unknown(waiting)
            raise
        except KeepError as error:
            # Nothing of the batch is committed: sealing failed, or the state refused to be written.
            for accepted in waiting:
                accepted.answer(error)
            if isinstance(error, StorageError):
                raise
            return None
        finally:
            self.in_flight.end(ids)

    # -- checking ----------------------------------------------------------------------------------------

    def _accept(self, batch: Sequence[Asked], plan: SealingPlan) -> list[_Accepted]:
        """Answer what needs no work (refused, carried out before); plan the rest."""
        waiting: dict[tuple[bytes, int] | str, _Accepted] = {}
        created: dict[tuple[str, str], str] = {}
        for asked in batch:
            commit = asked.commit
            try:
                digest = digest_of(commit)
                if (twin := self._twin(commit, digest, waiting)) is not None:
                    twin.twins = [*twin.twins, asked]
                    continue
                receipt = self.ledger.check(commit, digest)
                if receipt is not None:
                    asked.answer(receipt)
                    continue
                self._refuse_poisoned(commit)
                self.ledger.note(commit)
                accepted = _Accepted(asked, digest, self._plan_events(commit, plan, created))
            except KeepError as error:
                asked.answer(error)
                continue
            waiting[(commit.client, commit.number)] = accepted
            if commit.idempotency_key is not None:
                waiting[commit.idempotency_key] = accepted
        return list({id(accepted): accepted for accepted in waiting.values()}.values())

    def _twin(
        self, commit: Commit, digest: bytes, waiting: dict[tuple[bytes, int] | str, _Accepted]
    ) -> _Accepted | None:
        """The same request earlier in this batch: it was sent again before it was answered."""
        twin = waiting.get((commit.client, commit.number))
        code = "request_id_reused"
        if twin is None and commit.idempotency_key is not None:
            twin, code = waiting.get(commit.idempotency_key), "idempotency_key_reused"
        if twin is not None and twin.digest != digest:
            raise InvalidRequest(
                code,
                "The same request id (or idempotency key) is being used for another payload right now.",
                fix="Use a new number (or key) for a new request; repeat the payload exactly for a retry.",
            )
        return twin

    def _refuse_poisoned(self, commit: Commit) -> None:
        if self.in_flight.is_poisoned((commit.client, commit.number)):
            raise InvalidRequest(
                "poisoned",
                "The writer ended twice while it was carrying out this request, so it is not tried again.",
                fix="Look into the logs (`keepdb logs`) for the cause and report it; other requests go on.",
            )

    def _plan_events(
        self, commit: Commit, plan: SealingPlan, created: dict[tuple[str, str], str]
    ) -> list[PlannedEvent]:
        if not 0 < len(commit.events) <= self._events_max:
            raise InvalidRequest(
                "events_count",
                f"A commit has {len(commit.events)} events; allowed are 1 to {self._events_max}.",
                fix="Split it into several commits.",
            )
        planned: list[PlannedEvent] = []
        for new in commit.events:
            for event in prepare(self.store.schema, new.type, new.id, new.data, self._last_at, self._new_id):
                planned.append(plan.add(event, self._subject_of(event, created)))
        return planned

    def _subject_of(self, event: PreparedEvent, created: dict[tuple[str, str], str]) -> str:
        """Whose key seals the event: told by a creation, else that of the row, also of one made in this batch."""
        row = (event.collection, event.id)
        if row in self.store.quarantined_rows:
            raise InvalidRequest(
                "entity_quarantined",
                f"An earlier event of {event.collection} {event.id} could not be applied; later ones wait for it.",
                fix="See `keepdb doctor` for the quarantined event.",
            )
        if event.creates:
            subject = created[row] = subject_of_new(event)
            return subject
        known = created.get(row)
        if known is None:
            found = self.store.state.connection.execute(
                f'SELECT _subject FROM "{event.collection}" WHERE id = ?', (event.id,)
            ).fetchone()
            if found is None:
                raise InvalidRequest(
                    "not_found",
                    f"{event.collection} has no row with id {event.id!r}, so {event.type} cannot apply to it.",
                    fix="Create it first, or check the id.",
                )
            known = created[row] = found[0]
        return known

    # -- committing --------------------------------------------------------------------------------------

    def _commit(self, waiting: list[_Accepted], plan: SealingPlan) -> Committed | None:
        store = self.store
        with store.state.batch() as batch:
            done = self._materialize(batch, waiting, plan)
            if not done:
                return None
            entries = [accepted.entry for accepted in done if accepted.entry is not None]
            subjects = self.keys.new_among(
                planned.subject for accepted in done for planned in accepted.events if planned.key is not None
            )
            sync = any(accepted.asked.commit.durability == "disk" for accepted in done)
            with store.log.transaction(sync):
                recorded = store.log.append(entries)
                store.log.assign_subjects(subjects)
                head = store.log.head
                batch.finish(head.seq, head.hash, durable=sync)
            self.keys.committed(subjects)
            try:
                batch.commit()
            except StorageError:
                # The log has the events, so they are not lost: the state rolls forward before the next batch.
                self._answer(done, recorded, "logged")
                raise
        self._answer(done, recorded, "materialized")
        return Committed(head.seq, batch.versions)

    def _materialize(self, batch: Batch, waiting: list[_Accepted], plan: SealingPlan) -> list[_Accepted]:
        """Apply each request under a savepoint of its own; a refused one rolls back alone and is answered."""
        done: list[_Accepted] = []
        seq = self.store.log.head.seq
        for accepted in waiting:
            try:
                with batch.request():
                    entry = self._apply(batch, accepted, plan, seq)
            except StorageError:
                raise
            except KeepError as error:
                accepted.answer(error)
                continue
            except apsw.Error as error:
                logger.error("a materializer failed: %s", type(error).__name__)
                accepted.answer(_materializer_failed(accepted, error))
                continue
            accepted.entry = entry
            seq += len(entry.events)
            done.append(accepted)
        return done

    def _apply(self, batch: Batch, accepted: _Accepted, plan: SealingPlan, seq: int) -> LogEntry:
        events: list[NewLogEvent] = []
        connection, apply = self.store.state.connection, self.store.materializer.apply
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

    # -- answering ---------------------------------------------------------------------------------------

    def _answer(self, done: list[_Accepted], recorded: list[Recorded], stage: str) -> None:
        for accepted, record in zip(done, recorded, strict=True):
            accepted.answer(
                Receipt(
                    seq_first=record.seq_first,
                    seq_last=record.seq_last,
                    ids=record.ids,
                    at=record.at,
                    stage="materialized" if stage == "materialized" else "logged",
                )
            )

    def _answer_unknown(self, waiting: list[_Accepted]) -> None:
        """W6: a COMMIT that errs may have succeeded. The log itself says what became of each request."""
        self.ledger.forget()
        for accepted in waiting:
            if accepted.entry is None:
                continue  # answered before: it was refused
            commit = accepted.asked.commit
            try:
                found = self.store.log.find_request(commit.client, commit.number)
            except StorageError:
                found = None
            if found is not None:
                self._answer([accepted], [found], "logged")
            else:
                accepted.answer(
                    Unavailable(
                        "outcome_unknown",
                        "The disk did not confirm the commit, so it is not known whether it was kept.",
                        fix="Send the same request (same client and number) again: it is carried out at most once.",
                    )
                )


def _materializer_failed(accepted: _Accepted, error: apsw.Error) -> InvalidRequest:
    types = ", ".join(sorted({planned.event.type for planned in accepted.events}))
    return InvalidRequest(
        "materializer_failed",
        f"The rows could not be changed as {types} says: {type(error).__name__}.",
        fix="Check the event's operations in schema.yaml; nothing of this request was stored.",
    )
