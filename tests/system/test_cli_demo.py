"""The demo, small: its own checks must hold, and it must clean up after itself."""

import json
from pathlib import Path

import pytest
from test_cli_world import run

pytestmark = pytest.mark.timeout(120)


def test_the_demo_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """Verifies: L1 L4 L5"""
    done = run("demo", "--docs", "1200", "--json", TMPDIR=str(tmp_path))

    found = json.loads(done.stdout)
    assert done.returncode == 0, found
    assert found["acknowledged"] == found["documents"] == found["rows"] == 1200
    assert found["lost"] == found["surplus"] == found["altered"] == found["canaryHits"] == 0
    assert found["seq"] == found["events"]
    assert found["unansweredAtKill"] > 0
    assert 0 < found["nextAcknowledgementMs"] < 5_000
    assert found["liveAgrees"] is True
    assert found["liveDiffs"] + found["liveSnapshots"] > 1
    assert found["canaries"] > 50
    assert list(tmp_path.glob("keepdb-demo-*")) == []


def test_the_demo_refuses_a_directory_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")

    done = run("demo", "--data", str(tmp_path))

    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
