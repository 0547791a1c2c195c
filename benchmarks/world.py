"""A running database with a given number of memories, for the figures to be measured on."""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keepdb.client import Database, NewEvent, PendingCommit, Sidecar

PASSPHRASE = "a passphrase for measuring"
IN_FLIGHT = 64
PERSONAS = 20
WORDS = ("memory", "harbour", "lantern", "quiet", "signal", "winter", "orchard", "river", "copper", "meadow")


@contextmanager
def running(data: Path, environment: dict[str, str] | None = None) -> Iterator[tuple[Sidecar, Database]]:
    """A sidecar on `data` and a connection to it."""
    with (
        Sidecar.start(data, passphrase=PASSPHRASE, environment=environment) as sidecar,
        sidecar.connect() as db,
    ):
        yield sidecar, db


def memory(personas: list[str], rng: random.Random) -> dict[str, Any]:
    """One memory of about 500 characters, its content encrypted."""
    return {
        "personaId": rng.choice(personas),
        "type": rng.choice(("concept", "event", "person", "knowledge")),
        "name": " ".join(rng.choices(WORDS, k=3)),
        "content": " ".join(rng.choices(WORDS, k=55)),
        "summary": " ".join(rng.choices(WORDS, k=10)),
        "tags": rng.sample(WORDS, 3),
        "importance": rng.randrange(101),
    }


def fill(db: Database, memories: int, seed: int = 1) -> tuple[list[str], list[str]]:
    """Commit personas and memories, 100 events a commit; returns their ids."""
    rng = random.Random(seed)
    personas = [db.commit("personas.created", {"name": f"Persona {n}"}).ids[0] for n in range(PERSONAS)]
    waiting: deque[PendingCommit] = deque()
    ids: list[str] = []
    for first in range(0, memories, 100):
        batch = [
            NewEvent(type="memoryEntities.created", data=memory(personas, rng))
            for _ in range(min(100, memories - first))
        ]
        waiting.append(db.submit(batch, timeout=60))
        if len(waiting) >= 8:
            ids += waiting.popleft().receipt().ids
    for pending in waiting:
        ids += pending.receipt().ids
    return personas, ids


def filled(folder: Path, memories: int) -> Path:
    """A data directory with so many memories, made once for all who only add to it."""
    data = folder / f"filled-{memories}"
    if not data.exists():
        with running(data) as (_, db):
            fill(db, memories)
    return data
