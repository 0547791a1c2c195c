"""No orphans: a child ends when its parent has gone, however that happened.

multiprocessing gives every spawned or forkserver child a descriptor that becomes readable when the parent
dies. A daemon thread waits on it, because the actor's loop may be inside a long system call.
"""

import os
import threading
from collections.abc import Callable
from multiprocessing import connection, parent_process

#: Time for an orderly end after the parent's death; together with detection it must stay under 2 s (L6).
GRACE_S = 1.0
#: Exit status of a process that ended because its parent had.
EXIT_ORPHANED = 71


def watch_parent(on_death: Callable[[], None]) -> None:
    """Call on_death once from another thread when the parent dies; end the process GRACE_S later."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def wait() -> None:
        connection.wait([sentinel])
        on_death()
        threading.Event().wait(GRACE_S)
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
