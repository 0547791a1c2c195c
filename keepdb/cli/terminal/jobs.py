"""Long work that a service does for us: start it, show how far it is, return its result or raise its error."""

import threading
from typing import Any

from keepdb.cli.terminal.console import Console
from keepdb.client.database import Database
from keepdb.errors import KeepError
from messages.backups import GetJob, Job, JobStarted
from messages.base import Request

START_S = 30.0
#: A restarted service answers within seconds; its job is lost then, and it says so.
POLL_S = 30.0
POLL_EVERY_S = 0.1


def run_job(db: Database, request: Request, label: str, console: Console) -> dict[str, Any]:
    """The job's result. Raises KeepError."""
    # Not sent twice: a second copy of the request would be a second job.
    started = db.ask("backup", request, JobStarted, timeout=START_S, resend=False)
    pause = threading.Event()
    with console.progress(label) as progress:
        while True:
            job = db.ask("backup", GetJob(job=started.job), Job, timeout=POLL_S)
            if job.state == "failed":
                raise KeepError(job.code, job.message, fix=job.fix)
            if job.state == "finished":
                return job.result
            progress.update(job.done, job.total)
            pause.wait(POLL_EVERY_S)
