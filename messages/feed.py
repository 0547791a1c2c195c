"""Writer -> subscriber actors over PUB: hints that something changed. Never content.

A hint may be lost; whoever hears one reads the changes ring from its own position, so a gap cannot go
unnoticed. The writer repeats the last hint every second.
"""

from .base import Message


class Advanced(Message, frozen=True, tag="advanced"):
    """The state has reached `seq`. versions: seq of the last change, for the collections this batch changed."""

    generation: int
    seq: int
    versions: dict[str, int] = {}


class StateSwitched(Message, frozen=True, tag="state_switched"):
    """Another state file is current. Readers reopen it and re-hydrate; the old file is deleted when let go.

    path: file name inside the data directory.
    """

    generation: int
    path: str
    seq: int
