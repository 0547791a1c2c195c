"""The cache actor: writes the LMDB map that query actors read.

*Owns* the cache directory and its one writable environment.
*Handles* CacheHello and CachePut, both tells: a slow or dead cache never holds up a read.
*Emits* CacheAt to query actors, saying which directory to map.
*After a crash*, its own or that of any process that maps the file, it begins a new, empty directory.
*Without a disk that takes it* it is idle: readers map nothing, and every RETRY_S it tries again.
"""

import logging
from pathlib import Path

from keepdb.cache.store import CacheStore
from keepdb.errors import StorageError, Unavailable
from keepdb.fabric.actor import ProcessActor, handles
from messages.caching import CacheAt, CacheHello, CachePut

logger = logging.getLogger("keepdb.cache")

#: A full disk stays full for a while, and beginning anew costs two syscalls and a map.
RETRY_S = 30.0


class Cache(ProcessActor):
    """Puts are gathered per burst and stored in one transaction."""

    def on_ready(self) -> None:
        self.wipes = 0
        self._readers: set[str] = set()
        self._puts: list[tuple[bytes, bytes]] = []
        size = self.seat.config.cache.size_mib * 1024 * 1024
        self.store = CacheStore(Path(self.seat.data) / "cache.lmdb", size)
        self._begin()
        self.inbox.every(RETRY_S, self._begin_if_idle)

    @handles(CacheHello)
    def hello(self, message: CacheHello) -> None:
        self._readers.add(message.name)
        self._tell_where(message.name)

    @handles(CachePut)
    def put(self, message: CachePut) -> None:
        self._puts.append((message.key, message.value))

    def on_drained(self) -> None:
        puts, self._puts = self._puts, []
        if not puts or not self.store.is_open:
            return
        try:
            self.store.put(puts)
        except StorageError as error:
            self._rest(error)

    def on_peer_down(self, name: str) -> None:
        if name in self._readers:
            # It may have died of this very map; nobody should map it again.
            self.wipes += 1
            logger.warning("the cache is emptied because %s ended unasked", name)
            self._begin()

    def _begin_if_idle(self) -> None:
        if not self.store.is_open:
            self._begin()

    def _begin(self) -> None:
        """An empty cache; everybody maps it."""
        try:
            self.store.renew()
        except StorageError as error:
            self._rest(error)
            return
        self.degraded("")
        self._tell_readers()

    def _rest(self, error: StorageError) -> None:
        """Results are computed anew each time, which is slower and nothing else."""
        logger.error("the cache rests: %s", error.message)
        self.store.clear()
        self.degraded(f"{error.code}: {error.message}")
        self._tell_readers()

    def _tell_readers(self) -> None:
        for reader in self._readers:
            self._tell_where(reader)

    def _tell_where(self, name: str) -> None:
        path = str(self.store.path) if self.store.is_open else ""
        try:
            self.ref(name).tell(CacheAt(path=path))
        except Unavailable:
            logger.debug("%s is not there to be told", name)

    def on_stop(self) -> None:
        self.store.close()

    def figures(self) -> dict[str, float]:
        store = self.store
        return {
            "entries": store.entries,
            "bytes": store.bytes,
            "puts": store.puts,
            "evicted": store.evicted,
            "wipes": self.wipes,
        }
