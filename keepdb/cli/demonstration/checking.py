"""Accounts for every acknowledged document, times queries, and looks for plain text in every file."""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from keepdb.cli.demonstration.docstrings import Document
from keepdb.cli.demonstration.writing import persona_id
from keepdb.client.database import Database
from keepdb.clock import Clock

PAGE_ROWS = 5_000
PAGE_S = 30.0
#: Documents whose whole content is read back and compared, evenly spread.
CONTENTS = 500
RUNS = 50
#: Sentences looked for, and their length: shorter ones occur in a file by chance or by name.
SENTENCES = 100
SENTENCE_MIN, SENTENCE_MAX = 40, 120
NAME_MIN = 30
READ_BYTES = 8 * 1024 * 1024


class Account(msgspec.Struct, frozen=True):
    """lost: acknowledged and not there. surplus: there and never acknowledged, e.g. carried out twice.

    altered: there with another name or content.
    """

    rows: int
    lost: int
    surplus: int
    altered: int


def account(db: Database, acknowledged: dict[str, Document]) -> Account:
    """Compare what receipts named with what is there, row by row, and a sample's content word by word."""
    found: dict[str, str] = {}
    rows = 0
    for row in _all_rows(db, {"from": "memoryEntities", "select": ["name"]}):
        rows += 1
        found[row["id"]] = row["name"]
    altered = sum(document.name != found.get(key, document.name) for key, document in acknowledged.items())
    sample = list(acknowledged)[:: max(1, len(acknowledged) // CONTENTS)][:CONTENTS]
    for at in range(0, len(sample), 100):
        asked = {
            "from": "memoryEntities",
            "where": {"id": {"in": sample[at : at + 100]}},
            "select": ["content"],
        }
        for row in db.query(asked, timeout=PAGE_S).dicts():
            altered += row["content"] != acknowledged[row["id"]].text
    return Account(
        rows=rows,
        lost=len(acknowledged.keys() - found.keys()),
        surplus=len(found.keys() - acknowledged.keys()) + rows - len(found),
        altered=altered,
    )


def _all_rows(db: Database, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    after: dict[str, str] = {}
    while True:
        page = db.query({**query, "limit": PAGE_ROWS, **after}, timeout=PAGE_S)
        yield from page.dicts()
        if page.cursor is None:
            return
        after = {"after": page.cursor}


def query_times(db: Database, acknowledged: dict[str, Document], clock: Clock) -> dict[str, float]:
    """Median milliseconds of three kinds of query, as the client sees them."""
    ids = list(acknowledged)
    largest = _largest_package(acknowledged)

    def top(turn: int) -> None:
        # The limit varies so that no answer comes from the cache.
        db.query(
            {
                "from": "memoryEntities", "where": {"personaId": persona_id(largest)}, "orderBy": ["-importance"],
                "limit": 51 + turn, "select": ["name", "summary", "content"],
            }
        )  # fmt: skip

    return {
        "pointReadMs": _median_ms(clock, lambda turn: db.get("memoryEntities", ids[turn * 7919 % len(ids)])),
        "filterSortMs": _median_ms(clock, top),
        "countAllMs": _median_ms(
            clock,
            lambda turn: db.sql("SELECT count(*) AS n FROM memoryEntities WHERE importance >= ?", [turn]),
        ),
    }


def _largest_package(acknowledged: dict[str, Document]) -> str:
    counts: dict[str, int] = {}
    for document in acknowledged.values():
        counts[document.package] = counts.get(document.package, 0) + 1
    return max(counts, key=counts.__getitem__)


def _median_ms(clock: Clock, run: Callable[[int], object]) -> float:
    times = []
    for turn in range(RUNS):
        began = clock.monotonic()
        run(turn)
        times.append((clock.monotonic() - began) * 1000)
    return round(statistics.median(times), 3)


def canaries(documents: list[Document]) -> list[bytes]:
    """Sentences and names of the documents, evenly spread, long enough to be found by no accident."""
    step = max(1, len(documents) // SENTENCES)
    found = []
    for document in documents[::step]:
        sentence = " ".join(document.text.split("\n\n")[0].split("\n")[0].split())
        if len(sentence) >= SENTENCE_MIN and sentence in document.text:
            found.append(sentence[:SENTENCE_MAX].encode())
        # Names of our own modules stand in tracebacks and logs, and rightly so.
        if len(document.name) >= NAME_MIN and document.package not in ("keepdb", "actors", "messages"):
            found.append(document.name.encode())
    return list(dict.fromkeys(found))


def search_files(folders: list[Path], needles: list[bytes]) -> tuple[int, int, list[str]]:
    """(files read, bytes read, names of files that hold a needle)."""
    files, size, hits = 0, 0, []
    overlap = max(map(len, needles), default=1) - 1
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        rest = b""
        try:
            with open(path, "rb") as file:
                while block := file.read(READ_BYTES):
                    size += len(block)
                    text = rest + block
                    if any(needle in text for needle in needles):
                        hits.append(path.name)
                        break
                    rest = text[-overlap:]
        except FileNotFoundError:
            continue  # let go in the meantime, like an old state file
        files += 1
    return files, size, hits
