"""Operator or app -> backup: make, list and prove backups. Long work is started and then asked about."""

from typing import Any, ClassVar

from .base import READERS, Message, Request, Role

_MAY_BACK_UP: frozenset[Role] = frozenset({"internal", "app", "cli"})


class MakeBackup(Request, frozen=True, tag="make_backup"):
    """Answered by JobStarted; the job's result holds {"backup", "seq", "bytes", "events", "digest"}."""

    roles: ClassVar[frozenset[Role]] = _MAY_BACK_UP
    label: str = ""


class VerifyBackup(Request, frozen=True, tag="verify_backup"):
    """Restore into a scratch directory and compare digests. Answered by JobStarted.

    backup: its id; "" means the newest.
    """

    roles: ClassVar[frozenset[Role]] = _MAY_BACK_UP
    backup: str = ""


class JobStarted(Message, frozen=True, tag="job_started"):
    """job: pass to GetJob."""

    job: str


class GetJob(Request, frozen=True, tag="get_job"):
    """Answered by Job."""

    roles: ClassVar[frozenset[Role]] = _MAY_BACK_UP
    job: str


class Job(Message, frozen=True, tag="job"):
    """done, total: units of work, for a progress bar. state: running, finished, failed.

    result is set when finished; code, message and fix when failed.
    """

    job: str
    state: str
    done: int = 0
    total: int = 0
    result: dict[str, Any] = {}
    code: str = ""
    message: str = ""
    fix: str = ""


class ListBackups(Request, frozen=True, tag="list_backups"):
    """Answered by Backups."""

    roles: ClassVar[frozenset[Role]] = READERS


class Backups(Message, frozen=True, tag="backups"):
    """Newest first: {"id", "at", "seq", "bytes", "events", "digest", "label", "verifiedAt"|None}."""

    backups: tuple[dict[str, Any], ...]
