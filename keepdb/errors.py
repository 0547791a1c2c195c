"""Every error that KeepDB raises on purpose, so that each says what, why and what to do.

One root class and a few families. The stable part is `code`: programs match on it, people read
`message` and follow `fix`. Every code is listed in docs/errors.md; a test compares the two.
"""

from typing import ClassVar


class KeepError(Exception):
    """Root of all deliberate errors.

    code: stable snake_case name. message: what happened and why. fix: what the caller can do.
    retryable: the same request may succeed later without any change.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, *, fix: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} {self.fix} [{self.code}]"


class ConfigError(KeepError):
    """A configuration file, option or secret frame that cannot be used; nothing was started."""

    exit_code = 78


class SchemaError(KeepError):
    """A schema.yaml that cannot be compiled."""

    exit_code = 78


class InvalidRequest(KeepError):
    """The request itself is wrong: shape, values, names, order. Sending it again cannot help."""


class NotAllowed(KeepError):
    """The sender's role may not send this message."""


class KeyringError(KeepError):
    """The keyring is missing, damaged, newer than this program, or no slot opens with the secret given."""


class StorageError(KeepError):
    """A database file is damaged, newer than this program, locked, or the disk refuses."""


class Unavailable(KeepError):
    """The service is not there, not ready, overloaded or too slow. Retryable unless said otherwise."""

    exit_code = 69

    def __init__(self, code: str, message: str, *, fix: str, retryable: bool = True) -> None:
        super().__init__(code, message, fix=fix, retryable=retryable)


class InvariantBroken(KeepError):
    """A promise of the code itself does not hold. The process must end; the supervisor acts."""
