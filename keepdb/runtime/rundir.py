"""The run directory: sockets and the connection file, on a short path that only we can enter.

An ipc path may have 107 bytes (103 on macOS), so sockets never live in the data directory. Each database has a
folder of its own below the place that is configured, so whatever else lies there is nobody's business.
"""

import hashlib
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

from keepdb.errors import ConfigError

#: sun_path without its end mark; macOS has the shorter one.
SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107
#: The longest name we put into the directory, with its slash.
LONGEST_NAME = "/encryption.sock"
#: What a run makes there and the next one may remove. The writer's note for its successor is not among it.
_OURS = re.compile(r"[a-z]+(-\d+)?\.(sock|feed|pulse)|connection\.json(\.new\.json)?")


def make_run_directory(data: Path, configured: str) -> Path:
    """Create (or check) the directory for this data directory and return it.

    Raises ConfigError: `run_dir_unsafe` when others could enter it, `run_dir_too_long`, `run_dir_unusable`.
    """
    path = run_directory(data, configured)
    if not _fits(path):
        raise ConfigError(
            "run_dir_too_long",
            f"{path} is too long for sockets: with {LONGEST_NAME} it may have {SOCKET_PATH_BYTES_MAX} bytes.",
            fix="Set transport.run_dir to a shorter path, or transport.kind to tcp.",
        )
    for folder in (path.parent, path):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                "run_dir_unusable",
                f"{folder} cannot be made or used as the run directory: {error.strerror}.",
                fix="Set transport.run_dir to a short path in a directory that exists and is yours.",
            ) from error
        _check_private(folder)
    return path


def clear_run_directory(path: Path) -> None:
    """Remove sockets and connection file of an earlier run; only the owner of the lock does this."""
    for entry in path.iterdir():
        if _OURS.fullmatch(entry.name) and not entry.is_dir():
            entry.unlink(missing_ok=True)


def run_directory(data: Path, configured: str) -> Path:
    """Where the sockets of `data` are, given `transport.run_dir`. Nothing is created."""
    if not configured:
        return default_run_directory(data)
    return Path(configured).absolute() / _own_name(data)


def default_run_directory(data: Path) -> Path:
    """Where the sockets of `data` are unless transport.run_dir says otherwise. Nothing is created."""
    owner = os.getuid() if sys.platform != "win32" else 0
    # A temporary folder may itself be too deep for sockets; /tmp never is, and our folder in it is private.
    bases = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")
    paths = [Path(base) / f"keepdb-{owner}" / _own_name(data) for base in bases if base]
    return next((path for path in paths if _fits(path)), paths[0])


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) + len(LONGEST_NAME) <= SOCKET_PATH_BYTES_MAX


def _own_name(data: Path) -> str:
    """Two databases never share a directory: each would remove the other's sockets."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:10]


def _check_private(path: Path) -> None:
    if sys.platform == "win32":
        return  # the user profile's temporary folder is private by its ACL
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            "run_dir_unsafe",
            f"{path} must be a real directory of yours that nobody else can enter (mode 0700); it has mode "
            f"{stat.S_IMODE(found.st_mode):04o} and owner {found.st_uid}.",
            fix=f"Run `chmod 700 {path}`, or set transport.run_dir to another directory.",
        )
