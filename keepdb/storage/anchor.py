"""The anchor: where the log's head was, kept outside the log and under a MAC, and the rule applied at start.

SQLite takes a damaged frame for the end of its write-ahead log, so one flipped bit silently drops every later
commit and leaves a perfect chain behind (measured: 300 of 300). Only a head kept elsewhere shows that.
"""

import hmac
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec

from keepdb.errors import StorageError
from keepdb.files import sync_directory, sync_file

from .batch import Position
from .connection import explained
from .entries import Head

ANCHOR_FORMAT = 1
ANCHOR_BYTES_MAX = 4_096
_LABEL = b"keepdb anchor 1"
_RESTORE = (
    "Writes are stopped. Check whether files were replaced; else restore a backup with `keepdb restore`."
)


class Anchor(msgspec.Struct, frozen=True):
    """A synced head of the log. db_id: 16 bytes. at: ms since the epoch, when it was written."""

    db_id: bytes
    generation: int
    seq: int
    hash: bytes
    at: int


class LogEnds(Protocol):
    """What the start-up rule asks of the log; EventLog has it."""

    generation: int
    db_id: bytes

    @property
    def head(self) -> Head: ...

    def hash_at(self, seq: int) -> bytes | None: ...


class _Page(msgspec.Struct, forbid_unknown_fields=True):
    """anchor.json; bytes are in lower-case hex."""

    format: int
    db_id: str
    generation: int
    seq: int
    hash: str
    at: int
    mac: str


def write(path: Path, key: bytes, anchor: Anchor) -> None:
    """Replace the anchor at once and for good: new file, sync, rename, sync of the directory.

    key: 32 bytes, the anchor's own. The head must be synced in the log before (EventLog.sync()).
    """
    page = _Page(
        ANCHOR_FORMAT,
        anchor.db_id.hex(),
        anchor.generation,
        anchor.seq,
        anchor.hash.hex(),
        anchor.at,
        _mac(key, anchor),
    )
    draft = path.with_name(path.name + ".new")
    with explained(path):
        with suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(page), indent=1) + b"\n")
            file.flush()
            sync_file(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)


def read(path: Path, key: bytes) -> Anchor | None:
    """The anchor; None if there is no file. Raises StorageError anchor_damaged (changed, or another key),
    file_newer.
    """
    with explained(path):
        try:
            with path.open("rb") as file:
                data = file.read(ANCHOR_BYTES_MAX)
        except FileNotFoundError:
            return None
    try:
        page = msgspec.json.decode(data, type=_Page)
        anchor = Anchor(
            bytes.fromhex(page.db_id), page.generation, page.seq, bytes.fromhex(page.hash), page.at
        )
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors too.
        newer = _newer_format(data)
        if newer:
            raise StorageError(
                "file_newer",
                f"{path.name} has format {newer}, this program knows {ANCHOR_FORMAT}.",
                fix="Install the newer KeepDB; the file was not touched.",
            ) from error
        raise _damaged(path, "it is not readable as JSON of the right shape") from error
    if not hmac.compare_digest(page.mac.encode(), _mac(key, anchor).encode()) or page.format != ANCHOR_FORMAT:
        raise _damaged(path, "its authentication code does not fit its content")
    return anchor


def check_start(log: LogEnds, state: Position | None, anchor: Anchor | None) -> None:
    """Refuse to go on where log, state and anchor contradict each other.

    Raises StorageError: log_foreign (anchor of another database), log_generation_old (an older generation
    lies there), log_tail_missing (state or anchor knows later events), log_replaced (another history),
    state_ahead (only unsynced events are missing, as a power cut may do: build the state anew, nothing
    promised was lost).
    """
    head = log.head
    if anchor is not None:
        _check_anchor(log, head, anchor)
    if state is None or state.seq == 0:
        return
    if state.seq > head.seq:
        if state.durable_seq > head.seq:
            raise _tail_missing(head, state.durable_seq, "state")
        raise StorageError(
            "state_ahead",
            f"The state knows event {state.seq}, the log ends at {head.seq}; the events between had "
            "durability `os` and were lost in a power cut.",
            fix="Build the state anew from the log.",
        )
    known = log.hash_at(state.seq)
    if known is not None and known != state.log_hash:
        raise _replaced(state.seq, "state")


def _check_anchor(log: LogEnds, head: Head, anchor: Anchor) -> None:
    if anchor.db_id != log.db_id:
        raise StorageError(
            "log_foreign", "The log belongs to another database than anchor.json.", fix=_RESTORE
        )
    if anchor.generation > log.generation:
        raise StorageError(
            "log_generation_old",
            f"The log is of generation {log.generation}, but {anchor.generation} was in use already.",
            fix=_RESTORE,
        )
    if anchor.seq > head.seq:
        raise _tail_missing(head, anchor.seq, "anchor.json")
    known = log.hash_at(anchor.seq)
    # A later generation may begin after the anchor's position or hash otherwise; its first event binds the
    # old head.
    if anchor.generation == log.generation and known != anchor.hash:
        raise _replaced(anchor.seq, "anchor.json")


def _tail_missing(head: Head, seq: int, witness: str) -> StorageError:
    return StorageError(
        "log_tail_missing",
        f"The log ends at event {head.seq}, but {witness} knows event {seq}: its end is damaged or cut off.",
        fix=_RESTORE,
    )


def _replaced(seq: int, witness: str) -> StorageError:
    return StorageError(
        "log_replaced",
        f"Event {seq} in the log is not the one that {witness} knows: the log was replaced.",
        fix=_RESTORE,
    )


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(
        "anchor_damaged",
        f"{path.name} cannot be trusted: {why}.",
        fix="Run `keepdb doctor`; if the log verifies, delete anchor.json and start again.",
    )


def _newer_format(data: bytes) -> int:
    try:
        found = msgspec.json.decode(data)
    except ValueError:
        return 0
    number = found.get("format") if isinstance(found, dict) else None
    return number if isinstance(number, int) and number > ANCHOR_FORMAT else 0


def _mac(key: bytes, anchor: Anchor) -> str:
    fields = (ANCHOR_FORMAT, anchor.db_id, anchor.generation, anchor.seq, anchor.hash, anchor.at)
    return hmac.new(key, _LABEL + msgspec.msgpack.encode(fields), sha256).hexdigest()
