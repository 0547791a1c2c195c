"""Checks of what runs: do all actors answer, and does the client's end of CURVE work?"""

from keepdb.cli.checks.check import Check
from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.options import Session
from keepdb.cli.terminal.status import NOT_RUNNING, exit_status
from keepdb.client.database import Database
from keepdb.errors import KeepError
from messages.commits import WriterFigures, WriterStatus
from messages.control import GetStatus, Status
from messages.queries import QueryFigures, QueryStatus

ASK_S = 2.0
GOOD = ("ready", "stable", "busy")


def running_checks(session: Session) -> list[Check]:
    try:
        with connect(session) as db:
            return _ask_everybody(db)
    except KeepError as error:
        if exit_status(error) == NOT_RUNNING:
            return [Check("running", "skip", error.message)]
        return [Check("running", "fail", error.message, error.fix)]


def _ask_everybody(db: Database) -> list[Check]:
    tree = db.ask("supervisor", GetStatus(), Status, timeout=ASK_S)
    checks = [Check("running", "ok", f"pid {tree.pid} answers")]
    for row in tree.actors:
        good = row.state in GOOD
        text = f"{row.state}, {row.restarts} restarts" + (
            f", {row.reason}" if row.reason and not good else ""
        )
        remedy = "" if good else f"See `keepdb logs --actor {row.name}`."
        checks.append(Check(f"actor_{row.name}", "ok" if good else "fail", text, remedy))
    figures = db.ask("writer", WriterStatus(), WriterFigures, timeout=ASK_S)
    checks.append(_writer(figures))
    seq = max(db.ask(name, QueryStatus(), QueryFigures, timeout=ASK_S).seq for name in _workers(tree))
    checks.append(Check("reads", "ok", f"query actors answer, at seq {seq}"))
    return checks


def _workers(tree: Status) -> list[str]:
    return [service.name for service in tree.services if service.name.startswith("query-")]


def _writer(figures: WriterFigures) -> Check:
    text = f"{figures.mode}, log at seq {figures.seq}, state at {figures.state_seq}"
    if figures.mode != "serving":
        return Check("writes", "fail", f"{text}: {figures.reason}", "See `keepdb logs --actor writer`.")
    if figures.quarantined:
        return Check(
            "writes", "warn", f"{text}, {figures.quarantined} events quarantined",
            "Their materializer failed; see `keepdb logs --actor writer` and correct schema.yaml.",
        )  # fmt: skip
    return Check("writes", "ok", text)
