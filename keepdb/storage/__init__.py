"""Log, state and anchor on disk. What events mean and who may write them is decided elsewhere."""

from .anchor import Anchor, check_start
from .batch import Batch, Position
from .changes import Change, ChangeBatch, RingLimits
from .connection import check_library, foreign_sqlite_loaded, open_database
from .digest import Digest, state_digest
from .entries import Head, LogEntry, LogEvent, NewLogEvent, Recorded, pack_clear, pack_sealed
from .faults import CommitFailed, LogDamaged
from .generations import next_state_generation
from .log import EventLog
from .state import StateFile, remove_others

__all__ = [
    "Anchor",
    "Batch",
    "Change",
    "ChangeBatch",
    "CommitFailed",
    "Digest",
    "EventLog",
    "Head",
    "LogDamaged",
    "LogEntry",
    "LogEvent",
    "NewLogEvent",
    "Position",
    "Recorded",
    "RingLimits",
    "StateFile",
    "check_library",
    "check_start",
    "foreign_sqlite_loaded",
    "next_state_generation",
    "open_database",
    "pack_clear",
    "pack_sealed",
    "remove_others",
    "state_digest",
]
