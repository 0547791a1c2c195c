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
from keepdb.errors import KeepError, Unavailable
from keepdb.fabric.actor import ProcessActor, handles
from keepdb.fabric.pulse import Reading, read_pulse
from keepdb.fabric.seat import Seat
from keepdb.runtime.child import Child
from keepdb.runtime.ending import STEP_S, Ending, end_abandoned
from keepdb.runtime.patience import reason_to_kill
from keepdb.runtime.restarts import GiveUp, plan_restart, retry_delay_s
from keepdb.runtime.seating import Seating
from keepdb.runtime.start import Start
from messages.base import PROTOCOL, Done, Message, encode
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


class Supervisor(ProcessActor):
    """The root of the tree. start: everything decided before the first process starts.

    on_ready_line: called once with the ready line's content when every core actor is ready. on_moved: called with
    the same content as it is now, when a service had to move to another endpoint later.
    """

    def __init__(
        self,
        seat: Seat,
        clock: Clock,
        *,
        start: Start,
        on_ready_line: Callable[[dict[str, Any]], None],
        on_moved: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__(seat, clock)
        self.start_plan = start
        self.reason: KeepError | None = None
        self._on_ready_line = on_ready_line
        self._on_moved = on_moved
        self._children = {spec.name: Child(spec, clock) for spec in start.specs}
        self._seating = Seating(seat, start, self._children.values())
        self._announced = False
        self._ending: Ending | None = None
        self._began = clock.monotonic()
        self._checked = clock.monotonic()

    # -- life --------------------------------------------------------------------------------------------

    def on_ready(self) -> None:
        assert self.inbox.doorkeeper is not None
        self.inbox.doorkeeper.allowed.update(self._seating.public_keys())
        self._seating.predict_services()
        self._start_what_can()
        self.inbox.every(self.seat.config.supervisor.heartbeat_ms / 1000, self._check_pulses)

    def begin_stop(self) -> None:
        """Stop the children while the loop goes on, then the loop. Safe to call twice."""
        if self._ending is None:
            each_s = self.seat.config.supervisor.stop_timeout_ms / 1000
            self._ending = Ending(
                self._children.values(), self.clock, each_s, lambda child: self._tell(child, Stop())
            )
            self.inbox.every(STEP_S, self._go_on_stopping)
            self._go_on_stopping()

    def _go_on_stopping(self) -> None:
        if self._ending is not None and self._ending.step():
            self.stop()

    def end_children(self) -> None:
        """No child may outlive us, however the loop ended. Nothing is left to do after an orderly stop."""
        end_abandoned(self._children.values(), self.clock)

    # -- messages of children ----------------------------------------------------------------------------

    @handles(Ready)
    def ready(self, message: Ready) -> None:
        child = self._sender(message.incarnation)
        if child is None or self._ending is not None:
            return
        now = self.clock.monotonic()
        child.state, child.ready_at, child.heard_at, child.reason = "ready", now, now, ""
        before = child.service
        child.service = self._seating.service_at(child, message.endpoint, message.feed)
        self._directory[child.spec.name] = child.service
        logger.info("%s is ready after %.0f ms", child.spec.name, (now - child.started_at) * 1000)
        self._tell_all(PeerUp(service=child.service, restarts=child.restarts_total))
        for other in self._children.values():
            # Whoever became ready while this one was starting.
            if other.state == "ready" and other.service is not None and other is not child:
                self._tell(child, PeerUp(service=other.service, restarts=other.restarts_total))
        self._start_what_can()
        if self._announced and before != child.service:
            self._on_moved(self._ready_line())
        self._announce()

    @handles(Failed)
    def failed(self, message: Failed) -> None:
        child = self._sender(message.incarnation)
        if child is None:
            return
        child.reason = f"{message.code}: {message.message}"
        logger.error("%s failed with %s", child.spec.name, message.code)
        if message.permanent and child.state == "starting" and self._is_foundation(child):
            self._give_up(KeepError(message.code, message.message, fix=message.fix))

    def _is_foundation(self, child: Child) -> bool:
        """Whether other core actors are built on it. What the others read can be derived anew, so that trouble with
        it, however permanent it looks to them, may be over at the next try."""
        name = child.spec.name
        return any(name in other.spec.needs for other in self._children.values() if other.spec.core)

    # -- messages of clients -----------------------------------------------------------------------------

    @handles(GetStatus)
    def get_status(self, message: GetStatus) -> Status:
        now = self.clock.monotonic()
        rows = tuple(self._row(child, now) for child in self._children.values())
        # What the ready line does not wait for is no trouble while it starts for the first time.
        healthy = all(
            row.state in ("ready", "stable", "busy") or (row.state == "starting" and not row.restarts)
            for row in rows
        )
        return Status(
            state="stopping"
            if self._ending is not None
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
            services=tuple(self._seating.services().values()),
        )

    @handles(Shutdown)
    def shutdown(self, message: Shutdown) -> Done:
        self.begin_stop()
        return Done()

    # -- starting and restarting -------------------------------------------------------------------------

    def _start_what_can(self) -> None:
        """Start every waiting child whose needs have endpoints. With ipc these are known beforehand, so all
        start at once; with tcp each waits until its needs are bound."""
        known = self._seating.services()
        for child in self._children.values():
            if child.state == "waiting" and all(need in known for need in child.spec.needs):
                self._start(child)

    def _start(self, child: Child) -> None:
        if self._ending is not None:
            return
        child.incarnation += 1
        seat = self._seating.seat_for(child, self.own_service())
        # As a daemon: at our exit multiprocessing would wait for any other child that still ran, for ever.
        process = self.start_plan.context.Process(
            target=self.start_plan.run,
            args=(seat, self.start_plan.load),
            name=f"keepdb-{child.spec.name}",
            daemon=True,
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
        child.began(process, exited)

    def _exited(self, child: Child, incarnation: int) -> None:
        if self._ending is not None or child.incarnation != incarnation:
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
        config, now = self.seat.config.supervisor, self.clock.monotonic()
        plan = plan_restart(child.restarts, config, now)
        if not isinstance(plan, GiveUp):
            child.state, delay_s = "backoff", plan.delay_s
        elif not child.spec.core:
            child.state, delay_s = "failed", retry_delay_s(config)
            logger.error("%s has failed and is tried again in %.0f s", child.spec.name, delay_s)
        else:
            self._give_up(
                Unavailable(
                    "restarts_exhausted",
                    f"The {child.spec.name} actor was restarted {plan.restarts} times within "
                    f"{config.restarts_period_s} s and failed again ({child.reason}).",
                    fix="See `keepdb logs` for the cause; `keepdb doctor` checks the files.",
                    retryable=False,
                )
            )
            return
        child.restarts = [at for at in child.restarts if now - at < config.restarts_period_s] + [now]
        child.restarts_total += 1
        self.inbox.after(delay_s, lambda: self._start(child))

    def _give_up(self, reason: KeepError) -> None:
        if self.reason is None:
            self.reason = reason
            self.begin_stop()

    def _check_pulses(self) -> None:
        if self._ending is not None:
            return
        config, now = self.seat.config.supervisor, self.clock.monotonic()
        since, self._checked = now - self._checked, now
        late = since > 2 * config.heartbeat_ms / 1000
        for child in self._children.values():
            if child.state not in ("starting", "ready"):
                continue
            pulse = self._pulse_of(child)
            # If this check itself comes late (machine asleep, no CPU), nobody else is to blame for that time.
            child.heard_at = now if late else max(child.heard_at, pulse.beat_at)
            if not late and not pulse.busy and not self._waits_for_others(child):
                child.starting_s += min(since, now - child.started_at)
            reason = reason_to_kill(child, pulse, config, now)
            if reason:
                child.reason = reason
                logger.error("%s is %s and is killed", child.spec.name, reason)
                # Its end is noticed like any other; waiting for it here would hold up everybody.
                child.kill(0.0)
                child.heard_at, child.starting_s = now, 0.0

    def _waits_for_others(self, child: Child) -> bool:
        return any(self._children[need].state != "ready" for need in child.spec.needs)

    # -- the directory -----------------------------------------------------------------------------------

    def own_service(self) -> Service:
        return Service(name="supervisor", endpoint=self.endpoint, key=self.seat.own.public.decode())

    def _announce(self) -> None:
        """Print the ready line, once, when all core actors are ready."""
        if self._announced or any(c.spec.core and c.state != "ready" for c in self._children.values()):
            return
        self._announced = True
        self._on_ready_line(self._ready_line())

    def _ready_line(self) -> dict[str, Any]:
        known = self._seating.services().items()
        services = [self.own_service(), *(s for name, s in known if self._children[name].spec.clients)]
        return {
            "event": "ready",
            "protocol": PROTOCOL,
            "version": keepdb.__version__,
            "pid": os.getpid(),
            "endpoints": {service.name: service.endpoint for service in services},
            "server_keys": {service.name: service.key for service in services},
        }

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
