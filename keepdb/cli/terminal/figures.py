"""Numbers and times as people read them, and times as programs do."""

from datetime import UTC, datetime


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC, always with three decimals."""
    at = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def size(count: float) -> str:
    """Bytes in binary units, two or three significant digits."""
    if count < 1024:
        return f"{count:.0f} B"
    unit = "GiB"
    for smaller in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            unit = smaller
            break
    return f"{count:.1f} {unit}" if count < 100 else f"{count:.0f} {unit}"


def span(ms: float) -> str:
    """A duration in its two largest units."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = int(ms / 1000)
    if seconds < 60:
        return f"{ms / 1000:.1f} s"
    for above, upper, below, lower in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86_400, "d", 3600, "h")):
        if seconds < above * (24 if upper == "h" else 60) or upper == "d":
            return f"{seconds // above} {upper} {seconds % above // below} {lower}"
    raise AssertionError("the last unit takes everything")


def number(value: int) -> str:
    """With thin groups: 12 345."""
    return f"{value:,}".replace(",", " ")
