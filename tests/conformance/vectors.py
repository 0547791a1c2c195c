"""Writes the vectors anew: `python -m tests.conformance.vectors`.

They are made from fixed cases and a fixed seed, and committed; a test checks that they still are what comes out here,
and that the Python client agrees with them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from .diff_cases import diff_lines
from .message_cases import message_lines

MESSAGES, DIFFS = (Path(__file__).with_name(name) for name in ("messages.json", "diffs.json"))


def as_file(lines: Iterator[str]) -> str:
    """A JSON array with a line for each case."""
    return "[\n" + ",\n".join(lines) + "\n]\n"


def main() -> int:
    MESSAGES.write_text(as_file(message_lines()), encoding="utf-8")
    DIFFS.write_text(as_file(diff_lines()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
