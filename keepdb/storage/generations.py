"""The names of database files on disk: `events.<generation>.db` and `state.<schema hash>.<generation>.db`.

A name is used once: replacing a file that somebody holds open corrupts silently (reproduced), so whatever is
built anew gets the next generation and the old one is deleted when it has been let go.
"""

import re
from dataclasses import dataclass
from pathlib import Path

SCHEMA_HASH_CHARS = 12
_LOG = re.compile(r"events\.(\d{4,})\.db")
_STATE = re.compile(r"state\.([0-9a-f]{12})\.(\d{4,})\.db")


@dataclass(frozen=True)
class StateName:
    """What the name of a state file says. schema_hash: its first 12 hex digits."""

    path: Path
    schema_hash: str
    generation: int


def log_path(directory: Path, generation: int) -> Path:
    """Where the log of this generation lies."""
    return directory / f"events.{generation:04d}.db"


def state_path(directory: Path, schema_hash: str, generation: int) -> Path:
    """Where the state of this schema and generation lies."""
    return directory / f"state.{schema_hash[:SCHEMA_HASH_CHARS]}.{generation:04d}.db"


def log_generations(directory: Path) -> list[int]:
    """Generations of the log that have a file, highest first."""
    found = (_LOG.fullmatch(path.name) for path in directory.iterdir())
    return sorted((int(match[1]) for match in found if match), reverse=True)


def state_names(directory: Path, schema_hash: str | None = None) -> list[StateName]:
    """State files, highest generation first; only those of `schema_hash` if it is given."""
    names = []
    for path in directory.iterdir():
        match = _STATE.fullmatch(path.name)
        if match and (schema_hash is None or match[1] == schema_hash[:SCHEMA_HASH_CHARS]):
            names.append(StateName(path, match[1], int(match[2])))
    return sorted(names, key=lambda name: name.generation, reverse=True)


def next_state_generation(directory: Path) -> int:
    """A generation above every state file that exists, whatever its schema, so that its name is new."""
    return 1 + max((name.generation for name in state_names(directory)), default=0)
