"""The cache's writing side: one LMDB environment in a directory of its own for every life.

LMDB has no checksums, and a damaged map has been seen to kill its reader (30 of 300 trials). So it never
outlives a crash: each start, and each crash of a process that maps it, begins an empty directory, and a mapped
file is never truncated. Syncs are off: there is nothing worth keeping.
"""

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import lmdb

from keepdb.errors import StorageError

#: Entries removed at a time when the map is full, oldest first.
EVICT_ENTRIES = 256
#: Readers that may map the environment at once: query actors, and their predecessors not yet cleared away.
READERS_MAX = 126
#: Names of the two tables: key -> value, and the order in which keys came.
VALUES, ORDER = b"values", b"order"


class CacheStore:
    """root: the folder that holds one directory per life. size: bytes the map may take.

    Closed at first: renew() opens it. Raises StorageError `cache_unusable` where the disk does not go along.
    """

    def __init__(self, root: Path, size: int) -> None:
        self._root = root
        self._size = size
        self._life = 0
        self.entries = 0
        self.bytes = 0
        self.puts = 0
        self.evicted = 0
        self._environment: lmdb.Environment | None = None
        self.path = Path()

    @property
    def is_open(self) -> bool:
        return self._environment is not None

    def renew(self) -> Path:
        """Begin an empty directory under a name never used before in this process; earlier ones go."""
        self.clear()
        try:
            earlier = [int(path.name) for path in self._directories() if path.name.isdigit()]
            self._life = max([self._life, *earlier]) + 1
            self.path = self._root / f"{self._life:06d}"
            self.path.mkdir(mode=0o700, parents=True)
            # 0.9 format: 1.0 has only months in the field.
            self._environment = lmdb.open(
                str(self.path),
                map_size=self._size,
                max_dbs=2,
                max_readers=READERS_MAX,
                sync=False,
                metasync=False,
                lib_version=0,
            )
            self._values = self._environment.open_db(VALUES)
            self._order = self._environment.open_db(ORDER, integerkey=True)
        except (OSError, lmdb.Error) as error:
            self.close()
            raise _unusable(self._root, error) from error
        return self.path

    def clear(self) -> None:
        """Close it and give its space back."""
        self.close()
        self.entries = self.bytes = 0
        with contextlib.suppress(OSError):
            for path in self._directories():
                # Unlinking is safe while others map it; on Windows it fails and the next start tries again.
                shutil.rmtree(path, ignore_errors=True)

    def _directories(self) -> list[Path]:
        return list(self._root.iterdir()) if self._root.exists() else []

    def put(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Store (key, value) pairs in one transaction; the oldest entries make room."""
        pairs = list(items)
        for _ in range(3):
            try:
                self._store(pairs)
                return
            except lmdb.MapFullError:
                self._make_room()
            except lmdb.Error as error:
                raise _unusable(self._root, error) from error
        # A reader of an old version still holds the pages; these results are computed again when needed.

    def _store(self, pairs: list[tuple[bytes, bytes]]) -> None:
        assert self._environment is not None
        added = size = 0
        with self._environment.begin(write=True) as txn:
            for key, value in pairs:
                self.puts += 1
                if not txn.put(key, value, overwrite=False, db=self._values):
                    continue
                txn.put(self.puts.to_bytes(8, "little"), key, db=self._order)
                added += 1
                size += len(value)
        self.entries += added
        self.bytes += size

    def _make_room(self) -> None:
        try:
            self._evict()
        except lmdb.Error as error:
            raise _unusable(self._root, error) from error

    def _evict(self) -> None:
        assert self._environment is not None
        gone = size = 0
        with contextlib.suppress(lmdb.MapFullError), self._environment.begin(write=True) as txn:
            cursor = txn.cursor(db=self._order)
            # Asked for anew each time: delete() also says yes when it took the last one.
            while gone < EVICT_ENTRIES and cursor.first():
                size += len(txn.pop(cursor.value(), db=self._values) or b"")
                gone += 1
                cursor.delete()
        self.entries -= gone
        self.bytes -= size
        self.evicted += gone

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None


def _unusable(root: Path, error: Exception) -> StorageError:
    return StorageError(
        "cache_unusable",
        f"The cache cannot be kept in {root} ({type(error).__name__}).",
        fix="Check permissions and free space; queries work without it.",
        retryable=True,
    )
