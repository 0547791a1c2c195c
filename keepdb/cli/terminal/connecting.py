"""The way to the running database of a data directory."""

from typing import TYPE_CHECKING

from keepdb.cli.terminal.options import Session
from keepdb.errors import Unavailable
from keepdb.runtime.lock import Owner, read_owner

if TYPE_CHECKING:
    from keepdb.client.database import Database


def connect(session: Session) -> "Database":
    """Connect as the operator. Raises Unavailable: `not_running`, `not_reachable_yet`."""
    # Of the module itself: the package also imports what starting a database needs.
    from keepdb.client.database import connect as connect_client

    try:
        return connect_client(session.data)
    except Unavailable as error:
        owner = living_owner(session)
        if error.code != "not_running" or owner is None:
            raise
        raise Unavailable(
            "not_reachable_yet",
            f"Process {owner.pid} owns {session.data}, but is still starting or already stopping.",
            fix="Try again in a few seconds; `keepdb logs` shows what it does.",
        ) from None


def living_owner(session: Session) -> Owner | None:
    """The supervisor process of this data directory, if it lives."""
    owner = read_owner(session.data)
    return owner if owner is not None and owner.is_alive() else None
