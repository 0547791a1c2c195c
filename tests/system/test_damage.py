"""L10 on the whole stack: a changed byte in a stopped database is noticed, named, and never papered over."""

from pathlib import Path

import pytest
from conftest import Start

from keepdb.client import KeepError


def written(start: Start) -> None:
    """A database with some content, stopped in order."""
    sidecar = start()
    with sidecar.connect() as db:
        for number in range(20):
            db.commit("personas.created", {"name": f"p{number}", "description": "x" * 500}, id=f"p{number}")
    assert sidecar.stop() == 0


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("keyring.json", {"keyring_damaged", "keyring_unreadable", "wrong_key"}),
        ("anchor.json", {"anchor_damaged"}),
        ("events.0001.db", {"file_damaged", "log_damaged", "file_unreadable", "wrong_key"}),
    ],
)
def test_a_changed_byte_stops_the_start_with_a_reason(
    start: Start, tmp_path: Path, name: str, codes: set[str]
) -> None:
    """Verifies: L10. And the damaged file is left as it is, for its rescue."""
    written(start)
    path = tmp_path / "db" / name
    flip(path, len(path.read_bytes()) // 2 if name.endswith(".json") else 40)
    damaged = path.read_bytes()

    with pytest.raises(KeepError) as refused:
        start()

    assert refused.value.code in codes
    assert refused.value.fix
    assert path.read_bytes() == damaged


def test_the_end_of_the_log_cut_off_is_noticed(start: Start, tmp_path: Path) -> None:
    """Verifies: L10. An older copy of the log is a log whose end is missing."""
    sidecar = start()
    with sidecar.connect() as db:
        db.commit("personas.created", {"name": "Ada"})
    sidecar.stop()
    older = (tmp_path / "db" / "events.0001.db").read_bytes()
    second = start()
    with second.connect() as db:
        db.commit("personas.created", {"name": "Eve"})
    second.stop()
    (tmp_path / "db" / "events.0001.db").write_bytes(older)

    with pytest.raises(KeepError) as refused:
        start()
    assert refused.value.code in ("log_tail_missing", "log_replaced")


def test_a_damaged_state_is_built_anew_from_the_log(start: Start, tmp_path: Path) -> None:
    """Verifies: L2 L9 L10."""
    written(start)
    (state,) = (tmp_path / "db").glob("state.*.db")
    flip(state, 40)

    with start().connect() as db:
        assert len(db.query({"from": "personas"}).rows) == 20
        assert db.commit("personas.created", {"name": "Eve"}).seq_first == 21
    assert not state.exists()
