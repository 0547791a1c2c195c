"""The command line: one module per command, and in `terminal` what they share.

Nothing is imported here, so that each command pays only for what it uses itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepdb.runtime.start import Registry


def run_cli(registry: "Callable[[], Registry]") -> int:
    """Parse the command line and carry it out; returns the exit status (docs/cli.md lists them).

    registry: loads the actors there are; only commands that run the tree in this process call it.
    """
    from keepdb.cli.program import run

    return run(registry)
