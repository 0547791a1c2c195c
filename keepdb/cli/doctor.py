"""`keepdb doctor`: every check as one line with what was found, and what to do where it is not well."""

import click

from keepdb.cli.checks.check import Check, State
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import FAILED, OK

EXAMPLES = (
    "keepdb doctor",
    "keepdb doctor --data ./mydata",
    "keepdb doctor --json | jq '.checks[] | select(.state != \"ok\")'",
)
COLOURS: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


@click.command(cls=Command, examples=EXAMPLES)
@with_session
def doctor(session: Session) -> int:
    """Check everything the database depends on. Reads only, needs no passphrase, changes nothing.

    Ends with 1 if a check fails; warnings do not count.
    """
    from keepdb.cli.checks import all_checks

    checks = all_checks(session)
    failed = [check for check in checks if check.state == "fail"]
    if session.console.json:
        session.console.data(
            {
                "schema": 1,
                "ok": not failed,
                "checks": [
                    {"number": at, "id": one.id, "state": one.state, "found": one.found, "remedy": one.remedy}
                    for at, one in enumerate(checks, start=1)
                ],
            }
        )
        return FAILED if failed else OK
    for at, one in enumerate(checks, start=1):
        _print(session, at, one)
    count = {state: sum(one.state == state for one in checks) for state in COLOURS}
    session.console.say(
        f"{count['ok']} ok, {count['warn']} warnings, {count['fail']} failed, {count['skip']} skipped"
    )
    return FAILED if failed else OK


def _print(session: Session, number: int, check: Check) -> None:
    session.console.line(f"{number:2}  {check.state:4}  {check.id:16}  {check.found}", COLOURS[check.state])
    if check.remedy:
        session.console.line(f"          → {check.remedy}")
