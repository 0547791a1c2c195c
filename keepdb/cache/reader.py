"""The cache's reading side, inside the query actors: look-up by memory map, sealing and opening of values.

A key names the query, the state's generation and the versions of every table it read, as seen in the query's
own snapshot. A stale entry therefore cannot be hit: its key is never asked for again.
"""

import hmac
import os
from collections.abc import Iterable, Mapping

import lmdb
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keepdb.cache.store import READERS_MAX, VALUES
from keepdb.query.run import RawResult

_NONCE = 12
_encode = msgspec.msgpack.Encoder().encode


class _Kept(msgspec.Struct, array_like=True):
    """What of a result is kept; its seq is that of the snapshot that finds it."""

    columns: tuple[str, ...]
    rows: list[list[object]]
    key: int
    cursor: str | None


_decode = msgspec.msgpack.Decoder(_Kept).decode


class CacheReader:
    """key: 32 bytes of this run, never stored. map_size: the writer's, in bytes. entry_max: larger results are
    not kept."""

    def __init__(self, key: bytes, map_size: int, entry_max: int) -> None:
        self._key = key
        self._cipher = AESGCM(key)
        self._map_size = map_size
        self._entry_max = entry_max
        self._environment: lmdb.Environment | None = None
        self.hits = 0
        self.misses = 0

    def open(self, path: str) -> None:
        """Map another directory; "" maps none. A directory that is gone already is no error: there is no cache."""
        self.close()
        if not path:
            return
        try:
            self._environment = lmdb.open(
                path, map_size=self._map_size, readonly=True, max_dbs=2, max_readers=READERS_MAX
            )
            self._values = self._environment.open_db(VALUES)
        except lmdb.Error:
            self.close()

    @property
    def is_open(self) -> bool:
        return self._environment is not None

    def name_of(
        self, canonical: bytes, generation: int, tables: Iterable[str], versions: Mapping[str, int]
    ) -> bytes:
        """32 bytes: a keyed hash, so that keys tell nothing about queries either."""
        read = [(table, versions.get(table, 0)) for table in sorted(tables)]
        return hmac.digest(self._key, _encode((canonical, generation, read)), "sha256")

    def get(self, name: bytes, seq: int) -> RawResult | None:
        """The kept result under this name, as of the snapshot at seq."""
        if self._environment is None:
            return None
        try:
            with self._environment.begin() as txn:
                sealed = txn.get(name, db=self._values)
        except lmdb.Error:
            # Disposable by design: whatever is wrong with it, queries go on without.
            self.close()
            return None
        if sealed is not None:
            try:
                kept = _decode(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name))
            except (InvalidTag, msgspec.DecodeError):
                pass  # damaged: as good as absent
            else:
                self.hits += 1
                return RawResult(kept.columns, kept.rows, kept.key, seq, kept.cursor)
        self.misses += 1
        return None

    def seal(self, name: bytes, result: RawResult) -> bytes | None:
        """What to store under the name; None if it is too large."""
        plain = _encode(_Kept(result.columns, result.rows, result.key, result.cursor))
        if len(plain) > self._entry_max:
            return None
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, name)

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None
