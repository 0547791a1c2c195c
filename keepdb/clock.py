"""The only place that reads the machine's clocks, so that tests can supply their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for people, one for deadlines."""

    def now_ms(self) -> int:
        """Wall clock, integer milliseconds since the Unix epoch, UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back. Every deadline is measured with it."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
