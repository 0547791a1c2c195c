"""The orderly end of the children: one after another in reverse start order, and all within one limit.

It goes on in steps, so that the supervisor's loop turns meanwhile and can say that it is stopping.
"""

import logging
from collections.abc import Callable, Iterable

from keepdb.clock import Clock
from keepdb.runtime.child import KILL_WAIT_S, Child

logger = logging.getLogger("keepdb.runtime")

#: All children together. A host waits 15 s for us; within them killed processes must be gone and logs closed.
STOP_S_MAX = 10.0
#: How often a step is due: a well actor ends within some 20 ms.
STEP_S = 0.01
#: A supervisor that failed lets its children end in order for so long; they need no word from it for that.
ABANDONED_S = 2.0


class Ending:
    """Stops `children` (in start order). tell: gives a child the order to stop. each_s: the most one may take."""

    def __init__(
        self, children: Iterable[Child], clock: Clock, each_s: float, tell: Callable[[Child], None]
    ) -> None:
        self._clock = clock
        self._each_s = each_s
        self._tell = tell
        self._left = list(children)
        self._killed: list[Child] = []
        self._deadline = clock.monotonic() + STOP_S_MAX
        self._until = 0.0

    def step(self) -> bool:
        """Go on as far as that is possible without waiting; True when nothing more can be done."""
        while self._left:
            child, now = self._left[-1], self._clock.monotonic()
            if child.state != "stopping":
                self._until = now + share_s(self._deadline - now, len(self._left), self._each_s)
                self._begin(child)
            if child.is_alive() and child not in self._killed:
                if now < self._until:
                    return False
                logger.warning("%s did not stop in time and is killed", child.spec.name)
                self._kill(child)
            child.state = "stopped"
            self._left.pop()
        gone = not any(child.is_alive() for child in self._killed)
        return gone or self._clock.monotonic() > self._deadline + KILL_WAIT_S

    def _begin(self, child: Child) -> None:
        if child.state == "ready":
            self._tell(child)
        else:
            # One that is still starting has promised nothing yet, and may not listen for long.
            self._kill(child)
        child.state = "stopping"

    def _kill(self, child: Child) -> None:
        """Without waiting: the next one's turn does not depend on it."""
        child.kill(0.0)
        self._killed.append(child)


def share_s(left_s: float, children: int, most_s: float) -> float:
    """What the next of so many children may take: an equal share of the time that is left. Those that end at
    once leave theirs to the others, so a well-behaved tree gives each of them `most_s`."""
    return min(most_s, max(left_s, 0.0) / children)


def end_abandoned(children: Iterable[Child], clock: Clock) -> None:
    """End every process that still runs, waiting; nothing happens when none does."""
    left = [child for child in children if child.is_alive()]
    for child in left:
        child.terminate()
    deadline = clock.monotonic() + ABANDONED_S
    for child in left:
        if not child.wait(max(0.0, deadline - clock.monotonic())):
            logger.warning("%s was left behind and is killed", child.spec.name)
    for child in left:
        child.kill(0.0)
    for child in left:
        child.wait(max(0.0, deadline + KILL_WAIT_S - clock.monotonic()))
