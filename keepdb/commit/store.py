"""The writer's files, opened, checked against each other and brought to the same position.

Start-up order (design section 3 and W3): log, its chain from the anchor on, state, the start-up rule, roll
forward. A state that is missing, unreadable or of another schema is built anew from the log; a log that is
damaged is never replaced.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from keepdb.clock import Clock
from keepdb.errors import InvariantBroken, StorageError
from keepdb.schema.materialize import Materializer
from keepdb.schema.model import Schema
from keepdb.storage import anchor as anchors
from keepdb.storage.anchor import Anchor
from keepdb.storage.changes import RingLimits
from keepdb.storage.connection import delete_database
from keepdb.storage.entries import LogEvent
from keepdb.storage.generations import log_generations, next_state_generation, state_names
from keepdb.storage.log import EventLog
from keepdb.storage.regenerate import regenerate_log
from keepdb.storage.rollforward import SLICE_EVENTS, replay
from keepdb.storage.state import StateFile, remove_others

logger = logging.getLogger("keepdb.commit")

ANCHOR_FILE = "anchor.json"
#: A killed supervisor's writer may live for two more seconds; its successor waits for the log's lock.
PREDECESSOR_S = 4.0
#: Chain verification goes in slices, so that heartbeats go on.
VERIFY_SLICE = 5_000


class Places(msgspec.Struct, frozen=True):
    """Where the files are and the keys to open them. device: 16 bytes for a log that is made new."""

    data: Path
    log_key: bytes
    state_key: bytes
    anchor_key: bytes
    db_id: bytes
    device: bytes
    limits: RingLimits

    def __repr__(self) -> str:
        return f"Places({self.data})"


class Store:
    """Log, state and anchor of one data directory, open for writing.

    open_bodies: opens the sealed bodies of log events (None = erased). pulse: called between slices of long
    work. sync_failed: the last writer died after a failed sync, so the log is copied before it is used (W6).
    rebuilding: the state being built beside, while the current one serves.
    """

    def __init__(
        self,
        places: Places,
        schema: Schema,
        ddl: tuple[str, ...],
        open_bodies: Callable[[list[LogEvent]], list[bytes | None]],
        clock: Clock,
        pulse: Callable[[], None],
        *,
        sync_failed: bool = False,
    ) -> None:
        self.places = places
        self.schema = schema
        self.materializer = Materializer(schema)
        self.rebuilding: StateFile | None = None
        self._ddl = ddl
        self._open_bodies = open_bodies
        self._clock = clock
        self._pulse = pulse
        self._anchored_seq = -1
        self._log_suspect = sync_failed
        self._open()

    # -- opening -----------------------------------------------------------------------------------------

    def _open(self) -> None:
        self.log = self._open_log()
        try:
            anchor = anchors.read(self._anchor_path, self.places.anchor_key)
            anchors.check_start(self.log, None, anchor)
            self._verify_from(
                anchor.seq if anchor is not None and anchor.generation == self.log.generation else 0
            )
            state = self._open_state()
            # Whatever came through a crash unsynced must be durable before the state builds on it.
            self.log.sync()
            self.state = state or self._build_state()
            self.catch_up()
            self._note_quarantine()
            self.write_anchor()
        except BaseException:
            self.log.close()
            raise

    def reopen(self) -> None:
        """Close everything cleanly and open it again: the only sound answer to a failed sync (W6)."""
        self.close()
        self._open()

    def close(self) -> None:
        """Close the files; the anchor is not written, see write_anchor."""
        for file in (self.rebuilding, getattr(self, "state", None), self.log):
            if file is not None:
                file.close()
        if self.rebuilding is not None:
            # Half a state is of no use, and may be what fills the disk.
            delete_database(self.rebuilding.path)
            self.rebuilding = None

    def _open_log(self) -> EventLog:
        data, key = self.places.data, self.places.log_key
        if not log_generations(data) and not self._anchor_path.exists() and not state_names(data):
            return EventLog.create(data, 1, key, self.places.db_id, self.places.device)
        deadline = self._clock.monotonic() + PREDECESSOR_S
        while True:
            try:
                log = regenerate_log(data, key) if self._log_suspect else EventLog.open(data, key, "write")
                break
            except StorageError as error:
                if error.code != "second_writer" or self._clock.monotonic() > deadline:
                    raise
                self._pulse()
                threading.Event().wait(0.05)
        self._log_suspect = False
        if log.db_id != self.places.db_id:
            log.close()
            raise StorageError(
                "log_foreign",
                f"{log.path.name} belongs to another database than keyring.json.",
                fix="Put back the keyring that belongs to it, or restore a backup.",
            )
        return log

    def _verify_from(self, seq: int) -> None:
        """Recompute the chain behind the last position that the authenticated anchor vouches for."""
        head = self.log.head.seq
        start = max(seq, self.log.base.seq) + 1
        for first in range(start, head + 1, VERIFY_SLICE):
            self.log.verify(first, min(first + VERIFY_SLICE - 1, head))
            self._pulse()

    def _open_state(self) -> StateFile | None:
        """The current state, or None where it must be built anew; the reason is logged."""
        try:
            state = StateFile.open_current(
                self.places.data, self.schema.hash, self.places.state_key, "write", limits=self.places.limits
            )
        except StorageError as error:
            if error.code == "file_newer":
                raise
            logger.error("the state cannot be read (%s) and is built anew", error.code)
            return None
        if state is None:
            return None
        try:
            if state.log_generation != self.log.generation:
                raise StorageError(
                    "state_of_other_log", "The state was built from another log.", fix="Rebuild."
                )
            anchors.check_start(self.log, state.position, None)
            return state
        except StorageError as error:
            state.close()
            if error.code not in ("state_ahead", "state_of_other_log"):
                raise
            logger.error("the state does not fit the log (%s) and is built anew", error.code)
            return None

    # -- roll-forward and rebuild --------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Roll the state forward to the log's head (W3)."""
        while self._replay(self.state):
            self._pulse()

    def begin_rebuild(self) -> None:
        """Start building a state beside the current one; go on with rebuild_slice()."""
        if self.rebuilding is None:
            self.rebuilding = self._new_state(self.state.ddl())

    def rebuild_slice(self) -> bool:
        """Replay one slice. True when the new state has reached the head and has become the current one."""
        new = self.rebuilding
        if new is None:
            raise InvariantBroken("no_rebuild", "No rebuild is under way.", fix="Report a bug.")
        # A slice that is not full has reached the head. Waiting for an empty one would take for ever under load.
        if self._replay(new) == SLICE_EVENTS:
            return False
        new.mark_complete()
        new.close()
        # Opened again, because a complete state captures changes and one being built does not.
        current = StateFile.open(new.path, self.places.state_key, "write", limits=self.places.limits)
        self.state.close()
        self.state, self.rebuilding = current, None
        self._note_quarantine()
        return True

    def drop_old_states(self) -> None:
        """Delete state files that are neither current nor being built; readers have let go of them."""
        if self.rebuilding is None:
            remove_others(self.places.data, self.state.path)

    def _build_state(self) -> StateFile:
        """Build a state while nothing else goes on: at start, when there is none that can be used."""
        self.rebuilding = self._new_state(self._ddl or self._ddl_of_any_state())
        new = self.rebuilding
        while self._replay(new):
            self._pulse()
        new.mark_complete()
        new.close()
        self.rebuilding = None
        state = StateFile.open(new.path, self.places.state_key, "write", limits=self.places.limits)
        remove_others(self.places.data, state.path)
        return state

    def _note_quarantine(self) -> None:
        """quarantined_rows: (collection, id) of entities whose new events must wait."""
        names = {collection.number: name for name, collection in self.schema.collections.items()}
        self.quarantined_rows = {
            (names.get(number, ""), entity) for number, entity in self.state.quarantined_entities()
        }

    def _new_state(self, ddl: tuple[str, ...]) -> StateFile:
        generation = next_state_generation(self.places.data)
        logger.info("building state generation %d from %d events", generation, self.log.head.seq)
        return StateFile.create(
            self.places.data,
            self.schema.hash,
            generation,
            self.places.state_key,
            ddl,
            self.log.generation,
            limits=self.places.limits,
        )

    def _ddl_of_any_state(self) -> tuple[str, ...]:
        """The DDL as an earlier, perhaps incomplete, state file of this schema has it."""
        for name in state_names(self.places.data, self.schema.hash):
            try:
                state = StateFile.open(name.path, self.places.state_key, "read")
            except StorageError:
                continue
            ddl = state.ddl()
            state.close()
            if ddl:
                return ddl
        # Every file of this schema is unreadable: compiling costs 0.3 s, once.
        from keepdb.schema.ddl import compile_ddl

        return compile_ddl(self.schema)

    def _replay(self, state: StateFile) -> int:
        return replay(
            self.log,
            state,
            self.materializer,
            self._open_bodies,
            after_seq=state.position.seq,
            limit=SLICE_EVENTS,
        )

    # -- the anchor ----------------------------------------------------------------------------------------

    @property
    def _anchor_path(self) -> Path:
        return self.places.data / ANCHOR_FILE

    def anchor_age(self) -> int:
        """Events committed since the anchor was written."""
        return self.log.head.seq - self._anchored_seq

    def write_anchor(self) -> None:
        """Note the log's head outside of the log: a flipped bit in a WAL silently drops its tail."""
        head = self.log.head
        if head.seq == self._anchored_seq:
            return
        self.log.sync()
        anchors.write(
            self._anchor_path,
            self.places.anchor_key,
            Anchor(self.places.db_id, self.log.generation, head.seq, head.hash, self._clock.now_ms()),
        )
        self._anchored_seq = head.seq
