"""The supervisor process's main: from options to exit status.

Standard output carries exactly one JSON line: `ready`, or `failed` with code, message and fix.
"""

import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import keepdb
from keepdb.clock import Clock, SystemClock
from keepdb.config import load_config
from keepdb.errors import KeepError, StorageError
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.seat import Seat, Secrets
from keepdb.logs import set_up_logging
from keepdb.runtime import start
from keepdb.runtime.connection_file import ConnectionFile, write_connection_file
from keepdb.runtime.host import prepare_process, run_actor
from keepdb.runtime.host_frame import HostFrame
from keepdb.runtime.rundir import clear_run_directory
from keepdb.runtime.secret_frame import HostStream
from keepdb.runtime.tree import Supervisor
from messages.base import PROTOCOL, Role

logger = logging.getLogger("keepdb.runtime")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """data: the data directory. config_files, settings: see load_config."""

    data: Path
    config_files: tuple[Path, ...] = ()
    settings: dict[str, str] = {}


def run_supervisor(
    registry: start.Registry,
    options: Options,
    get_frame: Callable[[], HostFrame],
    emit: Callable[[dict[str, Any]], None],
    host: HostStream | None = None,
) -> int:
    """Run the tree until it is told to stop. Returns the exit status: 0 stopped in order, else the error's.

    get_frame: waits for the host's secrets. emit: prints one line for the host. host: its stream, the lifeline.
    """
    try:
        reason = _run(registry, options, get_frame, emit, host)
    except KeepError as error:
        reason = error
    except Exception as error:
        logger.exception("the start failed")
        reason = _unforeseen("start_crashed", error)
    if reason is None:
        return 0
    emit({"event": "failed", "code": reason.code, "message": reason.message, "fix": reason.fix})
    return reason.exit_code


def _run(
    registry: start.Registry,
    options: Options,
    get_frame: Callable[[], HostFrame],
    emit: Callable[[dict[str, Any]], None],
    host: HostStream | None,
) -> KeepError | None:
    prepare_process()
    clock = SystemClock()
    user_file = options.data / "config.yaml"
    files = (*([user_file] if user_file.exists() else []), *options.config_files)
    config = load_config(tuple(files), options.settings)
    lock, run = start.take_directory(options.data, config)
    try:
        context = start.process_context(config, registry.preload, run)
        set_up_logging(options.data / "logs", "supervisor", config.logs)
        frame = get_frame()
        schema, ddl = start.open_schema(options.data, context)
        opened = start.open_keyring(options.data, frame, clock)
        operator = KeyPair.generate()
        clients: dict[bytes, tuple[Role, str]] = {
            key.encode(): (role, role) for key, role in frame.clients.items()
        }
        clients[operator.public] = ("cli", "cli")
        lifeline = host if frame.lifeline else None
        # ROOT stays, to derive keys for restarts; the secrets it was unlocked with must not.
        del frame
        tcp = config.transport_kind == "tcp"
        seat = Seat(
            name="supervisor",
            incarnation=1,
            feed="",
            own=KeyPair.generate(),
            supervisor=None,
            directory={},
            endpoint="tcp://127.0.0.1:*" if tcp else f"ipc://{run}/supervisor.sock",
            allowed=clients,
            data=str(options.data.absolute()),
            run=str(run),
            config=config,
            schema=schema,
            schema_ddl=ddl,
            db_id=opened.db_id,
            secrets=Secrets({}),
        )
        plan = start.Start(
            specs=registry.specs(config),
            context=context,
            run=run_actor,
            load=registry.load,
            root=opened.root,
            session=os.urandom(32),
            clients=clients,
        )
        return _serve(seat, plan, clock, opened, operator, lifeline, emit)
    finally:
        with contextlib.suppress(OSError):
            clear_run_directory(run)
            run.rmdir()  # it stays when the writer left a note for its successor
        lock.release()


def _serve(
    seat: Seat,
    plan: start.Start,
    clock: Clock,
    opened: start.Opened,
    operator: KeyPair,
    lifeline: HostStream | None,
    emit: Callable[[dict[str, Any]], None],
) -> KeepError | None:
    def publish(line: dict[str, Any]) -> None:
        write_connection_file(
            Path(seat.run),
            ConnectionFile(
                pid=os.getpid(),
                protocol=PROTOCOL,
                endpoints=line["endpoints"],
                server_keys=line["server_keys"],
                public=operator.public.decode(),
                secret=operator.secret.decode(),
            ),
        )

    def ready(line: dict[str, Any]) -> None:
        publish(line)
        emit({**line, "recovery_code": opened.recovery_code} if opened.recovery_code else line)

    supervisor = Supervisor(seat, clock, start=plan, on_ready_line=ready, on_moved=publish)
    stop = supervisor.inbox.door(supervisor.begin_stop)
    if lifeline is not None:
        lifeline.when_ended(supervisor.inbox.door(supervisor.begin_stop))

    def on_signal(*_: object) -> None:
        with contextlib.suppress(Exception):
            stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    logger.info("keepdb %s on %s", keepdb.__version__, seat.data)
    try:
        supervisor._start_actor_loop()
    finally:
        # Before the lock is released: whoever gets it next must find nobody in the directory.
        supervisor.end_children()
        opened.root[:] = bytes(len(opened.root))
    if supervisor.failure is None:
        return supervisor.reason
    return _unforeseen("supervisor_crashed", supervisor.failure)


def _unforeseen(code: str, error: BaseException) -> KeepError:
    """What the host is told of an error; a KeepError speaks for itself."""
    if isinstance(error, KeepError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        place = f" with {error.filename}" if error.filename else ""
        return StorageError(
            code,
            f"The system refused to go on{place}: {error.strerror}.",
            fix="Check that there is free space and that the directory is yours; `keepdb doctor` helps.",
        )
    return KeepError(
        code,
        f"An unexpected {type(error).__name__} ended the supervisor.",
        fix="Look into the logs (`keepdb logs`) and report it.",
    )


def print_line(line: dict[str, Any]) -> None:
    """One JSON line on standard output, flushed: the host waits for it."""
    # A host that no longer listens must not change how we end.
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(line).encode() + b"\n")
