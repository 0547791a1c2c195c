"""Everything between `keepdb start` and the first process: lock, secrets, keyring, schema, run directory.

Each step either succeeds or raises one KeepError before anything else was written. A second supervisor on the
same directory fails in the first step.
"""

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import msgspec

import keepdb
from keepdb.clock import Clock
from keepdb.config import Config
from keepdb.crypto import keyring
from keepdb.crypto.slots import Secrets
from keepdb.errors import SchemaError, StorageError
from keepdb.fabric.actor import ProcessActor
from keepdb.fabric.seat import Seat
from keepdb.files import FileLock
from keepdb.places import KEYRING_FILE, SCHEMA_FILE
from keepdb.runtime.child import ChildSpec
from keepdb.runtime.host_frame import HostFrame
from keepdb.runtime.lock import own_directory, write_owner
from keepdb.runtime.rundir import clear_run_directory, make_run_directory
from keepdb.schema.ddl import compile_ddl
from keepdb.schema.load import load_schema
from keepdb.schema.model import Schema
from messages.base import Role

#: Plain fork is not among them: children would inherit each other's lifelines.
ProcessContext = ForkServerContext | SpawnContext

#: Compiling the schema takes some 0.3 s in a process of its own.
COMPILE_WAIT_S = 30.0


class Registry(msgspec.Struct, frozen=True):
    """The actors there are. specs: child specs in start order. load: actor class by name, a module-level
    function with static imports (frozen programs need them). preload: modules the forkserver imports."""

    specs: Callable[[Config], tuple[ChildSpec, ...]]
    load: Callable[[str], type[ProcessActor]]
    preload: tuple[str, ...]


class Start(msgspec.Struct, frozen=True):
    """What the supervisor needs to start children. root: ROOT, overwritten at the end.

    session: random bytes of this run, for keys that must not outlive it. run: the child processes' main.
    """

    specs: tuple[ChildSpec, ...]
    context: ProcessContext
    run: Callable[[Seat, Callable[[str], type[ProcessActor]]], None]
    load: Callable[[str], type[ProcessActor]]
    root: bytearray
    session: bytes
    clients: dict[bytes, tuple[Role, str]]

    def __repr__(self) -> str:
        return f"Start({[spec.name for spec in self.specs]})"


class Opened(msgspec.Struct, frozen=True):
    """An unlocked database directory. recovery_code: only when the keyring has just been made."""

    root: bytearray
    db_id: bytes
    recovery_code: str

    def __repr__(self) -> str:
        return f"Opened(db_id={self.db_id.hex()})"


def process_context(config: Config, preload: tuple[str, ...], run: Path) -> ProcessContext:
    """How children are started. The forkserver begins to import at once, while we read secrets.

    Its own socket goes beside ours: the system's temporary folder may be too deep for sockets.
    """
    tempfile.tempdir = str(run.parent)
    if config.start_method == "spawn":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    # Importing it here keeps it away from platforms that have none.
    from multiprocessing import forkserver

    forkserver.ensure_running()
    return context


def take_directory(data: Path, config: Config) -> tuple[FileLock, Path]:
    """Create or enter the data directory and become its one owner (L7). Returns the lock and the run directory."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            "data_unusable",
            f"{data} cannot be used as a data directory: {error.strerror}.",
            fix="Choose a directory that you may write to.",
        ) from error
    lock = own_directory(data)
    try:
        data.chmod(0o700)
        run = make_run_directory(data, config.transport.run_dir)
        clear_run_directory(run)
        write_owner(lock, run, keepdb.__version__)
    except BaseException:
        lock.release()
        raise
    return lock, run


def open_keyring(data: Path, frame: HostFrame, clock: Clock) -> Opened:
    """Unlock the keyring, or make one in a directory that holds no data yet."""
    path = data / KEYRING_FILE
    secrets = Secrets(passphrase=frame.passphrase, keychain=frame.keychain, recovery=frame.recovery)
    if path.exists():
        root = keyring.unlock_root(path, secrets)
        return Opened(bytearray(root), keyring.read_header(path).db_id, "")
    made, code = keyring.create(path, secrets, clock, os.urandom, keychain_note=frame.keychain_note)
    return Opened(bytearray(made.root), made.db_id, code)


def open_schema(data: Path, context: ProcessContext) -> tuple[Schema, tuple[str, ...]]:
    """The directory's schema, and its DDL if no state file has been made for it yet."""
    path = data / SCHEMA_FILE
    if not path.exists():
        shutil.copyfile(Path(keepdb.__file__).parent / "schema" / SCHEMA_FILE, path)
    schema = load_schema(path)
    if any(data.glob(f"state.{schema.hash[:12]}.*.db")):
        return schema, ()
    return schema, _compile_elsewhere(schema, context)


def _compile_elsewhere(schema: Schema, context: ProcessContext) -> tuple[str, ...]:
    """compile_ddl in a short-lived process: it brings the standard sqlite3 library along, which must never be
    loaded in a process that opens live files."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send_ddl, args=(theirs, schema), name="keepdb-schema")
    process.start()
    theirs.close()
    try:
        if ours.poll(COMPILE_WAIT_S):
            ddl: tuple[str, ...] = ours.recv()
            return ddl
    except EOFError:
        pass
    finally:
        process.join(1.0)
        process.kill()
        ours.close()
    raise SchemaError(
        "schema_not_compiled",
        "The process that compiles the schema ended without a result.",
        fix="Start again; if it stays so, report it with the schema.",
    )


def _send_ddl(pipe: "Connection[tuple[str, ...], None]", schema: Schema) -> None:
    pipe.send(compile_ddl(schema))
