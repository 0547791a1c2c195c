"""What becomes of a live query that failed: it is tried again while the fault may pass, or ends and says why."""

import logging

from keepdb.errors import InvariantBroken, KeepError, Unavailable
from messages.queries import LiveFailed

logger = logging.getLogger("keepdb.query")

#: A window that fails in a way that may pass is tried again so many times, less often where each try takes seconds.
_FAILURES_MAX = 5
_TIMEOUTS_MAX = 3


def may_pass(error: KeepError, failures: int) -> bool:
    """Whether to try again. failures: in a row, this one included."""
    if error.code == "query_timeout":
        # A machine that stood still for a while is no reason to end a query.
        return failures < _TIMEOUTS_MAX
    if isinstance(error, Unavailable):
        # Whoever is away comes back; until then the query is stale, not wrong.
        return error.retryable
    return error.retryable and failures < _FAILURES_MAX


def failure_of(error: Exception) -> KeepError:
    """The error as subscribers hear of it. Of a fault in the code itself they get the class, the log the rest."""
    if isinstance(error, KeepError):
        return error
    logger.error("a live query ends with an unplanned error", exc_info=error)
    return InvariantBroken(
        "internal_error",
        f"An unexpected {type(error).__name__} happened while following the query.",
        fix="Look into the logs (`keepdb logs`) and report it; other queries are not affected.",
    )


def live_failed(sub: str, error: KeepError) -> LiveFailed:
    """The last push of a subscription."""
    return LiveFailed(
        sub=sub, code=error.code, message=error.message, fix=error.fix, retryable=error.retryable
    )
