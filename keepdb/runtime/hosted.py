"""`keepdb host --data DIR`: how an app runs the database. Secrets on standard input, one line on standard output.

A plain option reader instead of the command-line library: the app waits for us, and there are only three options.
"""

import sys
from pathlib import Path

from keepdb.errors import ConfigError
from keepdb.runtime.main import Options, print_line, run_supervisor
from keepdb.runtime.secret_frame import HostStream
from keepdb.runtime.start import Registry

USAGE = "keepdb host --data DIR [--config FILE]… [--set SECTION.KEY=VALUE]…"


def run_hosted(registry: Registry, arguments: list[str]) -> int:
    """Run the tree for a host process; returns the exit status."""
    try:
        options = read_options(arguments)
    except ConfigError as error:
        print_line({"event": "failed", "code": error.code, "message": error.message, "fix": error.fix})
        return 2
    stream = HostStream(sys.stdin.fileno())
    return run_supervisor(registry, options, stream.frame, print_line, stream)


def read_options(arguments: list[str]) -> Options:
    """Raises ConfigError (`usage`)."""
    data: Path | None = None
    files: list[Path] = []
    settings: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, joined, value = rest.pop(0).partition("=")
        if not joined:
            if not rest:
                raise _usage(f"{name} needs a value")
            value = rest.pop(0)
        if name == "--data":
            data = Path(value)
        elif name == "--config":
            files.append(Path(value))
        elif name == "--set" and "." in value.partition("=")[0] and "=" in value:
            key, _, text = value.partition("=")
            settings[key] = text
        else:
            raise _usage(f"{name} {value} is not understood")
    if data is None:
        raise _usage("--data is missing")
    return Options(data=data, config_files=tuple(files), settings=settings)


def _usage(why: str) -> ConfigError:
    return ConfigError("usage", f"{why}.", fix=f"Usage: {USAGE}")
