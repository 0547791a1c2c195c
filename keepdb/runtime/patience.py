"""How long the supervisor bears with a child that is silent, or that does not become ready: pure functions."""

from keepdb.config import SupervisorConfig
from keepdb.fabric.pulse import Reading
from keepdb.runtime.child import Child

#: Longest time an actor may be busy without a heartbeat: a stalled sync is "busy" for so long, then killed.
BUSY_S_MAX = 30.0


def reason_to_kill(child: Child, pulse: Reading, config: SupervisorConfig, now: float) -> str:
    """Why patience with a starting or ready child is at its end; "" while it is not. now: monotonic seconds."""
    ready_timeout_s = config.ready_timeout_ms / 1000
    patience_s = config.heartbeat_ms * config.heartbeats_missed_max / 1000
    if child.state == "starting":
        # It may be importing, and does not beat before it has done so.
        patience_s = max(patience_s, ready_timeout_s)
        if child.starting_s > ready_timeout_s:
            return f"not ready after {child.starting_s:.1f} s"
    if now <= max(child.heard_at + patience_s, min(pulse.busy_until, child.heard_at + BUSY_S_MAX)):
        return ""
    return f"silent for {now - child.heard_at:.1f} s{f' in {pulse.busy}' if pulse.busy else ''}"
