"""Supervisor <-> its children, and operators -> supervisor: life, death and status."""

from typing import Any, ClassVar, Literal

import msgspec

from .base import INTERNAL, READERS, Message, Request, Role


class Service(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where an actor can be reached. key: its CURVE public key (Z85 text). feed: its PUB endpoint, if it has one."""

    name: str
    endpoint: str
    key: str
    feed: str = ""


class Ready(Message, frozen=True, tag="ready"):
    """Child -> supervisor, once: sockets are bound, state is loaded, requests are served."""

    roles: ClassVar[frozenset[Role]] = INTERNAL
    incarnation: int
    endpoint: str
    feed: str = ""


class Failed(Message, frozen=True, tag="failed"):
    """Child -> supervisor, last words. permanent: a restart cannot help, stop everything with this reason."""

    roles: ClassVar[frozenset[Role]] = INTERNAL
    incarnation: int
    code: str
    message: str
    fix: str
    permanent: bool = False


class Stop(Message, frozen=True, tag="stop"):
    """Supervisor -> child: finish what is begun, answer what is deferred, exit."""


class PeerUp(Message, frozen=True, tag="peer_up"):
    """Supervisor -> every child: `service` is ready (again). restarts: how often it was restarted."""

    service: Service
    restarts: int = 0


class PeerDown(Message, frozen=True, tag="peer_down"):
    """Supervisor -> every child: an actor's process ended unasked."""

    name: str


class ActorStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One row of `status`. state: waiting (for what it needs), starting, ready, stable, busy, degraded, backoff,
    failed (tried again after a while), stopped."""

    name: str
    pid: int
    state: str
    restarts: int
    uptime_ms: int
    reason: str = ""


class GetStatus(Request, frozen=True, tag="get_status"):
    """Client -> supervisor. Answered by Status."""

    roles: ClassVar[frozenset[Role]] = READERS


class Status(Message, frozen=True, tag="status"):
    """The tree as the supervisor sees it. state: starting, ready, degraded, stopping."""

    state: Literal["starting", "ready", "degraded", "stopping"]
    pid: int
    uptime_ms: int
    version: str
    protocol: int
    data: str
    actors: tuple[ActorStatus, ...]
    services: tuple[Service, ...]


class Shutdown(Request, frozen=True, tag="shutdown"):
    """Operator or app -> supervisor: stop everything in order. Answered by Done before the stop begins."""

    roles: ClassVar[frozenset[Role]] = frozenset({"app", "cli", "internal"})


class ActorReport(Message, frozen=True, tag="actor_report"):
    """Actor -> health every few seconds, about the process whose key sends it. figures: name -> number; bytes,
    counts or microseconds as named."""

    roles: ClassVar[frozenset[Role]] = INTERNAL
    figures: dict[str, float]


class GetHealth(Request, frozen=True, tag="get_health"):
    """Client -> health. Answered by Health."""

    roles: ClassVar[frozenset[Role]] = READERS


class Health(Message, frozen=True, tag="health"):
    """actors: newest figures per actor. storage: bytes per file or folder. alerts: what needs attention."""

    actors: dict[str, dict[str, float]]
    storage: dict[str, int]
    alerts: tuple[dict[str, Any], ...] = ()
