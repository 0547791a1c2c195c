"""Runs the real program in processes of its own, for the tests of the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, str(Path(__file__).parents[2] / "supervisor.py")]
PASSPHRASE = "correct horse battery staple"
#: Everything a user's shell might have set that changes the output.
CLEAN = {
    key: value
    for key, value in os.environ.items()
    if key not in ("KEEPDB_DATA", "NO_COLOR", "FORCE_COLOR", "XDG_DATA_HOME") and not key.startswith("COV")
}


def run(*arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        env={**CLEAN, **environment},
    )


def data_of(done: "subprocess.CompletedProcess[str]", status: int = 0) -> dict[str, Any]:
    assert done.returncode == status, (done.stdout, done.stderr)
    (line,) = done.stdout.splitlines()
    return dict(json.loads(line))


def start(data: Path, *options: str) -> dict[str, Any]:
    return data_of(
        run(
            "start",
            "--data",
            str(data),
            "--detach",
            "--passphrase-stdin",
            "--json",
            *options,
            stdin=f"{PASSPHRASE}\n",
        )
    )


def stop(data: Path) -> None:
    run("stop", "--kill", "--data", str(data))
