"""The two errors of the log that the writer must tell apart from all others, by class."""

from keepdb.errors import StorageError


class CommitFailed(StorageError):
    """A COMMIT of the log raised. It may have succeeded: look the request up before answering."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(
            "outcome_unknown",
            f"{name} could not confirm a commit ({type(error).__name__}: {error}).",
            fix="Ask for the outcome of the request before sending it again.",
        )


class LogDamaged(StorageError):
    """The log cannot be read, or its chain breaks, at position `seq`; everything before it is as it was."""

    def __init__(self, name: str, seq: int, why: str) -> None:
        super().__init__(
            "log_damaged",
            f"{name} is damaged at event {seq}: {why}. The events before it are intact.",
            fix="Nothing was changed. Restore a backup with `keepdb restore`.",
        )
        self.seq = seq
