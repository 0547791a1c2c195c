"""What a process is given when it starts: everything an actor needs and nothing it does not.

Seats travel over the pipe of the starting process, never in argv or the environment.
"""

import msgspec

from keepdb.config import Config
from keepdb.fabric.keys import KeyPair
from keepdb.schema.model import Schema
from messages.base import Role
from messages.control import Service


class Secrets(msgspec.Struct, frozen=True):
    """Keys derived from ROOT, by label (keepdb/crypto/kdf.py); only those the actor's child spec names."""

    keys: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self.keys))})"

    def __getitem__(self, label: str) -> bytes:
        return self.keys[label]


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """One actor's place in the tree.

    endpoint, feed: what to bind ("" feed = none); tcp with port * when the port is still free to choose.
    supervisor: where to report; None in the supervisor itself. directory: peers known so far, by name.
    allowed: public key -> (role, holder). incarnation: 1 at the first start, +1 per restart.
    """

    name: str
    incarnation: int
    endpoint: str
    feed: str
    own: KeyPair
    supervisor: Service | None
    directory: dict[str, Service]
    allowed: dict[bytes, tuple[Role, str]]
    data: str
    run: str
    config: Config
    schema: Schema
    schema_ddl: tuple[str, ...]
    db_id: bytes
    secrets: Secrets
