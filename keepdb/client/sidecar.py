"""Starting a database from Python, as an Electron main process does from Node: `Sidecar`."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import keepdb
from keepdb.client.database import Database
from keepdb.client.link import Endpoint
from keepdb.errors import KeepError, Unavailable
from keepdb.fabric.keys import KeyPair
from keepdb.runtime.host_frame import HostFrame, encode_frame

#: Start to ready; a rebuild of a large state takes longer, so it is a parameter.
READY_S = 30.0
STOP_S = 15.0
#: The ready line is one line of JSON; anything longer is not it.
READY_BYTES_MAX = 64 * 1024


class Sidecar:
    """A running database process that ends with us: its standard input is the lifeline.

    ready: the ready line. recovery_code: only when the database has just been made, shown once.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", ready: dict[str, Any], own: KeyPair, data: Path
    ) -> None:
        self.process = process
        self.ready = ready
        self.data = data
        self.recovery_code: str = ready.get("recovery_code", "")
        self._own = own

    @classmethod
    def start(
        cls,
        data: str | Path,
        *,
        passphrase: str | None = None,
        keychain: bytes | None = None,
        recovery: str | None = None,
        settings: Mapping[str, str] | None = None,
        config: Path | None = None,
        timeout: float = READY_S,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start and wait until it is ready. Raises KeepError with the reason it gave."""
        own = KeyPair.generate()
        arguments = [*program(), "host", "--data", str(data)]
        for name, value in (settings or {}).items():
            arguments += ["--set", f"{name}={value}"]
        if config is not None:
            arguments += ["--config", str(config)]
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        assert process.stdin is not None
        frame = HostFrame(
            passphrase=passphrase, keychain=keychain, recovery=recovery, clients={own.public.decode(): "app"}
        )
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(encode_frame(frame))
            process.stdin.flush()
        try:
            return cls(process, _read_ready(process, timeout), own, Path(data))
        except BaseException:
            _end(process, 1.0)
            raise

    def connect(self) -> Database:
        """A new connection with role app."""
        keys = self.ready["server_keys"]
        endpoints = {
            name: Endpoint(name, where, keys[name]) for name, where in self.ready["endpoints"].items()
        }
        return Database(endpoints, self._own)

    def stop(self, timeout: float = STOP_S) -> int:
        """Close the lifeline and wait for the orderly end; returns the exit status."""
        return _end(self.process, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def program() -> list[str]:
    """How to start ourselves: the frozen executable, or this interpreter with supervisor.py."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, str(Path(keepdb.__file__).parent.parent / "supervisor.py")]


def _read_ready(process: "subprocess.Popen[bytes]", timeout: float) -> dict[str, Any]:
    """The first line of its standard output, or the error it stands for."""
    line = _with_timer(timeout, process.kill, lambda: _stdout(process).readline(READY_BYTES_MAX))
    try:
        found = json.loads(line)
    except ValueError:
        raise Unavailable(
            "start_failed",
            f"The database process ended or was silent for {timeout:.0f} s without a ready line.",
            fix="Look at its standard error and at logs/supervisor.jsonl in the data directory.",
        ) from None
    if found.get("event") == "ready":
        return dict(found)
    process.wait(STOP_S)
    raise KeepError(found["code"], found["message"], fix=found["fix"])


def _with_timer(seconds: float, on_timeout: Callable[[], None], run: Callable[[], bytes]) -> bytes:
    timer = threading.Timer(seconds, on_timeout)
    timer.start()
    try:
        return run()
    finally:
        timer.cancel()
        timer.join()


def _stdout(process: "subprocess.Popen[bytes]") -> Any:
    return process.stdout


def _end(process: "subprocess.Popen[bytes]", timeout: float) -> int:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
