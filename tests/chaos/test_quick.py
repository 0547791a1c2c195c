"""A short, seeded chaos session, and two end-to-end controls: a broken promise on disk does not go unnoticed."""

from pathlib import Path

import apsw
import pytest
from leftovers import sweep

from keepdb.client import Sidecar
from keepdb.storage.connection import open_database

from .evidence import Vault, gather, open_vault
from .faults import kill
from .history import History, Request, check
from .kills import ACTORS, FORKSERVER, PASSPHRASE, Plan, run
from .load import Acks, Client
from .report import figures


@pytest.mark.timeout(120)
def test_nothing_acknowledged_is_lost_or_doubled_when_every_process_is_killed(tmp_path: Path) -> None:
    """Verifies: L1 L2 L3 L5 L6. The bound is wider than the full session's: the machine is busy with tests."""
    outcome = run(Plan(targets=(*ACTORS, FORKSERVER), rounds=1, seed=20_261_122), tmp_path)

    assert outcome.violations == []
    assert len(outcome.requests) > 100
    assert figures(outcome)["chaos_writer_next_ack_max_ms"] < 5_000


def test_removing_the_end_of_the_log_is_flagged_as_lost(tmp_path: Path) -> None:
    requests = short_load(tmp_path / "data")
    vault = open_vault(tmp_path / "data", PASSPHRASE)
    assert violations(requests, vault, tmp_path / "before") == []

    cut_log(vault, events=3)

    found = violations(requests, vault, tmp_path / "after")
    assert any(violation.startswith("lost:") for violation in found)
    assert any(violation.startswith("state:") for violation in found)


def test_a_client_that_takes_sending_for_acknowledgement_is_flagged(tmp_path: Path) -> None:
    """The whole tree is killed at once, so what was only sent is gone; a checker that missed it would be blind."""
    requests = short_load(tmp_path / "data", credulous=True)
    sweep(tmp_path / "data")

    found = violations(requests, open_vault(tmp_path / "data", PASSPHRASE), tmp_path / "rebuilt")

    assert any(violation.startswith("lost:") for violation in found)


def short_load(data: Path, *, credulous: bool = False) -> list[Request]:
    """About 50 commits. credulous: the tree is killed with more under way, which count as acknowledged."""
    acks = Acks()
    with Sidecar.start(data, passphrase=PASSPHRASE) as sidecar, sidecar.connect() as db:
        client = Client("c1", sidecar, 500.0, acks, credulous=credulous)
        writer = next(actor.pid for actor in db.status().actors if actor.name == "writer")
        client.start()
        assert acks.wait_more(50, 10.0)
        if credulous:
            sent = len(client.requests)
            kill(sidecar.process.pid)
            kill(writer)
            while len(client.requests) < sent + 20:
                client.join(0.01)
        client.end(abandon=credulous)
    return client.requests


def violations(requests: list[Request], vault: Vault, scratch: Path) -> list[str]:
    scratch.mkdir()
    return check(History(requests=requests, streams=[], live=[], evidence=gather(vault, scratch)))


def cut_log(vault: Vault, events: int) -> None:
    """Remove the last events, as somebody with the key, or a bug, could."""
    connection: apsw.Connection = open_database(
        vault.data / "events.0001.db", vault.log_key, kind="log", access="write"
    )
    connection.execute("DELETE FROM events WHERE seq > (SELECT max(seq) - ? FROM events)", (events,))
    connection.close()
