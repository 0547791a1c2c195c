"""Checks of the machine: disk, limits, the run directory."""

import os
import shutil
import stat
import sys
from pathlib import Path

from keepdb.cli.checks.check import Check
from keepdb.cli.terminal.figures import size
from keepdb.config import Config, load_config
from keepdb.errors import ConfigError
from keepdb.runtime import rundir
from keepdb.runtime.lock import read_owner

MIB = 1024 * 1024
#: Each process holds some 40 descriptors at rest and 2 per client; libzmq aborts when it gets none.
DESCRIPTORS_MIN = 1_024


def machine_checks(data: Path) -> list[Check]:
    checks = [_descriptors()]
    user_file = data / "config.yaml"
    try:
        config = load_config((user_file,) if user_file.exists() else ())
    except ConfigError as error:
        return [*checks, Check("config", "fail", error.message, error.fix)]
    found = f"the defaults and {user_file}" if user_file.exists() else "the defaults"
    return [*checks, Check("config", "ok", found), _disk(data, config), *_run_directory(data, config)]


def _descriptors() -> Check:
    if sys.platform == "win32":
        return Check("open_files", "skip", "no such limit on Windows")
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard} per process"
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_MIN:
        return Check(
            "open_files", "fail", found, f"Raise the hard limit to {DESCRIPTORS_MIN} or more (ulimit -Hn)."
        )
    return Check("open_files", "ok", found)


def _disk(data: Path, config: Config) -> Check:
    place = next(path for path in (data, *data.parents) if path.exists())
    free, wanted = shutil.disk_usage(place).free, config.health.disk_free_mib_min * MIB
    found = f"{size(free)} free"
    if free < wanted:
        return Check(
            "disk", "warn", found, f"Free space: {size(wanted)} are wanted; commits stop when it is full."
        )
    return Check("disk", "ok", found)


def _run_directory(data: Path, config: Config) -> list[Check]:
    """Looks where a start would put it, without making it."""
    owner = read_owner(data)
    if owner is not None and owner.is_alive():
        path = Path(owner.run)
    else:
        path = rundir.run_directory(data, config.transport.run_dir)
    return [_run_length(path, config), _run_mode(path)]


def _run_length(path: Path, config: Config) -> Check:
    length = len(os.fsencode(path)) + len(rundir.LONGEST_NAME)
    found = f"{length} of {rundir.SOCKET_PATH_BYTES_MAX} bytes: {path}{rundir.LONGEST_NAME}"
    if config.transport_kind != "ipc":
        return Check("run_dir_length", "skip", "sockets are on loopback tcp")
    if length > rundir.SOCKET_PATH_BYTES_MAX:
        return Check(
            "run_dir_length",
            "fail",
            found,
            "Set transport.run_dir to a shorter path, or transport.kind to tcp.",
        )
    return Check("run_dir_length", "ok", found)


def _run_mode(path: Path) -> Check:
    if sys.platform == "win32":
        return Check("run_dir_mode", "skip", "private by the user profile's ACL")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return Check("run_dir_mode", "ok", f"{path} will be made at the start")
    mode = stat.S_IMODE(found.st_mode)
    text = f"mode {mode:04o}, owner {found.st_uid}: {path}"
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or mode & 0o077:
        return Check(
            "run_dir_mode", "fail", text, f"Run `chmod 700 {path}`; it must be a real directory of yours."
        )
    return Check("run_dir_mode", "ok", text)
