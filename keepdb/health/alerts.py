"""Which figures need somebody's attention: a pure function, so that every rule can be tested at its edge."""

from typing import Any

from keepdb.config import Config

MIB = 1024 * 1024
#: An actor that has not reported for three report intervals is silent.
SILENT_S = 15.0


def judge(
    config: Config,
    storage: dict[str, int],
    heard: dict[str, float],
    figures: dict[str, dict[str, float]],
    now: float,
) -> list[dict[str, Any]]:
    """Alerts as {"code", "message", "fix"}. heard: monotonic seconds of each actor's last report."""
    alerts: list[dict[str, Any]] = []
    free, floor = storage.get("disk_free", 0), config.health.disk_free_mib_min * MIB
    if storage and free < floor:
        alerts.append(
            _alert("disk_low", f"{free // MIB} MiB are free on the disk; {floor // MIB} MiB are wanted.",
                   "Free space: commits are refused when the disk is full.")
        )  # fmt: skip
    for name, at in sorted(heard.items()):
        if now - at > SILENT_S:
            alerts.append(
                _alert("actor_silent", f"{name} has not reported for {now - at:.0f} s.",
                       f"See `keepdb logs --actor {name}`.")
            )  # fmt: skip
    wal, most = figures.get("writer", {}).get("wal_bytes", 0), config.writer.wal_mib_max * MIB
    if wal > most // 2:
        alerts.append(
            _alert("wal_large", f"The write-ahead logs take {wal / MIB:.0f} MiB of at most {most // MIB}.",
                   "A reader keeps them from being moved into the database: look for long queries.")
        )  # fmt: skip
    return alerts


def _alert(code: str, message: str, fix: str) -> dict[str, Any]:
    return {"code": code, "message": message, "fix": fix}
