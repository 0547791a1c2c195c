"""The health actor: sees the others fail.

*Owns* the newest figures of every actor, storage sizes, alerts.
*Handles* ActorReport from every actor, GetHealth from clients.
*Emits* nothing.
*After a crash* it has the full picture again within one report interval.
"""

from pathlib import Path

from keepdb.fabric.actor import ProcessActor, handles
from keepdb.health.alerts import judge
from keepdb.health.storage import storage_sizes
from messages.control import ActorReport, GetHealth, Health


class HealthActor(ProcessActor):
    """Actors report their own memory and descriptors, because nobody else may look into all of them."""

    def on_ready(self) -> None:
        self._figures: dict[str, dict[str, float]] = {}
        self._heard: dict[str, float] = {}
        self._sample()
        self.inbox.every(self.seat.config.health.sample_s, self._sample)

    @handles(ActorReport)
    def actor_report(self, message: ActorReport) -> None:
        # The name is the sender's key's, not what the message claims.
        self._figures[self.told.sender] = message.figures
        self._heard[self.told.sender] = self.clock.monotonic()

    @handles(GetHealth)
    def get_health(self, message: GetHealth) -> Health:
        alerts = judge(self.seat.config, self._storage, self._heard, self._figures, self.clock.monotonic())
        return Health(actors=self._figures, storage=self._storage, alerts=tuple(alerts))

    def _sample(self) -> None:
        self._storage = storage_sizes(Path(self.seat.data))
