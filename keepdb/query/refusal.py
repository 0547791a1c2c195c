"""How the read path says no: each refusal names the place in the query, what was found, what is allowed."""

import difflib
from collections.abc import Iterable
from typing import Any

from keepdb.errors import InvalidRequest

#: Longer lists of allowed names help nobody.
_NAMES_SHOWN = 20


def short(value: Any) -> str:
    """Type and beginning of a value, for a reply to the client that sent it. Never for a log line."""
    kind = "null" if value is None else type(value).__name__
    text = ascii(value) if value is not None else ""
    return f"{kind} {text[:40]}{'…' if len(text) > 40 else ''}".strip()


def names(allowed: Iterable[str]) -> str:
    """The allowed names as a readable list, cut off where it gets long."""
    listed = list(allowed)
    more = len(listed) - _NAMES_SHOWN
    return ", ".join(listed[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def unknown(code: str, path: str, what: str, found: Any, allowed: Iterable[str]) -> InvalidRequest:
    """A name that does not exist, with the nearest one that does."""
    listed = list(allowed)
    near = difflib.get_close_matches(found, listed, n=1) if isinstance(found, str) else []
    hint = f"Did you mean {near[0]!r}? " if near else ""
    message = f"{path}: {what} {short(found)} does not exist."
    return InvalidRequest(code, message, fix=f"{hint}Allowed: {names(listed)}.")


def bad_value(path: str, found: Any, expected: str, fix: str = "") -> InvalidRequest:
    """A value of the wrong type or out of bounds."""
    message = f"{path}: found {short(found)}, expected {expected}."
    return InvalidRequest("query_bad_value", message, fix=fix or f"Give {expected}.")


def too_large(path: str, found: int, what: str, most: int) -> InvalidRequest:
    """More of something than the limits allow."""
    return InvalidRequest(
        "query_too_large", f"{path}: {found} {what}, the limit is {most}.", fix=f"Use at most {most} {what}."
    )
