"""Exit statuses: what a script can tell from how a command ended."""

from keepdb.errors import ConfigError, KeepError

OK, FAILED, USAGE, NOT_RUNNING, UNKNOWN_NAME, INTERRUPTED = 0, 1, 2, 3, 4, 130
UNREACHABLE, BAD_CONFIG = 69, 78

_BY_CODE = {
    "usage": USAGE,
    "not_running": NOT_RUNNING,
    "not_reachable_yet": NOT_RUNNING,
    "timeout": UNREACHABLE,
    "service_unknown": UNREACHABLE,
    "outcome_unknown": UNREACHABLE,
    "peer_unknown": UNREACHABLE,
    "peer_silent": UNREACHABLE,
    "query_unknown_collection": UNKNOWN_NAME,
    "query_unknown_field": UNKNOWN_NAME,
    "unknown_event": UNKNOWN_NAME,
    "method_unknown": UNKNOWN_NAME,
    "actor_unknown": UNKNOWN_NAME,
    "backup_unknown": UNKNOWN_NAME,
    "job_unknown": UNKNOWN_NAME,
    "not_found": UNKNOWN_NAME,
}
_CONFIG_PREFIXES = ("config_", "schema_", "run_dir_", "secret_frame_")


def exit_status(error: KeepError) -> int:
    """The status for an error. Errors that came over the wire have lost their class, so the code decides."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if error.exit_code == FAILED and error.code.startswith(_CONFIG_PREFIXES):
        return BAD_CONFIG
    return error.exit_code


def usage(message: str, fix: str) -> ConfigError:
    """The command line itself is wrong."""
    return ConfigError("usage", message, fix=fix)
