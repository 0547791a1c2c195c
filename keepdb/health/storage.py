"""How much space the data directory takes, by kind of file."""

import os
import shutil
from pathlib import Path


def storage_sizes(data: Path) -> dict[str, int]:
    """Bytes by kind: log, state, search, cache, backups, logs, keyring, other, and "disk_free" of the disk."""
    sizes = dict.fromkeys(("log", "state", "search", "cache", "backups", "logs", "keyring", "other"), 0)
    for folder, _, names in os.walk(data):
        for name in names:
            try:
                size = os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # it has just been deleted
            sizes[_kind(Path(folder, name).relative_to(data))] += size
    return {**sizes, "disk_free": shutil.disk_usage(data).free}


def _kind(path: Path) -> str:
    first = path.parts[0]
    for prefix, kind in (
        ("events.", "log"), ("state.", "state"), ("search.", "search"), ("cache.", "cache"),
        ("keyring.", "keyring"), ("backups", "backups"), ("logs", "logs"),
    ):  # fmt: skip
        if first.startswith(prefix):
            return kind
    return "other"
