"""The writer: the only process that changes anything, so that every mutation has one place in one order.

*Owns* the writable connections to log and state, the anchor, the change feed.
*Handles* Commit (grouped: what lies ready is committed together), RequestOutcome, WriterStatus, Rebuild.
*Emits* Advanced and StateSwitched on its feed.
*After a crash* it rolls the state forward from the log; clients send again what was not answered and get the
first receipt if it had been carried out.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from keepdb.commit.group import GroupCommit
from keepdb.commit.inflight import InFlight
from keepdb.commit.intake import Answer, Asked
from keepdb.commit.sealing_plan import BODY
from keepdb.commit.store import Places, Store
from keepdb.crypto import kdf
from keepdb.crypto.spare import SealItem, SpareKeys
from keepdb.errors import InvalidRequest, KeepError, StorageError, Unavailable
from keepdb.fabric.actor import DEFERRED, Deferred, ProcessActor, Reply, handles
from keepdb.fabric.reply import refusal
from keepdb.fabric.vault import SealingVault
from keepdb.storage.changes import RingLimits
from keepdb.storage.connection import CheckpointMode
from keepdb.storage.entries import LogEvent
from keepdb.storage.faults import CommitFailed
from messages.base import Done, Message
from messages.commits import Commit, Rebuild, Receipt, RequestOutcome, WriterFigures, WriterStatus
from messages.feed import Advanced, StateSwitched
from messages.sealing import Opened, Sealed

logger = logging.getLogger("keepdb.writer")

KIB, MIB = 1024, 1024 * 1024
#: One Seal or Open ask may take this long; a restarted encryption actor is back within half a second.
ENCRYPTION_S = 2.0
#: At start the encryption actor may still be reading its keyring.
ENCRYPTION_START_S = 8.0
#: A stalled sync is reported as busy and not killed for so long.
SYNC_S = 30.0
#: The last hint is repeated, because a hint may be lost.
HINT_S = 1.0
#: Readers let go of an old state within their transaction limit of 2 s.
OLD_STATE_S = 10.0
#: Least time between two checkpoints.
CHECKPOINT_S = 0.2
#: Clients send again within a second; suspects that stay away longer are nobody's any more.
SUSPECTS_S = 30.0
#: How soon after a failure the files are opened anew.
REOPEN_S = 0.25


class Writer(ProcessActor):
    """Groups commits; see keepdb/commit for what happens to a batch."""

    answers = (Sealed, Opened)

    def on_ready(self) -> None:
        config, secrets = self.seat.config.writer, self.seat.secrets
        self._pending: list[Asked] = []
        self._trouble = ""
        self._checkpoint_at = 0.0
        self._starting = True
        self._vault = SealingVault(lambda: self.ref("encryption"), SpareKeys(self.seat.db_id))
        places = Places(
            Path(self.seat.data),
            secrets[kdf.FILE_LOG],
            secrets[kdf.FILE_STATE],
            secrets[kdf.ANCHOR],
            self.seat.db_id,
            os.urandom(16),
            RingLimits(max_seqs=config.changes_seqs_max, max_bytes=config.changes_mib_max * MIB),
        )
        in_flight = InFlight(Path(self.seat.run) / "writer.inflight")
        with self.busy("recovery", SYNC_S):
            self.store = self._open_store(places, in_flight)
        self._status = self._measure()
        self.group = GroupCommit(
            self.store,
            in_flight,
            self._seal,
            self.clock,
            os.urandom,
            requests_max=config.batch_requests_max,
            events_max=config.request_events_max,
        )
        self._starting = False
        if in_flight.has_suspects:
            self.inbox.after(SUSPECTS_S, in_flight.forget_suspects)
        self.inbox.after(OLD_STATE_S, self._drop_old_states)
        self.inbox.every(HINT_S, self._repeat_hint)
        self.inbox.every(config.anchor_s, self._write_anchor)
        self._announce_state()

    def _open_store(self, places: Places, in_flight: InFlight) -> Store:
        """Open, check and roll forward. A sync that fails here must be known to the next start."""
        try:
            store = Store(
                places,
                self.seat.schema,
                self.seat.schema_ddl,
                self._open_bodies,
                self.clock,
                self._beat,
                sync_failed=in_flight.sync_failed,
            )
        except CommitFailed as error:
            in_flight.note_sync(failed=True)
            raise Unavailable(
                "storage_failed", error.message, fix="Check the disk; it is tried again."
            ) from error
        in_flight.note_sync(failed=False)
        return store

    # -- committing --------------------------------------------------------------------------------------

    @handles(Commit)
    def commit(self, message: Commit) -> Deferred:
        self._pending.append(Asked(message, answering(self.defer())))
        if len(self._pending) >= self.group.requests_max:
            self._flush()
        return DEFERRED

    def _more(self, limit: int) -> list[Asked]:
        """Commits that have arrived while others were being prepared."""
        return [Asked(message, answering(reply.defer())) for message, reply in self.inbox.take(Commit, limit)]

    def on_drained(self) -> None:
        self._flush()
        self._tend()

    def _flush(self) -> None:
        """Commit what is pending. Never raises: whatever goes wrong is answered."""
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        refusal_reason = self._not_now()
        if refusal_reason is not None:
            for asked in batch:
                asked.answer(refusal_reason)
            return
        try:
            with self.busy("sync", SYNC_S):
                committed = self.group.run(batch, self._more)
        except StorageError as error:
            self._stumble(error)
            return
        if committed is not None:
            self.publish(
                Advanced(
                    generation=self.store.state.generation, seq=committed.seq, versions=committed.versions
                )
            )

    def _not_now(self) -> Unavailable | None:
        """Why nothing can be committed at the moment, if so."""
        if self._trouble:
            return self._storage_failed()
        if self._wal_bytes() > self.seat.config.writer.wal_mib_max * MIB and not self._checkpoint("TRUNCATE"):
            return Unavailable(
                "busy", "The write-ahead log is full because a reader holds it.", fix="Try again in a second."
            )
        return None

    def _storage_failed(self) -> Unavailable:
        return Unavailable(
            "storage_failed",
            f"The database files cannot be written: {self._trouble}",
            fix="Free disk space or check the disk; commits work again by themselves. Reads go on.",
        )

    # -- other requests ----------------------------------------------------------------------------------

    @handles(RequestOutcome)
    def request_outcome(self, message: RequestOutcome) -> Receipt:
        possible = 0 < message.number < 2**63
        found = self.store.log.find_request(message.client, message.number) if possible else None
        if found is None:
            raise InvalidRequest(
                "request_unknown",
                f"Request {message.number} of this client was not carried out.",
                fix="Send it again if it is still wanted.",
            )
        return Receipt(
            seq_first=found.seq_first, seq_last=found.seq_last, ids=found.ids, at=found.at, duplicate=True
        )

    @handles(WriterStatus)
    def writer_status(self, message: WriterStatus) -> WriterFigures:
        if not self._trouble:
            self._status = self._measure()
        mode: Literal["serving", "degraded"] = "degraded" if self._trouble else "serving"
        return msgspec.structs.replace(self._status, mode=mode, reason=self._trouble)

    def _measure(self) -> WriterFigures:
        """Where everything stands; the files must be open."""
        store = self.store
        building = store.rebuilding
        return WriterFigures(
            seq=store.log.head.seq,
            state_seq=store.state.position.seq,
            generation=store.log.generation,
            state_generation=store.state.generation,
            schema_hash=store.schema.hash,
            log_bytes=store.log.file_bytes,
            wal_bytes=self._wal_bytes(),
            state_bytes=store.state.file_bytes,
            mode="serving",
            quarantined=len(store.quarantined_rows),
            rebuild_done=building.position.seq if building is not None else 0,
            rebuild_total=max(store.log.head.seq, 1) if building is not None else 0,
        )

    @handles(Rebuild)
    def rebuild(self, message: Rebuild) -> Done:
        if self._trouble:
            raise self._storage_failed()
        if self.store.rebuilding is None:
            self.store.begin_rebuild()
            self.inbox.after(0.0, self._rebuild_slice)
        return Done()

    def _rebuild_slice(self) -> None:
        """One slice of about 50 ms, then whatever else is waiting."""
        if self.store.rebuilding is None:
            return  # the files had to be opened anew; what was built so far is gone
        try:
            with self.busy("rebuild", SYNC_S):
                if not self.store.rebuild_slice():
                    self.inbox.after(0.0, self._rebuild_slice)
                    return
        except Unavailable as error:
            logger.warning("a slice of the rebuild is tried again: %s", error.code)
            self.inbox.after(REOPEN_S, self._rebuild_slice)
            return
        except StorageError as error:
            self._stumble(error)
            return
        self._announce_state()
        self.inbox.after(OLD_STATE_S, self._drop_old_states)

    def _drop_old_states(self) -> None:
        """State files that a rebuild replaced, or that one which was cut short left behind."""
        if not self._trouble:
            self.store.drop_old_states()

    # -- tending -----------------------------------------------------------------------------------------

    def _tend(self) -> None:
        """Between bursts: keep WAL and anchor within their limits."""
        if self._trouble:
            return
        config, store = self.seat.config.writer, self.store
        # The state's pages change again and again, and it can be rebuilt: it is moved four times less often.
        backlog = max(store.log.wal_bytes, store.state.wal_bytes // 4)
        if backlog > config.checkpoint_kib * KIB and self.clock.monotonic() >= self._checkpoint_at:
            self._checkpoint("PASSIVE")
            # A reader may keep part of it; trying again after every batch would not help.
            self._checkpoint_at = self.clock.monotonic() + CHECKPOINT_S
        if self.store.anchor_age() >= config.anchor_events:
            self._write_anchor()

    def _checkpoint(self, mode: CheckpointMode) -> bool:
        """Move the WALs into their files. False if a reader keeps them from shrinking."""
        try:
            with self.busy("checkpoint", SYNC_S):
                self.store.log.checkpoint(mode)
                self.store.state.checkpoint(mode)
        except StorageError as error:
            logger.warning("a checkpoint failed: %s", error.code)
        return self._wal_bytes() <= self.seat.config.writer.wal_mib_max * MIB

    def _write_anchor(self) -> None:
        if self._trouble:
            return
        try:
            with self.busy("anchor", SYNC_S):
                self.store.write_anchor()
        except StorageError as error:
            self._stumble(error)

    def _wal_bytes(self) -> int:
        return self.store.log.wal_bytes + self.store.state.wal_bytes

    def _stumble(self, error: StorageError) -> None:
        """A file refused: acknowledge nothing until everything was closed cleanly and opened again (W6)."""
        logger.error("the files must be opened anew: %s", error.code)
        if isinstance(error, CommitFailed):
            self.group.in_flight.note_sync(failed=True)
        if not self._trouble:
            # What was last true is what the status says meanwhile; the files may not be readable for long.
            with contextlib.suppress(KeepError):
                self._status = self._measure()
            self.inbox.after(0.0, self._mend)
        self._set_trouble(error.message)

    def _mend(self) -> None:
        """Open the files anew; try again every REOPEN_S until commits are possible."""
        try:
            with self.busy("recovery", SYNC_S):
                self.store.reopen()
        except KeepError as error:
            logger.error("opening the files again failed: %s", error.code)
            self._set_trouble(error.message)
            self.inbox.after(REOPEN_S, self._mend)
            return
        self.group.after_reopen()
        self.group.in_flight.note_sync(failed=False)
        self._set_trouble("")
        self._announce_state()

    def _set_trouble(self, reason: str) -> None:
        self._trouble = reason
        self.degraded(reason)

    # -- the feed ----------------------------------------------------------------------------------------

    def _repeat_hint(self) -> None:
        state = self.store.state
        if not self._trouble:
            self.publish(Advanced(generation=state.generation, seq=state.position.seq))
            # A query actor that was starting while the state was switched has not heard of it.
            self._announce_state()

    def _announce_state(self) -> None:
        state = self.store.state
        self.publish(StateSwitched(generation=state.generation, path=state.path.name, seq=state.position.seq))

    # -- the encryption actor ------------------------------------------------------------------------------

    def _seal(self, items: tuple[SealItem, ...], new_from: int) -> tuple[bytes, ...]:
        return self._vault.seal(items, new_from, ENCRYPTION_S)

    def _open_bodies(self, events: list[LogEvent]) -> list[bytes | None]:
        """None where the key was destroyed. A damaged body means a damaged log, which the chain has ruled out."""
        items = tuple((event.collection, BODY, event.entity, event.body or b"") for event in events)
        timeout = ENCRYPTION_START_S if self._starting else ENCRYPTION_S
        opened = self._vault.open(items, timeout)
        if opened.damaged:
            raise StorageError(
                "body_unreadable",
                f"The body of event {events[opened.damaged[0]].seq} does not open under its key.",
                fix="The keyring does not fit the log: restore both from one backup.",
            )
        return list(opened.values)

    # -- the end -----------------------------------------------------------------------------------------

    def on_stop(self) -> None:
        self._flush()
        if not self._trouble:
            with self.busy("stop", SYNC_S):
                self.store.write_anchor()
        self.store.close()
        self.group.in_flight.close()

    def figures(self) -> dict[str, float]:
        status = self.writer_status(WriterStatus())
        return {
            "seq": status.seq,
            "wal_bytes": status.wal_bytes,
            "suspects": len(self.group.in_flight.suspects),
        }


def answering(reply: Reply) -> Callable[[Answer], None]:
    """How GroupCommit answers: with a message, or with an error that becomes a refusal."""

    def answer(value: Answer) -> None:
        reply.set(value if isinstance(value, Message) else refusal(value))

    return answer
