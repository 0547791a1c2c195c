"""The Python client: connect to a running database, or start one, and commit, query and watch.

    from keepdb.client import Sidecar

    with Sidecar.start("/path/to/data", passphrase="…") as sidecar, sidecar.connect() as db:
        receipt = db.commit("personas.created", {"name": "Ada"})
        rows = db.query({"from": "personas"}).dicts()

Synchronous and small: one thread, no callbacks. A `Database` must not be shared between threads.
"""

from keepdb.client.database import Database, PendingCommit, Result, connect
from keepdb.client.live import ChangeStream, LiveQuery
from keepdb.client.sidecar import Sidecar
from keepdb.errors import KeepError
from messages.commits import NewEvent, Receipt

__all__ = [
    "ChangeStream",
    "Database",
    "KeepError",
    "LiveQuery",
    "NewEvent",
    "PendingCommit",
    "Receipt",
    "Result",
    "Sidecar",
    "connect",
]
