"""The supervisor as a host process sees it: a command, bytes on standard input, one line on standard output."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from keepdb.client import Database
from keepdb.client.sidecar import program
from keepdb.runtime.host_frame import HostFrame, encode_frame
from messages.control import ActorStatus

PASSPHRASE = "four plain words suffice"
FRAME = encode_frame(HostFrame(passphrase=PASSPHRASE))
RUNNING = frozenset({"ready", "stable", "busy", "degraded"})


class Host:
    """One supervisor process that was given `frame` and nothing else. Its standard input stays open."""

    def __init__(self, data: Path, frame: bytes = FRAME, *options: str, close: bool = False) -> None:
        self.began = time.monotonic()
        arguments = [*program(), "host", "--data", str(data), *options]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._is_over = False
        self._input = self.process.stdin
        assert self._input is not None
        self._input.write(frame)
        self._input.flush()
        if close:
            self._input.close()

    def line(self) -> dict[str, Any]:
        """The next line of its standard output; {} at the end."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        return dict(json.loads(text)) if text else {}

    def end_input(self) -> None:
        """What the host's death looks like."""
        assert self._input is not None
        self._input.close()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        """End it in order, if it has not ended yet."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        if not self._is_over:
            self.outcome()

    def outcome(self, timeout: float = 20.0) -> tuple[int, list[dict[str, Any]], str, float]:
        """Wait for the end: status, remaining lines of output, standard error, seconds since the start."""
        self._is_over = True
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with _killing_after(timeout, self.process):
            lines = [json.loads(line) for line in self.process.stdout]
            errors = self.process.stderr.read().decode()
            status = self.process.wait()
        took = time.monotonic() - self.began
        for stream in (self._input, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status, lines, errors, took

    def family(self) -> list[psutil.Process]:
        """The supervisor and all processes below it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


@contextmanager
def hosting(data: Path, frame: bytes = FRAME, *options: str) -> Iterator[Host]:
    """A running supervisor that has printed its ready line; ended in order afterwards if it still runs."""
    host = Host(data, frame, *options)
    try:
        line = host.line()
        assert line.get("event") == "ready", line
        yield host
    finally:
        host.close()


def still_running(processes: list[psutil.Process], seconds: float) -> list[str]:
    """Which of them run after that time at most; what nobody has reaped does not run."""
    deadline = time.monotonic() + seconds
    while (left := [one for one in map(_name_if_running, processes) if one]) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return left


def actors(db: Database) -> dict[str, ActorStatus]:
    """The tree by name."""
    return {actor.name: actor for actor in db.status().actors}


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Look again and again until it holds; returns how long it took. For what nobody sends an event about."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds} s")
        threading.Event().wait(0.01)
    return time.monotonic() - began


def all_running(db: Database, gone: frozenset[int] = frozenset()) -> bool:
    """Whether every actor is ready, in a process that is not among `gone`."""
    return all(actor.state in RUNNING and actor.pid not in gone for actor in db.status().actors)


def _name_if_running(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.pid} {process.cmdline()}"
    except psutil.Error:
        return ""


@contextmanager
def _killing_after(seconds: float, process: "subprocess.Popen[bytes]") -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
