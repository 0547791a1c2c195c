"""Backups: making them while writes go on, proving them by a rehearsed restore, restoring them.

Nothing in here knows actors or sockets. Long work is a generator of Progress, so that an actor can do it in
slices and a command line in one go (`run`). docs/formats.md, "Backups", fixes the bytes on disk.
"""

from .catalog import Listed, find_backup, list_backups
from .keys import Keys, RootKeys, unlock
from .make import Source, make, make_steps
from .manifest import Manifest, Proven, mark_proven, read_manifest, read_proven
from .progress import Progress, run
from .rehearse import Rehearsal, local_bodies, rehearse, rehearse_steps
from .restore import Restored, restore, restore_steps
from .scratch import sweep

__all__ = [
    "Keys",
    "Listed",
    "Manifest",
    "Progress",
    "Proven",
    "Rehearsal",
    "Restored",
    "RootKeys",
    "Source",
    "find_backup",
    "list_backups",
    "local_bodies",
    "make",
    "make_steps",
    "mark_proven",
    "read_manifest",
    "read_proven",
    "rehearse",
    "rehearse_steps",
    "restore",
    "restore_steps",
    "run",
    "sweep",
    "unlock",
]
