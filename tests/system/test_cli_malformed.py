"""Wrong input to every command: one clear line with what, why and what to do, and nothing is written."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cli_world import run, start, stop

from keepdb.cli.program import COMMANDS

pytestmark = pytest.mark.timeout(120)

#: (arguments, standard input, exit status). Run against a running database, which must not notice.
REFUSED: list[tuple[list[str], str, int]] = [
    (["start", "--set", "nonsense", "--passphrase-stdin"], "x\n", 2),
    (["start", "--set", "query.workers=many", "--passphrase-stdin"], "x\n", 78),
    (["start", "--set", "query.workers=1e9", "--passphrase-stdin"], "x\n", 78),
    (["start", "--set", "query.nothing=1", "--passphrase-stdin", "--detach"], "x\n", 78),
    (["start", "--config", "/nowhere.yaml", "--passphrase-stdin"], "x\n", 78),
    (["start", "--passphrase-stdin"], "\n", 1),
    (["start", "--passphrase-stdin"], "x" * 5000 + "\n", 1),
    (["start", "--transport", "pigeon", "--passphrase-stdin"], "x\n", 2),
    (["start"], "", 2),
    (["status", "extra"], "", 2),
    (["status", "--color", "mauve"], "", 2),
    (["stop", "--timeout", "soon"], "", 2),
    (["demo", "--docs", "0"], "", 2),
    (["demo", "--docs", "x"], "", 2),
    (["commit"], "", 2),
    (["commit", "personas.created", "name"], "", 2),
    (["commit", "personas.created", "name=1"], "", 1),
    (["commit", "personas.created", "nme=Ada"], "", 1),
    (["commit", "personas.created"], "", 1),
    (["commit", "persona.created", "name=Ada"], "", 4),
    (["commit", "personas.updated", "name=Ada"], "", 1),
    (["commit", "personas.updated", "--id", "nobody", "name=Ada"], "", 4),
    (["commit", "personas.created", "--data-json", "{"], "", 2),
    (["commit", "personas.created", "--data-json", "[]"], "", 2),
    (["commit", "personas.created", "-"], "not json", 2),
    (["commit", "personas.created", "a=1", "--data-json", "{}"], "", 2),
    (["commit", "personas.created", "name=Ada", "--durability", "tape"], "", 2),
    (["query"], "", 2),
    (["query", "persona"], "", 4),
    (["query", "personas", "--where", "{"], "", 2),
    (["query", "personas", "--where", '{"nme": 1}'], "", 4),
    (["query", "personas", "--where", '{"isActive": 7}'], "", 1),
    (["query", "personas", "--limit", "0"], "", 2),
    (["query", "personas", "--after", "rubbish"], "", 1),
    (["query", "personas", "--order", "-nothing"], "", 4),
    (["query", "personas", "--aggregate", "count"], "", 2),
    (["query", "personas", "--sql", "SELECT 1"], "", 2),
    (["query", "personas", "--param", "1"], "", 2),
    (["query", "--sql", "DELETE FROM personas"], "", 1),
    (["query", "--sql", "SELEC"], "", 1),
    (["query", "--sql", "SELECT ?"], "", 1),
    (["watch"], "", 2),
    (["watch", "persona"], "", 4),
    (["watch", "--changes", "--after", "x"], "", 2),
    (["watch", "--changes", "--after", "-5"], "", 2),
    (["watch", "personas", "--changes"], "", 2),
    (["watch", "personas", "--collection", "x"], "", 2),
    (["watch", "personas", "--count", "0"], "", 2),
    (["backup", "lst"], "", 2),
    (["backup", "list", "extra"], "", 2),
    (["verify", "nothing"], "", 4),
    (["verify", "../.."], "", 4),
    (["restore"], "", 2),
    (["restore", "nothing"], "", 2),
    (["restore", "nothing", "--to", "/nowhere/x", "--passphrase-stdin"], "x\n", 4),
    (["restore", "..", "--to", "/nowhere/x", "--passphrase-stdin"], "x\n", 4),
    (["rebuild", "now"], "", 2),
    (["doctor", "--fix"], "", 2),
    (["typegen", "--schema", "/nowhere/schema.yaml"], "", 78),
    (["typegen", "--check"], "", 2),
    (["typegen", "extra"], "", 2),
    (["logs", "--actor", "nobody"], "", 4),
    (["logs", "--level", "loud"], "", 2),
    (["logs", "-n", "-1"], "", 2),
    (["config", "shw"], "", 2),
    (["config", "show", "--set", "x"], "", 2),
    (["config", "show", "--set", "logs.level=loud"], "", 78),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("malformed") / "data"
    start(place)
    yield place
    stop(place)


def test_every_command_is_tried() -> None:
    assert {arguments[0] for arguments, _, _ in REFUSED} == set(COMMANDS)


@pytest.mark.parametrize(("arguments", "stdin", "status"), REFUSED, ids=lambda value: str(value)[:60])
def test_wrong_input_is_refused_in_one_line(
    data: Path, arguments: list[str], stdin: str, status: int
) -> None:
    done = run(*arguments, stdin=stdin, KEEPDB_DATA=str(data))

    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("]")


def test_after_all_of_that_nothing_is_written(data: Path) -> None:
    for arguments, stdin, _ in REFUSED:
        if arguments[0] in ("commit", "watch"):
            run(*arguments, stdin=stdin, KEEPDB_DATA=str(data))

    tree = json.loads(run("status", "--json", "--data", str(data)).stdout)

    assert tree["storage"]["seq"] == 0
    assert tree["state"] == "ready"
    assert all(row["restarts"] == 0 for row in tree["actors"])


@pytest.mark.parametrize("more", [["--set", "a.b=c"], []])
def test_a_refused_start_makes_no_directory(tmp_path: Path, more: list[str]) -> None:
    done = run("start", "--passphrase-stdin", *more, "--data", str(tmp_path / "new"), stdin="\n")

    assert done.returncode in (1, 78)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "name", sorted(set(COMMANDS) - {"start", "demo", "doctor", "config", "restore", "typegen"})
)
def test_without_a_database_every_command_says_so(tmp_path: Path, name: str) -> None:
    arguments = {
        "commit": ["personas.created", "name=Ada"],
        "query": ["personas"],
        "watch": ["personas"],
    }.get(name, [])

    done = run(name, *arguments, "--data", str(tmp_path / "none"), "--json")

    assert json.loads(done.stdout)["error"]["code"] in ("not_running", "no_logs")
    assert done.returncode in (1, 3)
    assert not (tmp_path / "none").exists()


def test_an_unknown_command_is_told_its_nearest_neighbour() -> None:
    done = run("statsu")

    assert done.returncode == 2
    assert "Did you mean `keepdb status`?" in done.stderr


def test_bytes_that_are_no_text_are_refused(data: Path) -> None:
    program = [sys.executable, str(Path(__file__).parents[2] / "supervisor.py")]

    done = subprocess.run(
        [*program, "commit", "personas.created", b"name=\xff\xfe", "--data", str(data)],
        capture_output=True,
        timeout=60,
    )

    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"error: ")
