"""When to restart an actor and when to give up: a pure function over the times it was restarted.

Vocabulary and rule are those of Erlang/OTP's `supervisor` (intensity and period): more than `restarts_max`
restarts within `restarts_period_s` seconds mean that restarting does not help.
"""

import msgspec

from keepdb.config import SupervisorConfig

#: An actor that the database can do without is tried again after so many of the longest back-offs (30 s).
_LONG_BACKOFFS = 15
#: However short the back-offs are set: an actor that cannot run must not keep a core busy.
_RETRY_S_MIN = 1.0


class Restart(msgspec.Struct, frozen=True):
    """Start the actor again after delay_s seconds."""

    delay_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Restarting does not help. restarts: how many there were within the period."""

    restarts: int


def plan_restart(history: list[float], config: SupervisorConfig, now: float) -> Restart | GiveUp:
    """history: monotonic times of this actor's restarts so far. The first in a period is immediate."""
    recent = sum(1 for at in history if now - at < config.restarts_period_s)
    if recent >= config.restarts_max:
        return GiveUp(recent)
    if recent == 0:
        return Restart(0.0)
    delay_ms = min(config.backoff_ms * 2 ** min(recent - 1, 20), config.backoff_ms_max)
    return Restart(delay_ms / 1000)


def retry_delay_s(config: SupervisorConfig) -> float:
    """How long an actor that is not core rests after restarting did not help."""
    return max(_RETRY_S_MIN, _LONG_BACKOFFS * config.backoff_ms_max / 1000)
