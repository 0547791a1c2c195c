"""The checks behind `keepdb doctor`: of the program, of the machine, of one data directory, of what runs."""

from keepdb.cli.checks.check import Check
from keepdb.cli.terminal.options import Session

__all__ = ["all_checks"]


def all_checks(session: Session) -> list[Check]:
    """In the order people should read them: what is wrong above often explains what is wrong below."""
    from keepdb.cli.checks.directory import directory_checks
    from keepdb.cli.checks.machine import machine_checks
    from keepdb.cli.checks.program import program_checks
    from keepdb.cli.checks.running import running_checks

    return [
        *program_checks(),
        *machine_checks(session.data),
        *directory_checks(session.data),
        *running_checks(session),
    ]
