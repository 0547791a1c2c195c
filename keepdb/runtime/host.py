"""A child process's main: sit one actor down, run it, and end the process when it ends, whatever the cause.

A dead actor in a living process is the worst state of all: peers would wait for it and nobody would restart it.
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from keepdb.clock import SystemClock
from keepdb.fabric.actor import ProcessActor
from keepdb.fabric.seat import Seat
from keepdb.logs import set_up_logging
from keepdb.runtime.lifeline import watch_parent

logger = logging.getLogger("keepdb.runtime")

EXIT_FAILED = 70
#: libzmq aborts when it runs out of descriptors, so the soft limit is raised at once (to at most this).
DESCRIPTORS = 8_192
#: From <linux/prctl.h>.
PR_SET_DUMPABLE = 4


def run_actor(seat: Seat, load: Callable[[str], type[ProcessActor]]) -> None:
    """Run the actor called seat.name to its end, then exit. Target of the child process."""
    prepare_process()
    set_up_logging(Path(seat.data) / "logs", seat.name, seat.config.logs)
    # Ctrl-C reaches the whole group, but it is the supervisor that stops the others in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    actor = load(seat.name)(seat, SystemClock())
    stop = actor.inbox.door(actor.stop)
    signal.signal(signal.SIGTERM, lambda *_: stop())
    watch_parent(actor.inbox.door(actor.stop))
    logger.info("starting, pid %d, incarnation %d", os.getpid(), seat.incarnation)
    actor._start_actor_loop()
    code = EXIT_FAILED if actor.failure is not None else 0
    logger.info("ended with status %d", code)
    logging.shutdown()
    # No interpreter shutdown: the database is closed or does not need to be, and threads of the C
    # libraries have been seen to hang it.
    os._exit(code)


def prepare_process() -> None:
    """Limits and rights every KeepDB process has: private files, closed memory, enough descriptors."""
    os.umask(0o077)
    if sys.platform == "linux":
        import ctypes

        # Neither a core dump nor a debugger of the same user shall see keys. From here on, of what is under
        # /proc for this process, only its own view and root's show memory maps and descriptors.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        if soft < wanted:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
