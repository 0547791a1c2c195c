"""The supervisor: starts the actors, watches them, restarts them, and stops them in reverse order.

*Owns* the child processes, the service directory, the control endpoint, ROOT (to derive keys for restarts).
*Handles* Ready and Failed from children; GetStatus and Shutdown from clients.
*Emits* PeerUp and PeerDown to the children; the ready line and the connection file to the outside.
*After a crash* of its own, every child ends by itself within two seconds (keepdb/runtime/lifeline.py).
It is never on the data path.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

import keepdb
from keepdb.clock import Clock
from keepdb.crypto import kdf
from keepdb.errors import KeepError, Unavailable
from keepdb.fabric.actor import ProcessActor, handles
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.pulse import Reading, read_pulse
from keepdb.fabric.seat import Seat, Secrets
from keepdb.runtime.child import Child, ChildSpec
from keepdb.runtime.restarts import GiveUp, plan_restart
from keepdb.runtime.start import Start
from messages.base import PROTOCOL, Done, Message, Role, encode
from messages.control import (
    ActorStatus,
    Failed,
    GetStatus,
    PeerDown,
    PeerUp,
    Ready,
    Service,
    Shutdown,
    Status,
    Stop,
)

logger = logging.getLogger("keepdb.runtime")

#: Longest time an actor may be busy without a heartbeat: a stalled sync is "busy" for so long, then killed.
BUSY_S_MAX = 30.0


class Supervisor(ProcessActor):
    """The root of the tree. start: everything decided before the first process starts.

    on_ready_line: called once with the ready line's content when every core actor is ready.
    """

    def __init__(
        self,
        seat: Seat,
        clock: Clock,
        *,
        start: Start,
        on_ready_line: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__(seat, clock)
        self.start_plan = start
        self.reason: KeepError | None = None
        self._on_ready_line = on_ready_line
        self._children = {spec.name: Child(spec) for spec in start.specs}
        self._keys = {name: KeyPair.generate() for name in self._children}
        self._announced = False
        self._stopping = False
        self._began = clock.monotonic()
        self._checked = clock.monotonic()

    # -- life --------------------------------------------------------------------------------------------

    def on_ready(self) -> None:
        for keys, name in ((pair.public, name) for name, pair in self._keys.items()):
            assert self.inbox.doorkeeper is not None
            self.inbox.doorkeeper.allowed[keys] = ("internal", name)
        for name in self._children:
            self._predict_service(name)
        self._start_what_can()
        self.inbox.every(self.seat.config.supervisor.heartbeat_ms / 1000, self._check_pulses)

    def on_stop(self) -> None:
        """Stop the children in reverse start order, each within its time, then kill what is left."""
        self._stopping = True
        for child in reversed(self._children.values()):
            if child.is_alive() and child.state == "ready":
                self._tell(child, Stop())
                if not child.wait(self.seat.config.supervisor.stop_timeout_ms / 1000):
                    logger.warning("%s did not stop in time and is killed", child.spec.name)
            # One that is still starting has promised nothing yet, and may not listen for long.
            child.kill()
            child.state = "stopped"

    # -- messages of children ----------------------------------------------------------------------------

    @handles(Ready)
    def ready(self, message: Ready) -> None:
        child = self._sender(message.incarnation)
        if child is None:
            return
        now = self.clock.monotonic()
        child.state, child.ready_at, child.heard_at, child.reason = "ready", now, now, ""
        key = self._keys[child.spec.name].public.decode()
        child.service = Service(name=child.spec.name, endpoint=message.endpoint, key=key, feed=message.feed)
        self._directory[child.spec.name] = child.service
        logger.info("%s is ready after %.0f ms", child.spec.name, (now - child.started_at) * 1000)
        self._tell_all(PeerUp(service=child.service, restarts=child.restarts_total))
        for other in self._children.values():
            # Whoever became ready while this one was starting.
            if other.state == "ready" and other.service is not None and other is not child:
                self._tell(child, PeerUp(service=other.service, restarts=other.restarts_total))
        self._start_what_can()
        self._announce()

    @handles(Failed)
    def failed(self, message: Failed) -> None:
        child = self._sender(message.incarnation)
        if child is None:
            return
        child.reason = f"{message.code}: {message.message}"
        logger.error("%s failed with %s", child.spec.name, message.code)
        if message.permanent and child.state == "starting":
            self._give_up(KeepError(message.code, message.message, fix=message.fix))

    # -- messages of clients -----------------------------------------------------------------------------

    @handles(GetStatus)
    def get_status(self, message: GetStatus) -> Status:
        now = self.clock.monotonic()
        rows = tuple(self._row(child, now) for child in self._children.values())
        healthy = all(row.state in ("ready", "stable", "busy") for row in rows)
        return Status(
            state="stopping"
            if self._stopping
            else "starting"
            if not self._announced
            else "ready"
            if healthy
            else "degraded",
            pid=os.getpid(),
            uptime_ms=int((now - self._began) * 1000),
            version=keepdb.__version__,
            protocol=PROTOCOL,
            data=self.seat.data,
            actors=rows,
            services=tuple(self._services().values()),
        )

    @handles(Shutdown)
    def shutdown(self, message: Shutdown) -> Done:
        self.inbox.after(0.0, self.stop)
        return Done()

    # -- starting and restarting -------------------------------------------------------------------------

    def _start_what_can(self) -> None:
        """Start every waiting child whose needs have endpoints. With ipc these are known beforehand, so all
        start at once; with tcp each waits until its needs are bound."""
        known = self._services()
        for child in self._children.values():
            if child.state == "waiting" and all(need in known for need in child.spec.needs):
                self._start(child)

    def _start(self, child: Child) -> None:
        child.incarnation += 1
        seat = self._seat_for(child)
        process = self.start_plan.context.Process(
            target=self.start_plan.run, args=(seat, self.start_plan.load), name=f"keepdb-{child.spec.name}"
        )
        try:
            process.start()
        except (OSError, EOFError) as error:
            # The forkserver is dying; once it is dead, the next attempt starts another one.
            child.reason = f"could not be started: {type(error).__name__}"
            self._restart(child)
            return
        incarnation = child.incarnation
        exited = self.inbox.door(lambda: self._exited(child, incarnation))
        child.began(process, self.clock.monotonic(), exited)

    def _exited(self, child: Child, incarnation: int) -> None:
        if self._stopping or child.incarnation != incarnation or child.state == "stopped":
            return
        # The sentinel also fires when the forkserver dies; the process itself must be gone for certain.
        child.kill()
        code = child.process.exitcode if child.process is not None else None
        child.reason = child.reason or f"ended with status {code}"
        logger.error("%s ended unasked: %s", child.spec.name, child.reason.partition(":")[0])
        self._tell_all(PeerDown(name=child.spec.name))
        self._restart(child)

    def _restart(self, child: Child) -> None:
        """Start it again, at once or later, or give everything up."""
        now = self.clock.monotonic()
        plan = plan_restart(child.restarts, self.seat.config.supervisor, now)
        if isinstance(plan, GiveUp):
            self._give_up(
                Unavailable(
                    "restarts_exhausted",
                    f"The {child.spec.name} actor was restarted {plan.restarts} times within "
                    f"{self.seat.config.supervisor.restarts_period_s} s and failed again ({child.reason}).",
                    fix="See `keepdb logs` for the cause; `keepdb doctor` checks the files.",
                    retryable=False,
                )
            )
            return
        period = self.seat.config.supervisor.restarts_period_s
        child.restarts = [at for at in child.restarts if now - at < period] + [now]
        child.restarts_total += 1
        child.state = "backoff"
        self.inbox.after(plan.delay_s, lambda: self._start(child))

    def _give_up(self, reason: KeepError) -> None:
        if self.reason is None:
            self.reason = reason
            self.stop()

    def _check_pulses(self) -> None:
        config, now = self.seat.config.supervisor, self.clock.monotonic()
        late = now - self._checked > 2 * config.heartbeat_ms / 1000
        self._checked = now
        for child in self._children.values():
            if child.state not in ("starting", "ready"):
                continue
            pulse = self._pulse_of(child)
            # If this check itself comes late (machine asleep, no CPU), nobody else is to blame for that time.
            child.heard_at = now if late else max(child.heard_at, pulse.beat_at)
            patience = config.heartbeat_ms * config.heartbeats_missed_max
            if child.state == "starting":
                patience = max(patience, config.ready_timeout_ms)
            if now <= max(
                child.heard_at + patience / 1000, min(pulse.busy_until, child.heard_at + BUSY_S_MAX)
            ):
                continue
            child.reason = (
                f"silent for {now - child.heard_at:.1f} s{f' in {pulse.busy}' if pulse.busy else ''}"
            )
            logger.error("%s is %s and is killed", child.spec.name, child.reason)
            child.kill()

    # -- the directory -----------------------------------------------------------------------------------

    def _predict_service(self, name: str) -> None:
        """ipc endpoints are names in the run directory, known before anything is bound."""
        spec = self._children[name].spec
        endpoint, feed = self._endpoints(spec)
        if endpoint.startswith("ipc://"):
            key = self._keys[name].public.decode()
            self._children[name].service = Service(name=name, endpoint=endpoint, key=key, feed=feed)

    def _endpoints(self, spec: ChildSpec) -> tuple[str, str]:
        """What to bind. A restarted actor binds what it had before, so that peers reconnect by themselves."""
        known = self._children[spec.name].service
        if known is not None:
            return known.endpoint, known.feed
        if self.seat.config.transport_kind == "tcp":
            return "tcp://127.0.0.1:*", "tcp://127.0.0.1:*" if spec.feed else ""
        base = f"ipc://{self.seat.run}/{spec.name}"
        return f"{base}.sock", f"{base}.feed" if spec.feed else ""

    def _services(self) -> dict[str, Service]:
        return {name: child.service for name, child in self._children.items() if child.service is not None}

    def _seat_for(self, child: Child) -> Seat:
        spec, plan = child.spec, self.start_plan
        endpoint, feed = self._endpoints(spec)
        allowed: dict[bytes, tuple[Role, str]] = {
            pair.public: ("internal", name) for name, pair in self._keys.items()
        }
        allowed[self.seat.own.public] = ("internal", "supervisor")
        if spec.clients:
            allowed.update(plan.clients)
        return Seat(
            name=spec.name,
            incarnation=child.incarnation,
            endpoint=endpoint,
            feed=feed,
            own=self._keys[spec.name],
            supervisor=self.own_service(),
            directory=self._services(),
            allowed=allowed,
            data=self.seat.data,
            run=self.seat.run,
            config=self.seat.config,
            schema=self.seat.schema,
            schema_ddl=self.seat.schema_ddl,
            db_id=self.seat.db_id,
            secrets=Secrets({label: self._key(label) for label in spec.secrets}),
        )

    def _key(self, label: str) -> bytes:
        """A derived key. The cache's belongs to this run: what an earlier run left cannot be read."""
        return kdf.derive(
            bytes(self.start_plan.root), label, self.start_plan.session if label == kdf.CACHE else b""
        )

    def own_service(self) -> Service:
        return Service(name="supervisor", endpoint=self.endpoint, key=self.seat.own.public.decode())

    def _announce(self) -> None:
        """Print the ready line, once, when all core actors are ready."""
        if self._announced or any(c.spec.core and c.state != "ready" for c in self._children.values()):
            return
        self._announced = True
        services = [
            self.own_service(),
            *(s for n, s in self._services().items() if self._children[n].spec.clients),
        ]
        self._on_ready_line(
            {
                "event": "ready",
                "protocol": PROTOCOL,
                "version": keepdb.__version__,
                "pid": os.getpid(),
                "endpoints": {service.name: service.endpoint for service in services},
                "server_keys": {service.name: service.key for service in services},
            }
        )

    # -- speaking to children ----------------------------------------------------------------------------

    def _sender(self, incarnation: int) -> Child | None:
        """The child whose key sent the current tell, unless it is a predecessor's last word."""
        child = self._children.get(self.told.sender)
        if child is None or child.incarnation != incarnation:
            return None
        child.route = self.told.peer
        return child

    def _tell(self, child: Child, message: Message) -> None:
        if child.route:
            try:
                self.router.send_multipart([child.route, b"", encode(message)], zmq.NOBLOCK)
            except zmq.ZMQError:
                logger.debug("%s could not be told", child.spec.name)

    def _tell_all(self, message: Message) -> None:
        for child in self._children.values():
            if child.state in ("starting", "ready"):
                self._tell(child, message)

    def _pulse_of(self, child: Child) -> Reading:
        return read_pulse(Path(self.seat.run), child.spec.name)

    def _row(self, child: Child, now: float) -> ActorStatus:
        state: str = child.state
        pulse = self._pulse_of(child)
        if state == "ready":
            stable = now - child.ready_at >= self.seat.config.supervisor.stable_after_ms / 1000
            state = (
                "degraded" if pulse.degraded else "busy" if pulse.busy else "stable" if stable else "ready"
            )
        return ActorStatus(
            name=child.spec.name,
            pid=child.pid,
            state=state,
            restarts=child.restarts_total,
            uptime_ms=int((now - child.started_at) * 1000) if child.started_at else 0,
            reason=pulse.degraded or pulse.busy or child.reason,
        )
