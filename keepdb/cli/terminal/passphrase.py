"""Secrets from people: a hidden prompt on a terminal, or the first line of standard input. Never argv, never
the environment."""

import getpass
import sys
from typing import TYPE_CHECKING

from keepdb.cli.terminal.options import Session
from keepdb.cli.terminal.status import usage
from keepdb.crypto.slots import Secrets, secret_bytes
from keepdb.errors import KeyringError

if TYPE_CHECKING:
    from keepdb.runtime.secret_frame import HostFrame

#: Longer input is no passphrase; the keyring's own limit is 4 096 bytes.
LINE_BYTES_MAX = 8 * 1024
#: Mistyping the repetition more often than this is not chance.
TRIES_MAX = 3


class PassphraseSource:
    """Where the secret comes from, decided and checked before anything is written.

    given: it has been read already. new: the database does not exist yet, so a passphrase is asked for twice.
    """

    def __init__(self, session: Session, given: Secrets | None, new: bool, recovery: bool) -> None:
        self._session = session
        self._given = given
        self._new = new
        self._recovery = recovery

    def secrets(self) -> Secrets:
        """Ask for it now, if it has not been given. Raises KeyringError."""
        if self._given is not None:
            given, self._given = self._given, None
            return given
        if self._recovery:
            secrets = Secrets(recovery=_prompt(f"Recovery code of {self._session.data}: "))
            secret_bytes(secrets, "recovery")
            return secrets
        return self._ask_new() if self._new else _checked(_prompt(f"Passphrase of {self._session.data}: "))

    def frame(self, lifeline: bool = False) -> "HostFrame":
        """The secret as the runtime takes it."""
        from keepdb.runtime.secret_frame import HostFrame

        secrets = self.secrets()
        return HostFrame(passphrase=secrets.passphrase, recovery=secrets.recovery, lifeline=lifeline)

    def _ask_new(self) -> Secrets:
        self._session.console.say(
            f"New database in {self._session.data}. Choose a passphrase; it cannot be read back."
        )
        for _ in range(TRIES_MAX):
            secrets = _checked(_prompt("New passphrase: "))
            if _prompt("Again: ") == secrets.passphrase:
                return secrets
            self._session.console.say("The two differ. Try again.", "yellow")
        raise KeyringError(
            "passphrase_not_repeated",
            f"The passphrase and its repetition differed {TRIES_MAX} times.",
            fix="Start again and type the same passphrase twice.",
        )


def source_of_passphrase(
    session: Session, from_stdin: bool, recovery: bool = False, *, may_be_new: bool = True
) -> PassphraseSource:
    """Raises ConfigError (`usage`) if there is nobody to ask and nothing to read."""
    new = may_be_new and not (session.data / "keyring.json").exists()
    if recovery and new:
        raise usage(
            f"{session.data} holds no database that a recovery code could open.",
            "Check --data, or leave out the option.",
        )
    if from_stdin:
        line = sys.stdin.buffer.readline(LINE_BYTES_MAX)
        return PassphraseSource(session, _from_line(line, recovery), new, recovery)
    if not sys.stdin.isatty():
        raise usage(
            "Standard input is not a terminal, so the passphrase cannot be asked for.",
            "Use --passphrase-stdin and write it as the first line of standard input.",
        )
    return PassphraseSource(session, None, new, recovery)


def _from_line(line: bytes, recovery: bool) -> Secrets:
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        # Without the cause: it quotes the line.
        raise KeyringError(
            "secret_unusable",
            "The first line of standard input is not UTF-8 text.",
            fix="Send the passphrase as UTF-8.",
        ) from None
    if not recovery:
        return _checked(text)
    secrets = Secrets(recovery=text)
    secret_bytes(secrets, "recovery")
    return secrets


def _checked(text: str) -> Secrets:
    """Refuse what the keyring would refuse, before anything has been written."""
    secrets = Secrets(passphrase=text)
    secret_bytes(secrets, "passphrase")
    return secrets


def _prompt(text: str) -> str:
    return getpass.getpass(text, stream=sys.stderr)
