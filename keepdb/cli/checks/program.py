"""Checks of the program itself: interpreter, libraries, what they can do."""

import platform
import sys

import apsw
import cryptography
import lmdb
import msgspec
import zmq

import keepdb
from keepdb.cli.checks.check import Check
from keepdb.errors import StorageError
from keepdb.storage.connection import CIPHER, check_library

PYTHON_MIN = (3, 11)
_INSTALL = "Install the pinned versions again: `make venv`, or `pip install keepdb`."


def program_checks() -> list[Check]:
    return [_versions(), _sqlite(), _cipher(), _curve(), _transport()]


def _versions() -> Check:
    found = (
        f"keepdb {keepdb.__version__}, Python {platform.python_version()}, libzmq {zmq.zmq_version()}, "
        f"msgspec {msgspec.__version__}, cryptography {cryptography.__version__}, lmdb {lmdb.__version__}"
    )
    if sys.version_info < PYTHON_MIN:
        return Check("versions", "fail", found, "Use Python 3.11 or later.")
    return Check("versions", "ok", found)


def _sqlite() -> Check:
    found = f"SQLite {apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})"
    try:
        check_library()
    except StorageError as error:
        return Check("sqlite", "fail", found, f"{error.message} {error.fix}")
    return Check("sqlite", "ok", found)


def _cipher() -> Check:
    memory = apsw.Connection(":memory:")
    try:
        cipher = memory.pragma("cipher", CIPHER)
    finally:
        memory.close()
    if cipher != CIPHER:
        return Check("cipher", "fail", "the SQLite library cannot encrypt pages", _INSTALL)
    return Check("cipher", "ok", f"pages are encrypted with {CIPHER}")


def _curve() -> Check:
    if not zmq.has("curve"):
        return Check("curve", "fail", "libzmq was built without CURVE", "Install the pyzmq wheel from PyPI.")
    return Check("curve", "ok", "sockets are encrypted with CURVE")


def _transport() -> Check:
    kinds = [kind for kind in ("ipc", "tcp") if kind == "tcp" or zmq.has("ipc")]
    return Check("transport", "ok", " and ".join(kinds))
