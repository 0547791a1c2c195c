"""The connection file: what operators of the same user need to reach a running database.

Only ever written readable by its owner, in the 0700 run directory; it holds a CURVE secret key of role cli.
"""

import os
from pathlib import Path

import msgspec

from keepdb.errors import Unavailable
from keepdb.runtime.lock import read_owner

NAME = "connection.json"


class ConnectionFile(msgspec.Struct, frozen=True, kw_only=True):
    """endpoints, server_keys: by service name. public, secret: the operator's CURVE key pair (Z85)."""

    pid: int
    protocol: int
    endpoints: dict[str, str]
    server_keys: dict[str, str]
    public: str
    secret: str

    def __repr__(self) -> str:
        return f"ConnectionFile(pid={self.pid})"


def write_connection_file(run: Path, content: ConnectionFile) -> None:
    """Write it whole or not at all, mode 0600 from the first byte."""
    draft = run / f"{NAME}.new.json"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(content))
    draft.replace(run / NAME)


def read_connection_file(data: Path) -> ConnectionFile:
    """The connection file of the database in `data`. Raises Unavailable (`not_running`)."""
    owner = read_owner(data)
    if owner is not None and owner.is_alive():
        try:
            return msgspec.json.decode((Path(owner.run) / NAME).read_bytes(), type=ConnectionFile)
        except (OSError, msgspec.DecodeError):
            pass  # it is starting or stopping: not reachable yet, or no more
    raise Unavailable(
        "not_running",
        f"No database is running on {data}.",
        fix=f"Start it with `keepdb start --data {data}`.",
    )
