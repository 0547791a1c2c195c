"""The yardstick for commits: plain SQLite, one INSERT per transaction, WAL, synchronous=FULL, no encryption.

Runs in a process of its own, so that the slow-disk shim can be put under it as under the database.
"""

import sys
from pathlib import Path

import apsw

from benchmarks.figures import timed

CONTENT = b"x" * 500


class RawSqlite:
    """One file in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = apsw.Connection(str(folder / "raw.db"))
        self._db.pragma("journal_mode", "wal")
        self._db.pragma("synchronous", "FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, content BLOB)")

    def commit(self) -> None:
        with self._db:
            self._db.execute("INSERT INTO t (content) VALUES (?)", (CONTENT,))


if __name__ == "__main__":
    raw = RawSqlite(Path(sys.argv[1]))
    for _ in sys.stdin:
        # One line in asks for one round; the answer is the seconds of each commit.
        print(" ".join(f"{seconds:.9f}" for seconds in timed(raw.commit, 100)), flush=True)
