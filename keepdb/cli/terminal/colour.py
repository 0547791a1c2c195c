"""Whether to write colours, and the few there are. Decided here because click knows no NO_COLOR.

Order: --color, then NO_COLOR (no-color.org: set and not empty), FORCE_COLOR, TERM=dumb, then whether the
stream is a terminal.
"""

from collections.abc import Mapping
from typing import Literal

Choice = Literal["auto", "always", "never"]

_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip

#: Given to processes in turn, so that lines of different ones can be told apart; red and green mean bad and good.
TURN = ("cyan", "magenta", "blue", "yellow")


def wants_colour(choice: Choice, environment: Mapping[str, str], is_terminal: bool) -> bool:
    """Pure, so that every combination can be tested."""
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return is_terminal and environment.get("TERM") != "dumb"


def paint(text: str, colour: str, on: bool) -> str:
    """Text in a colour, or as it is. An empty colour leaves it as it is, too."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if on and colour and text else text
