"""The command `keepdb`: parses, loads configuration, and runs the tree.

`python supervisor.py …`, `python -m supervisor …` and `keepdb …` are the same. Imports stand inside functions,
because every child process imports this module as its own main again.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepdb.runtime.start import Registry


def main() -> None:
    """Entry point of the command line; ends the process with the status documented in docs/cli.md."""
    import sys

    # `host` is what an app spawns: no command-line parser, so that it is up 60 ms sooner.
    if sys.argv[1:2] == ["host"]:
        from keepdb.runtime.hosted import run_hosted

        sys.exit(run_hosted(registry(), sys.argv[2:]))
    from keepdb.cli import run_cli

    sys.exit(run_cli(registry))


def registry() -> "Registry":
    """The actors there are. The core is handed them, so that it never imports an actor."""
    from actors.registry import REGISTRY

    return REGISTRY


if __name__ == "__main__":
    from multiprocessing import freeze_support

    freeze_support()
    main()
