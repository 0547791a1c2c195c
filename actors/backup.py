"""The backup actor: makes backups while writes go on and proves them by rehearsed restores.

*Owns* the backup directory.
*Handles* MakeBackup and VerifyBackup (long work: answered at once, one at a time), GetJob, ListBackups.
*Emits* nothing.
*After a crash* the job is gone and so is what it had built: leftovers are removed at the next start, and an
unfinished backup never has the name of a finished one.
It is a process of its own because of its long reads and its CPU time; it reads the log through a connection of
its own and never writes to the database.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import keepdb
from keepdb.backup import (
    Keys,
    Listed,
    Progress,
    Source,
    find_backup,
    list_backups,
    make_steps,
    mark_proven,
    rehearse_steps,
    sweep,
)
from keepdb.backup.progress import Steps
from keepdb.backup.scratch import PARTIAL, REHEARSAL
from keepdb.commit.sealing_plan import BODY
from keepdb.crypto import kdf
from keepdb.errors import InvalidRequest, KeepError, StorageError, Unavailable
from keepdb.fabric.actor import ProcessActor, handles
from keepdb.fabric.vault import Vault
from keepdb.places import KEYRING_FILE, SCHEMA_FILE
from keepdb.storage.entries import LogEvent
from messages.backups import Backups, GetJob, Job, JobStarted, ListBackups, MakeBackup, VerifyBackup
from messages.sealing import Opened

logger = logging.getLogger("keepdb.backup")

#: Work is done in slices of this length; requests and heartbeats get their turn in between.
SLICE_S = 0.05
#: A slice that stalls in a sync is reported as busy and not killed for so long.
SYNC_S = 30.0
#: Removing the leftovers of a killed run, some GiB at most.
SWEEP_S = 30.0
#: One Open ask may take this long; a restarted encryption actor is back within half a second.
ENCRYPTION_S = 5.0
#: Finished jobs are remembered for whoever asks late.
JOBS_KEPT = 64

Work = Steps[dict[str, Any]]


class Backup(ProcessActor):
    """Runs one job at a time in slices."""

    answers = (Opened,)

    def on_ready(self) -> None:
        seat, secrets = self.seat, self.seat.secrets
        self._data = Path(seat.data)
        self._vault = Vault(lambda: self.ref("encryption"))
        self._backups = self._data / (seat.config.backup.directory or "backups")
        self._keys = Keys(
            backup=secrets[kdf.BACKUP],
            log=secrets[kdf.FILE_LOG],
            state=secrets[kdf.FILE_STATE],
            keyring_mac=secrets[kdf.KEYRING_MAC],
        )
        # Read now and not when a backup is made: by then it may be the draft of the next schema.
        self._schema_text = (self._data / SCHEMA_FILE).read_bytes()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running = ""
        self._work: Work | None = None
        with self.busy("backup sweep", SWEEP_S):
            self._sweep()

    def _sweep(self) -> None:
        try:
            for path in sweep(self._backups, f"*{PARTIAL}", f"*{REHEARSAL}"):
                logger.warning("removed %s, left behind by a run that was killed", path.name)
        except StorageError as error:
            # The rest of the database does not depend on this directory.
            self.degraded(error.message)
            logger.error("the backup directory cannot be used: %s", error.code)

    # -- requests ----------------------------------------------------------------------------------------

    @handles(MakeBackup)
    def make_backup(self, message: MakeBackup) -> JobStarted:
        return self._begin("make", lambda: self._make(message.label))

    @handles(VerifyBackup)
    def verify_backup(self, message: VerifyBackup) -> JobStarted:
        backup = find_backup(self._backups, message.backup, self._keys.backup, self.seat.db_id)[0].name
        return self._begin("verify", lambda: self._verify(backup))

    @handles(GetJob)
    def get_job(self, message: GetJob) -> Job:
        job = self._jobs.get(message.job)
        if job is None:
            raise InvalidRequest(
                "job_unknown",
                "There is no such job: it is too long ago, or the backup actor was restarted in the middle of it.",
                fix="List the backups to see what became of it; begin it again if need be.",
            )
        return job

    @handles(ListBackups)
    def list_backups(self, message: ListBackups) -> Backups:
        found = list_backups(self._backups, self._keys.backup, self.seat.db_id)
        return Backups(backups=tuple(as_row(one) for one in found))

    # -- jobs --------------------------------------------------------------------------------------------

    def _begin(self, kind: str, work: Callable[[], Work]) -> JobStarted:
        if self._work is not None:
            raise Unavailable(
                "backup_busy",
                "Another backup or verification is under way.",
                fix="Try again when it has finished; GetJob shows how far it is.",
            )
        self._running = os.urandom(8).hex()
        self._work = work()
        self._remember(Job(job=self._running, state="running"))
        logger.info("%s begins as job %s", kind, self._running)
        self.inbox.after(0.0, self._slice)
        return JobStarted(job=self._running)

    def _slice(self) -> None:
        """Work for SLICE_S, then let others have their turn."""
        work = self._work
        if work is None:
            return
        end = self.clock.monotonic() + SLICE_S
        try:
            with self.busy("backup", SYNC_S):
                reached = next(work)
                while self.clock.monotonic() < end:
                    reached = next(work)
        except StopIteration as finished:
            result: dict[str, Any] = finished.value
            self._end(Job(job=self._running, state="finished", done=1, total=1, result=result))
        except KeepError as error:
            self._end(
                Job(job=self._running, state="failed", code=error.code, message=error.message, fix=error.fix)
            )
        else:
            self._remember(Job(job=self._running, state="running", done=reached.done, total=reached.total))
            self.inbox.after(0.0, self._slice)

    def _end(self, job: Job) -> None:
        before = self._jobs[job.job]
        if job.state == "finished" and before.total:
            job = msgspec.structs.replace(job, done=before.total, total=before.total)
        self._work = None
        self._remember(job)
        logger.info("job %s %s %s", job.job, job.state, job.code)

    def _remember(self, job: Job) -> None:
        self._jobs[job.job] = job
        while len(self._jobs) > JOBS_KEPT:
            self._jobs.popitem(last=False)

    # -- the work ----------------------------------------------------------------------------------------

    def _make(self, label: str) -> Work:
        seat = self.seat
        source = Source(
            data=self._data,
            keys=self._keys,
            db_id=seat.db_id,
            schema=seat.schema,
            schema_text=self._schema_text,
            chunk_bytes=seat.config.backup.chunk_kib * 1024,
        )
        _, manifest = yield from make_steps(source, self._backups, label, self.clock)
        self.degraded("")
        return {
            "backup": manifest.backup,
            "seq": manifest.log.seq,
            "bytes": manifest.total_bytes,
            "events": manifest.events,
            "digest": manifest.digest,
        }

    def _verify(self, name: str) -> Work:
        path, manifest = find_backup(self._backups, name, self._keys.backup, self.seat.db_id)
        yield Progress("verify", 0, max(1, manifest.events))
        scratch = self._backups / (name + REHEARSAL)
        rehearsal = yield from rehearse_steps(
            path, manifest, scratch, self._keys, self._open_bodies, live_keyring=self._data / KEYRING_FILE
        )
        if not rehearsal.digest_matches:
            raise StorageError(
                "backup_digest_differs",
                f"Backup {name} restores, but its rows are not those it was made from "
                f"({rehearsal.erased} bodies are erased, {rehearsal.quarantined} events quarantined).",
                fix="If data were erased since, make a new backup. Else run `keepdb doctor`.",
            )
        mark_proven(path, self._keys.backup, rehearsal.digest, keepdb.__version__, self.clock)
        return {
            "backup": name,
            "seq": rehearsal.seq,
            "events": rehearsal.events,
            "digest": rehearsal.digest,
            "quarantined": rehearsal.quarantined,
            "erased": rehearsal.erased,
        }

    def _open_bodies(self, events: list[LogEvent]) -> list[bytes | None]:
        items = [(event.collection, BODY, event.entity, event.body or b"") for event in events]
        answer = self._vault.open(items, ENCRYPTION_S)
        if answer.damaged:
            raise StorageError(
                "backup_damaged",
                f"The body of event {events[answer.damaged[0]].seq} does not open under its key.",
                fix="Make a new backup; if that fails in the same way, run `keepdb doctor`.",
            )
        return list(answer.values)

    # -- the end -----------------------------------------------------------------------------------------

    def on_stop(self) -> None:
        if self._work is not None:
            # Removes what it had built.
            self._work.close()

    def figures(self) -> dict[str, float]:
        return {"jobs": len(self._jobs), "running": float(self._work is not None)}


def as_row(listed: Listed) -> dict[str, Any]:
    """One row of the list, see messages.backups.Backups; `error` instead of figures where it is damaged."""
    manifest = listed.manifest
    if manifest is None:
        return {
            "id": listed.id,
            "at": 0,
            "seq": 0,
            "bytes": 0,
            "events": 0,
            "digest": "",
            "label": "",
            "verifiedAt": None,
            "error": listed.error,
        }
    return {
        "id": listed.id,
        "at": manifest.created_ms,
        "seq": manifest.log.seq,
        "bytes": manifest.total_bytes,
        "events": manifest.events,
        "digest": manifest.digest,
        "label": manifest.label,
        "verifiedAt": listed.proven.at if listed.proven is not None else None,
    }
