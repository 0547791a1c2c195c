"""Checks of one data directory: rights, owner, keyring, files, what was left behind. Nothing is opened to write,
and no database file at all: closing one would drop the locks of whoever runs in this process."""

import os
import stat
import sys
from pathlib import Path

import msgspec

from keepdb.cli.checks.check import Check
from keepdb.cli.terminal.figures import rfc3339, size
from keepdb.clock import SystemClock
from keepdb.crypto.keyring import read_header
from keepdb.errors import KeepError
from keepdb.runtime.lock import read_owner
from keepdb.schema.load import load_schema
from keepdb.storage.generations import log_generations, log_path, state_names

#: Ends of names that a write-and-rename uses; such a file is left when its process was killed in between.
DRAFTS = (".new", ".tmp", ".part", ".partial", ".draft")
#: Clocks of one machine differ by less, also after a suspend.
CLOCK_SLACK_MS = 60_000
_RESTORE = "Restore a backup with `keepdb restore`; keep the damaged directory until that has worked."


def directory_checks(data: Path) -> list[Check]:
    if not data.exists():
        return [Check("data_dir", "warn", f"{data} does not exist", "`keepdb start` makes it.")]
    if not os.access(data, os.R_OK | os.X_OK):
        return [
            Check(
                "data_dir", "fail", f"{data} may not be entered", "Give this user access to it (mode 0700)."
            )
        ]
    return [
        _rights(data),
        _owner(data),
        _keyring(data),
        _schema(data),
        _files(data),
        _clock(data),
        _strays(data),
    ]


def _rights(data: Path) -> Check:
    found = data.stat()
    mode = stat.S_IMODE(found.st_mode)
    text = f"mode {mode:04o}: {data}"
    if not os.access(data, os.W_OK):
        return Check("data_dir", "fail", text, "This user may not write there; change the owner or the mode.")
    if sys.platform != "win32" and mode & 0o077:
        return Check("data_dir", "warn", text, f"Others may look into it. Run `chmod 700 {data}`.")
    return Check("data_dir", "ok", text)


def _owner(data: Path) -> Check:
    owner = read_owner(data)
    if owner is None:
        return Check("lock", "ok", "nobody uses it")
    if owner.is_alive():
        return Check("lock", "ok", f"in use by pid {owner.pid} (keepdb {owner.version})")
    return Check("lock", "ok", f"free; pid {owner.pid} used it last and has ended")


def _keyring(data: Path) -> Check:
    path = data / "keyring.json"
    if not path.exists():
        if log_generations(data):
            return Check("keyring", "fail", "keyring.json is missing, but there is data", _RESTORE)
        return Check("keyring", "skip", "no database has been made here yet")
    try:
        header = read_header(path)
    except KeepError as error:
        return Check("keyring", "fail", error.message, error.fix)
    kinds = [slot.kind for slot in header.slots]
    text = (
        f"{len(kinds)} slots ({', '.join(kinds)}), {header.pool_end - 1} keys, {header.destroyed} destroyed"
    )
    if sys.platform != "win32" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check("keyring", "warn", text, f"Others may read it. Run `chmod 600 {path}`.")
    return Check("keyring", "ok", text)


def _schema(data: Path) -> Check:
    path = data / "schema.yaml"
    if not path.exists():
        return Check("schema", "skip", "the shipped one will be used")
    try:
        schema = load_schema(path)
    except KeepError as error:
        return Check("schema", "fail", error.message, error.fix)
    return Check("schema", "ok", f"{len(schema.collections)} collections, hash {schema.hash[:12]}")


def _files(data: Path) -> Check:
    logs, states = log_generations(data), state_names(data)
    if not logs:
        state = "fail" if states or (data / "anchor.json").exists() else "skip"
        if state == "fail":
            return Check("files", "fail", "the log is missing, but its state or anchor is there", _RESTORE)
        return Check("files", "skip", "no log has been made here yet")
    log = log_path(data, logs[0])
    text = f"{log.name} {size(log.stat().st_size)}"
    text += "".join(f", {name.path.name} {size(name.path.stat().st_size)}" for name in states[:1])
    if not states:
        return Check("files", "warn", f"{text}, no state", "It is built anew from the log at the next start.")
    if not (data / "anchor.json").exists():
        return Check(
            "files", "warn", f"{text}, no anchor.json", "Start the database; if it refuses, restore a backup."
        )
    return Check("files", "ok", text)


def _clock(data: Path) -> Check:
    try:
        anchor = msgspec.json.decode((data / "anchor.json").read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError):
        return Check("clock", "skip", "no anchor to compare with")
    at, now = anchor.get("at"), SystemClock().now_ms()
    if isinstance(at, int) and at > now + CLOCK_SLACK_MS:
        return Check(
            "clock", "warn", f"it is {rfc3339(now)}, but the log was last written at {rfc3339(at)}",
            "Set the machine's clock; times of new events will otherwise stand still until then.",
        )  # fmt: skip
    return Check("clock", "ok", rfc3339(now))


def _strays(data: Path) -> Check:
    """Drafts of a write that never ended, and generations that nobody will read again."""
    owner = read_owner(data)
    if owner is not None and owner.is_alive():
        return Check("stray_files", "skip", "the database runs; files may be in the making")
    found = [path.name for path in data.iterdir() if path.name.endswith(DRAFTS)]
    states = state_names(data)
    found += [name.path.name for name in states[1:]]
    found += [log_path(data, generation).name for generation in log_generations(data)[1:]]
    if found:
        return Check(
            "stray_files", "warn", ", ".join(sorted(found)[:10]),
            "Left by something that was interrupted; the next start removes what it does not need.",
        )  # fmt: skip
    return Check("stray_files", "ok", "none")
