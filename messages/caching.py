"""Query actors <-> cache: tells only, so that a slow or dead cache never holds up a read."""

from typing import ClassVar

from .base import INTERNAL, Message, Role


class CacheHello(Message, frozen=True, tag="cache_hello"):
    """Query actor -> cache, at start and when the cache has come back: where is the map?

    name: the sender, which gets CacheAt in return.
    """

    roles: ClassVar[frozenset[Role]] = INTERNAL
    name: str


class CacheAt(Message, frozen=True, tag="cache_at"):
    """Cache -> query actor: open this LMDB directory read-only; an earlier one is gone. "" = close, wait."""

    roles: ClassVar[frozenset[Role]] = INTERNAL
    path: str


class CachePut(Message, frozen=True, tag="cache_put"):
    """Query actor -> cache. key: 32 bytes; value: sealed by the sender."""

    roles: ClassVar[frozenset[Role]] = INTERNAL
    key: bytes
    value: bytes
