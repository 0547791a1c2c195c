"""When an unanswered request is sent again.

Most requests stand alone and each has a clock of its own. Commits are carried out in order, so a later one that
is sent again before an earlier one can only be refused: they share one clock and are sent again together, in
order. (With a clock each, a backlog after a restart drained one request per pause.)
"""

from typing import Final

#: First pause before an unanswered request is sent again; each further pause is half as long again.
RESEND_S: Final = 0.1
RESEND_FACTOR: Final = 1.5
RESEND_S_MAX: Final = 1.0
#: First pause after a passing refusal; it grows likewise, because a restart takes 100 ms or a minute.
PASSING_S: Final = 0.01


class ResendClock:
    """due: monotonic seconds at which whatever follows this clock is sent again."""

    __slots__ = ("_passing", "_pause", "_sent_at", "due")

    def __init__(self) -> None:
        self._sent_at = self.due = 0.0
        self._pause, self._passing = RESEND_S, PASSING_S

    def sent(self, now: float) -> None:
        """It was sent (again): the next pauses are longer."""
        self._sent_at = now
        self.due = now + self._pause
        self._pause = min(self._pause * RESEND_FACTOR, RESEND_S_MAX)
        self._passing = min(self._passing * RESEND_FACTOR, RESEND_S_MAX)

    def refused_for_now(self) -> None:
        """The server said to come again; however often it says so about one sending, that is one pause."""
        self.due = min(self.due, self._sent_at + self._passing)

    def progressed(self, now: float) -> None:
        """Something was answered, so the server is there: begin with short pauses."""
        self._pause, self._passing = RESEND_S, PASSING_S
        self.due = now + self._pause
