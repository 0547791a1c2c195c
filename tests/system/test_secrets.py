"""The secret frame and the three ways to open a database: right ones open, wrong ones are one clear line."""

from pathlib import Path

import pytest
from conftest import PASSPHRASE, Start
from hosting import FRAME, Host
from leftovers import fingerprint

from keepdb.client import KeepError
from keepdb.fabric.keys import KeyPair
from keepdb.runtime.secret_frame import FRAME_BYTES_MAX


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00\x00",
        FRAME[:-5],
        framed(b""),
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"{}",
        framed(b"not json"),
        framed(b"[]"),
        framed(b"\xff\xfe"),
        framed(b'{"v":2,"passphrase":"canary-secret"}'),
        framed(b'{"v":1,"passphrase":7}'),
        framed(b'{"v":1,"pass":"canary-secret"}'),
        framed(b'{"v":1,"passphrase":"canary-secret","clients":{"key":"app"}}'),
        framed(b'{"v":1,"passphrase":"canary-secret","clients":{"%s":"root"}}' % KeyPair.generate().public),
        framed(b'{"v":1,"keychain":"%%%"}'),
        framed(b"[" * 5_000),
    ],
)
def test_a_frame_that_cannot_be_used_is_one_clear_line_and_no_data(tmp_path: Path, frame: bytes) -> None:
    """Verifies: L4. The line never quotes the frame."""
    status, lines, errors, _ = Host(tmp_path / "db", frame, close=True).outcome()

    assert (status, [line["code"] for line in lines]) == (78, ["secret_frame_invalid"])
    assert lines[0]["event"] == "failed"
    assert lines[0]["fix"]
    assert "canary-secret" not in str(lines) + errors
    assert {path.name for path in (tmp_path / "db").iterdir()} <= {"lock", "logs"}


def test_a_host_that_sends_no_frame_is_told_so_after_ten_seconds(tmp_path: Path) -> None:
    status, lines, _, took = Host(tmp_path / "db", b"").outcome()

    assert (status, [line["code"] for line in lines]) == (78, ["secret_frame_missing"])
    assert 9.0 < took < 13.0


def test_a_frame_without_a_secret_makes_no_keyring(tmp_path: Path) -> None:
    status, lines, _, _ = Host(tmp_path / "db", framed(b'{"v":1}')).outcome()

    assert (status, [line["code"] for line in lines]) == (1, ["secret_missing"])
    assert not (tmp_path / "db" / "keyring.json").exists()


def test_a_wrong_passphrase_opens_nothing_and_changes_no_data(start: Start, tmp_path: Path) -> None:
    start().stop()
    data = tmp_path / "db"
    before = {
        name: at for name, at in fingerprint(data).items() if name.split("/")[0] not in ("lock", "logs")
    }

    with pytest.raises(KeepError) as refused:
        start(passphrase="another five plain words here")

    assert refused.value.code == "wrong_key"
    after = {name: at for name, at in fingerprint(data).items() if name.split("/")[0] not in ("lock", "logs")}
    assert after == before


def test_the_recovery_code_opens_what_the_passphrase_closed(start: Start) -> None:
    first = start(passphrase=PASSPHRASE)
    with first.connect() as db:
        db.commit("personas.created", {"name": "Ada"}, id="ada")
    first.stop()

    with start(recovery=first.recovery_code).connect() as db:
        assert db.get("personas", "ada") is not None


def test_a_keychain_secret_opens_what_it_closed(start: Start) -> None:
    first = start(keychain=b"k" * 32)
    with first.connect() as db:
        db.commit("personas.created", {"name": "Ada"}, id="ada")
    first.stop()
    with pytest.raises(KeepError) as refused:
        start(keychain=b"j" * 32)
    assert refused.value.code == "wrong_key"

    with start(keychain=b"k" * 32).connect() as db:
        assert db.get("personas", "ada") is not None
