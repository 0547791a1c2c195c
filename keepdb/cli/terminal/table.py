"""Aligned tables that fit the terminal's width: plain text, one row one line, so that grep and awk work."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec

#: No column is cut below this while another is wider.
COLUMN_MIN = 8
GAP = "  "


def render(header: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None) -> list[str]:
    """Lines of a table. Numbers stand right, the rest left. width: of the terminal; None cuts nothing."""
    cells = [[cell(value) for value in row] for row in rows]
    wide = [max([columns(name), *(columns(row[at]) for row in cells)]) for at, name in enumerate(header)]
    if width is not None:
        wide = _fit(wide, width)
    right = [
        bool(rows) and all(isinstance(row[at], int | float) or row[at] is None for row in rows)
        for at in range(len(header))
    ]
    lines = []
    for row in [list(header), *cells]:
        parts = [_place(text, wide[at], right[at]) for at, text in enumerate(row)]
        lines.append(GAP.join(parts).rstrip())
    return lines


def cell(value: Any) -> str:
    """One value as a single line of text; control characters never reach the terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return printable(" ".join(text.split()) if any(c in text for c in "\n\r\t") else text)


def printable(text: str) -> str:
    """Text whose control and formatting characters (terminal escapes, text direction) are replaced."""
    if text.isprintable():
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text
    )


def columns(text: str) -> int:
    """Terminal columns a text takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def cut(text: str, width: int) -> str:
    """At most `width` columns, with an ellipsis where something is missing."""
    if columns(text) <= width:
        return text
    kept = ""
    for character in text:
        if columns(kept) + columns(character) > width - 1:
            break
        kept += character
    return kept + "…"


def _fit(wide: list[int], width: int) -> list[int]:
    """Narrow the widest column by one until all fit, or none is wider than COLUMN_MIN."""
    wide = list(wide)
    while sum(wide) + len(GAP) * (len(wide) - 1) > width:
        widest = max(range(len(wide)), key=wide.__getitem__)
        if wide[widest] <= COLUMN_MIN:
            break
        wide[widest] -= 1
    return wide


def _place(text: str, width: int, right: bool) -> str:
    text = cut(text, width)
    padding = " " * (width - columns(text))
    return padding + text if right else text + padding
