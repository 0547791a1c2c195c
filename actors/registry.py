"""Which actors there are, in start order, and where their classes live.

Static imports only: a frozen program finds no module by a computed name. They stand inside `load`, so that the
supervisor does not import what only the actors need.
"""

from keepdb.config import Config
from keepdb.crypto import kdf
from keepdb.fabric.actor import ProcessActor
from keepdb.runtime.child import ChildSpec
from keepdb.runtime.start import Registry


def specs(config: Config) -> tuple[ChildSpec, ...]:
    """Child specs in start order; stopping goes the other way."""
    workers = tuple(
        ChildSpec(
            name=f"query-{number}",
            needs=("encryption", "writer"),
            secrets=(kdf.FILE_STATE, kdf.CACHE),
            core=True,
        )
        for number in range(1, config.query.workers + 1)
    )
    return (
        ChildSpec(name="encryption", secrets=(kdf.KEYRING_KEK, kdf.KEYRING_MAC), clients=False, core=True),
        ChildSpec(
            name="writer",
            needs=("encryption",),
            secrets=(kdf.FILE_LOG, kdf.FILE_STATE, kdf.ANCHOR),
            feed=True,
            core=True,
        ),
        *workers,
        ChildSpec(name="cache", needs=tuple(spec.name for spec in workers), clients=False),
        ChildSpec(
            # KEYRING_MAC opens nothing: with it the actor proves that the keyring in a backup will be accepted.
            name="backup",
            needs=("encryption", "writer"),
            secrets=(kdf.FILE_LOG, kdf.FILE_STATE, kdf.BACKUP, kdf.KEYRING_MAC),
        ),
        ChildSpec(name="health", needs=("writer",)),
    )


def load(name: str) -> type[ProcessActor]:
    """The class of the actor called `name`."""
    match name.partition("-")[0]:
        case "encryption":
            from actors.encryption import Encryption

            return Encryption
        case "writer":
            from actors.writer import Writer

            return Writer
        case "query":
            from actors.query import QueryActor

            return QueryActor
        case "cache":
            from actors.cache import Cache

            return Cache
        case "backup":
            from actors.backup import Backup

            return Backup
        case "health":
            from actors.health import HealthActor

            return HealthActor
    raise LookupError(f"there is no actor called {name}")


REGISTRY = Registry(specs=specs, load=load, preload=("actors.preload",))
