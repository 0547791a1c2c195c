"""The cache actor: writes the LMDB map that query actors read.

*Owns* the cache directory and its one writable environment.
*Handles* CacheHello and CachePut, both tells: a slow or dead cache never holds up a read.
*Emits* CacheAt to query actors, saying which directory to map.
*After a crash*, its own or that of any process that maps the file, it begins a new, empty directory.
"""

import logging
from pathlib import Path

from keepdb.cache.store import CacheStore
from keepdb.errors import Unavailable
from keepdb.fabric.actor import ProcessActor, handles
from messages.caching import CacheAt, CacheHello, CachePut

logger = logging.getLogger("keepdb.cache")


class Cache(ProcessActor):
    """Puts are gathered per burst and stored in one transaction."""

    def on_ready(self) -> None:
        self.wipes = 0
        self._readers: set[str] = set()
        self._puts: list[tuple[bytes, bytes]] = []
        size = self.seat.config.cache.size_mib * 1024 * 1024
        self.store = CacheStore(Path(self.seat.data) / "cache.lmdb", size)

    @handles(CacheHello)
    def hello(self, message: CacheHello) -> None:
        self._readers.add(message.name)
        self._tell_where(message.name)

    @handles(CachePut)
    def put(self, message: CachePut) -> None:
        self._puts.append((message.key, message.value))

    def on_drained(self) -> None:
        if self._puts:
            puts, self._puts = self._puts, []
            self.store.put(puts)

    def on_peer_down(self, name: str) -> None:
        if name in self._readers:
            # It may have died of this very map; nobody should map it again.
            self.wipes += 1
            self.store.renew()
            logger.warning("the cache was emptied because %s ended unasked", name)
            for reader in self._readers - {name}:
                self._tell_where(reader)

    def _tell_where(self, name: str) -> None:
        try:
            self.ref(name).tell(CacheAt(path=str(self.store.path)))
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
