"""The real program in processes of its own: what it prints, how it ends, what it leaves behind."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from test_cli_world import CLEAN, PASSPHRASE, PROGRAM, data_of, run, start, stop

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running database for all tests that only read or add."""
    place = tmp_path_factory.mktemp("cli") / "data"
    start(place)
    yield place
    stop(place)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A directory for a database of the test's own, stopped at its end."""
    yield tmp_path / "data"
    stop(tmp_path / "data")


# -- start, status, stop -----------------------------------------------------------------------------------


def test_a_database_started_in_the_background_answers_and_stops_without_leaving_a_process(own: Path) -> None:
    """Verifies: L7"""
    ready = start(own)
    tree = data_of(run("status", "--data", str(own), "--json"))
    children = psutil.Process(ready["pid"]).children(recursive=True)

    stopped = data_of(run("stop", "--data", str(own), "--json"))

    assert ready["event"] == "ready"
    assert tree["state"] == "ready"
    assert tree["pid"] == ready["pid"] == stopped["pid"]
    assert {row["name"] for row in tree["actors"]} >= {"encryption", "writer", "query-1", "health"}
    assert isinstance(tree["storage"]["logBytes"], int)
    assert tree["at"].endswith("Z")
    assert stopped["how"] == "asked"
    assert not psutil.pid_exists(ready["pid"])
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert data_of(run("status", "--data", str(own), "--json"), 3)["error"]["code"] == "not_running"
    assert data_of(run("stop", "--data", str(own), "--json"), 3)["error"]["code"] == "not_running"


def test_a_second_start_on_the_same_directory_is_refused(data: Path) -> None:
    """Verifies: L7"""
    before = (data / "lock").read_bytes()

    for more in ((), ("--detach",)):
        done = run("start", "--data", str(data), "--passphrase-stdin", *more, stdin=f"{PASSPHRASE}\n")

        assert done.returncode == 1
        assert "[already_running]" in done.stderr
    assert (data / "lock").read_bytes() == before


def test_the_foreground_start_ends_in_order_on_ctrl_c(own: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "start", "--data", str(own), "--passphrase-stdin", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{PASSPHRASE}\n")
    process.stdin.flush()
    ready = json.loads(process.stdout.readline())

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert ready["event"] == "ready"
    assert process.returncode == 0
    assert out == ""
    assert "Recovery code:" in err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_is_asked_twice_for_a_new_passphrase_which_is_never_shown(own: Path) -> None:
    """Verifies: L4"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PROGRAM[0], [*PROGRAM, "start", "--data", str(own), "--detach"], {**CLEAN, "TERM": "dumb"})
    seen = b""
    for prompt in (b"New passphrase: ", b"Again: "):
        seen += read_until(terminal, prompt)
        os.write(terminal, PASSPHRASE.encode() + b"\n")
    seen += read_until(terminal, b"stops it.")
    os.waitpid(pid, 0)
    os.close(terminal)

    assert b"Recovery code:" in seen
    assert b"ready" in seen
    assert PASSPHRASE.encode() not in seen
    assert b"\x1b" not in seen


def read_until(terminal: int, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        assert select.select([terminal], [], [], 30)[0], seen
        seen += os.read(terminal, 4096)
    return seen


def test_a_wrong_passphrase_is_told_from_damage(own: Path) -> None:
    start(own)
    run("stop", "--data", str(own))

    for more in ((), ("--detach",)):
        done = run("start", "--data", str(own), "--passphrase-stdin", "--json", *more, stdin="wrong\n")
        assert data_of(done, 1)["error"]["code"] == "wrong_key"


def test_the_recovery_code_opens_the_database(own: Path) -> None:
    done = run("start", "--data", str(own), "--detach", "--passphrase-stdin", stdin=f"{PASSPHRASE}\n")
    code = next(line.split()[-1] for line in done.stderr.splitlines() if "Recovery code:" in line)
    run("stop", "--data", str(own))

    done = run(
        "start", "--data", str(own), "--detach", "--passphrase-stdin", "--recovery-code", stdin=f"{code}\n"
    )

    assert done.returncode == 0, done.stderr


def test_a_frozen_supervisor_is_reported_and_can_be_killed(own: Path) -> None:
    pid = start(own)["pid"]
    children = psutil.Process(pid).children(recursive=True)
    psutil.Process(pid).suspend()

    refused = run("stop", "--data", str(own), "--timeout", "0.2", "--json")
    killed = run("stop", "--data", str(own), "--timeout", "0.2", "--kill", "--json")

    assert data_of(refused, 1)["error"]["code"] == "stop_timeout"
    assert data_of(killed)["how"] == "killed"
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_degraded_database_ends_status_with_3(own: Path) -> None:
    start(own, "--set", "supervisor.backoff_ms=20000", "--set", "supervisor.backoff_ms_max=20000")
    for _ in range(2):  # the first restart comes at once, the second one after the back-off
        tree = data_of(run("status", "--data", str(own), "--json"), status_of(own))
        row = next(row for row in tree["actors"] if row["name"] == "health")
        if row["pid"] and psutil.pid_exists(row["pid"]):
            process = psutil.Process(row["pid"])
            process.kill()
            psutil.wait_procs([process], timeout=5)
        wait_for_restart(own, row["restarts"])

    done = run("status", "--data", str(own), "--json")

    assert data_of(done, 3)["state"] == "degraded"


def status_of(data: Path) -> int:
    return run("status", "--data", str(data)).returncode


def wait_for_restart(data: Path, restarts: int) -> None:
    for _ in range(100):
        tree = json.loads(run("status", "--data", str(data), "--json").stdout)
        row = next(row for row in tree["actors"] if row["name"] == "health")
        if row["restarts"] > restarts:
            return
    raise AssertionError("the health actor was not restarted")


# -- data --------------------------------------------------------------------------------------------------


def test_what_is_committed_can_be_queried(data: Path) -> None:
    at = ("--data", str(data), "--json")

    made = data_of(run("commit", "personas.created", "name=Ada", "isActive=true", *at))
    keyed = ("commit", "personas.created", "-", "--idempotency-key", "k1")
    again = [run(*keyed, *at, stdin='{"name": "Bo"}') for _ in range(2)]
    found = data_of(run("query", "personas", "--where", json.dumps({"id": made["ids"][0]}), *at))

    assert found["rows"][0]["name"] == "Ada"
    assert found["rows"][0]["isActive"] is True
    assert found["cursor"] is None
    assert [data_of(done)["duplicate"] for done in again] == [False, True]
    assert data_of(again[0])["ids"] == data_of(again[1])["ids"]


def test_pages_join_up_and_select_order_and_sql_work(data: Path) -> None:
    at = ("--data", str(data), "--json")
    for number in range(5):
        data_of(run("commit", "workflows.created", f"name=w{number}", 'definition={"n":1}', *at))

    page = ("query", "workflows", "--order", "-name", "--limit", "3", "--select", "name")
    first = data_of(run(*page, *at))
    second = data_of(run(*page, "--after", first["cursor"], *at))
    counted = data_of(run("query", "workflows", "--aggregate", "n=count(*)", *at))
    by_sql = data_of(
        run("query", "--sql", "SELECT name FROM workflows WHERE name = :n", "--param", "n=w3", *at)
    )

    assert [row["name"] for row in first["rows"] + second["rows"]] == ["w4", "w3", "w2", "w1", "w0"]
    assert counted["rows"] == [{"n": 5}]
    assert by_sql["rows"] == [{"name": "w3"}]


def test_related_rows_distinct_values_and_groups_are_asked_for_by_options(data: Path) -> None:
    at = ("--data", str(data), "--json")
    (persona,) = data_of(run("commit", "personas.created", "name=Eve", *at))["ids"]
    for name, kind in (("m1", "task"), ("m2", "task"), ("m3", "event")):
        data_of(
            run(
                "commit",
                "memoryEntities.created",
                f"personaId={persona}",
                f"name={name}",
                f"type={kind}",
                *at,
            )
        )

    memories = ("query", "memoryEntities", "--where", json.dumps({"personaId": persona}))
    include = json.dumps({"persona": {"via": "personaId", "select": ["name"]}})
    related = data_of(run(*memories, "--limit", "1", "--select", "name", "--include", include, *at))
    again = data_of(run(*memories, "--select", "name", "--until", related["cursor"], *at))
    distinct = data_of(run(*memories, "--distinct", "--select", "type", *at))
    grouped = data_of(
        run(*memories, "--group-by", "type", "--aggregate", "n=count(*)", "--having", '{"n": {">": 1}}', *at)
    )

    assert related["rows"][0]["persona"] == {"id": persona, "name": "Eve"}
    assert [row["id"] for row in again["rows"]] == [related["rows"][0]["id"]]
    assert distinct["rows"] == [{"type": "event"}, {"type": "task"}]
    assert grouped["rows"] == [{"type": "task", "n": 2}]
    wrong = run(*memories, "--include", '{"persona": {}}', "--data", str(data))
    assert wrong.returncode == 2
    assert "--include has not the right shape" in wrong.stderr


def test_explain_says_how_a_query_is_answered_instead_of_its_rows(data: Path) -> None:
    asked = (
        "query",
        "memoryEntities",
        "--order",
        "-importance",
        "--limit",
        "20",
        "--explain",
        "--data",
        str(data),
    )

    found = data_of(run(*asked, "--json"))
    shown = run(*asked).stdout

    assert found["strategy"] == "window"
    assert found["sql"].startswith("SELECT")
    assert "memoryEntities.importance" in found["reads"]
    assert shown.startswith("sql       SELECT")
    assert "\nlive      window: " in shown


def test_a_table_shows_times_for_people_and_says_how_many_rows(data: Path) -> None:
    run("commit", "personas.created", "name=Ada", "--data", str(data))

    done = run("query", "personas", "--select", "name,createdAt", "--limit", "1", "--data", str(data))

    header, row = done.stdout.splitlines()
    assert header.split() == ["id", "name", "createdAt"]
    assert row.endswith("Z")
    assert "1 row at seq" in done.stderr


def test_watch_prints_the_result_and_then_what_changes(data: Path) -> None:
    """Verifies: L3"""
    watch = subprocess.Popen(
        [*PROGRAM, "watch", "uiState", "--select", "name", "--json", "--data", str(data)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN,
    )  # fmt: skip
    assert watch.stdout is not None
    snapshot = json.loads(watch.stdout.readline())

    made = data_of(run("commit", "uiState.created", "windowId=w", "name=n1", "--data", str(data), "--json"))
    update = json.loads(watch.stdout.readline())
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=20)

    assert snapshot["event"] == "snapshot"
    assert made["ids"][0] in json.dumps(update)
    assert update["seq"] >= made["seqLast"]
    assert watch.returncode == 130
    assert "Traceback" not in err


def test_watch_changes_begins_where_it_is_told(data: Path) -> None:
    """Verifies: L3"""
    made = data_of(run("commit", "personas.created", "name=Cy", "--data", str(data), "--json"))

    done = run(
        "watch",
        "--changes",
        "--after",
        str(made["seqLast"] - 1),
        "--count",
        "1",
        "--json",
        "--data",
        str(data),
    )

    first = json.loads(done.stdout.splitlines()[0])
    assert (first["seq"], first["op"], first["id"]) == (made["seqLast"], "insert", made["ids"][0])


def test_rebuild_ends_when_the_new_state_serves(data: Path) -> None:
    """Verifies: L2"""
    before = data_of(run("query", "personas", "--json", "--data", str(data)))

    built = data_of(run("rebuild", "--json", "--data", str(data)))

    assert built["stateGeneration"] > 1
    assert data_of(run("query", "personas", "--json", "--data", str(data)))["rows"] == before["rows"]


# -- backups -----------------------------------------------------------------------------------------------


def test_a_backup_is_made_listed_verified_and_restored(own: Path) -> None:
    start(own)
    at = ("--data", str(own), "--json")
    data_of(run("commit", "personas.created", "name=Ada", *at))
    made = data_of(run("backup", "--label", "first", *at))
    verified = data_of(run("verify", *at))
    listed = data_of(run("backup", *at[:2], "list", "--json"))["backups"]
    data_of(run("commit", "personas.created", "name=Later", *at))
    run("stop", "--data", str(own))

    refused = run("restore", made["backup"], "--to", str(own), "--passphrase-stdin", *at, stdin=PASSPHRASE)
    restored = data_of(
        run("restore", made["backup"], "--to", str(own), "--yes", "--passphrase-stdin", *at, stdin=PASSPHRASE)
    )
    start(own)

    assert [entry["id"] for entry in listed] == [made["backup"]]
    assert listed[0]["label"] == "first"
    assert listed[0]["verifiedAt"].endswith("Z")
    assert verified["digest"] == made["digest"]
    assert data_of(refused, 1)["error"]["code"] == "target_exists"
    assert Path(restored["kept"]).is_dir()
    assert [row["name"] for row in data_of(run("query", "personas", *at))["rows"]] == ["Ada"]


# -- doctor, logs, config ----------------------------------------------------------------------------------


def test_doctor_finds_a_running_database_in_order(data: Path) -> None:
    found = data_of(run("doctor", "--data", str(data), "--json"))

    states = {check["id"]: check["state"] for check in found["checks"]}
    assert found["ok"] is True
    assert states["curve"] == states["keyring"] == states["running"] == states["actor_writer"] == "ok"
    assert [check["number"] for check in found["checks"]] == list(range(1, len(found["checks"]) + 1))


def test_doctor_names_what_is_wrong_and_what_to_do(own: Path) -> None:
    start(own)
    run("stop", "--data", str(own))
    keyring = own / "keyring.json"
    keyring.write_bytes(keyring.read_bytes().replace(b"a", b"b", 1))
    (own / "keyring.json.tmp").write_bytes(b"")
    own.chmod(0o755)

    done = run("doctor", "--data", str(own), "--json")

    checks = {check["id"]: check for check in data_of(done, 1)["checks"]}
    assert checks["keyring"]["state"] == "fail"
    assert "damaged" in checks["keyring"]["found"]
    assert checks["keyring"]["remedy"]
    assert checks["data_dir"]["state"] == checks["stray_files"]["state"] == "warn"


def test_logs_are_merged_in_the_order_of_time(data: Path) -> None:
    done = run("logs", "-n", "0", "--json", "--data", str(data))

    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    assert {entry["process"] for entry in entries} >= {"supervisor", "writer"}
    only = run("logs", "--actor", "writer", "--data", str(data), NO_COLOR="1").stdout
    assert only
    assert all("  writer " in line for line in only.splitlines())


def test_logs_can_be_followed(data: Path) -> None:
    follow = subprocess.Popen(
        [*PROGRAM, "logs", "-f", "-n", "1", "--actor", "writer", "--json", "--data", str(data)],
        stdout=subprocess.PIPE, text=True, env=CLEAN,
    )  # fmt: skip
    assert follow.stdout is not None
    follow.stdout.readline()

    run("rebuild", "--data", str(data))
    line = json.loads(follow.stdout.readline())
    follow.send_signal(signal.SIGINT)

    assert line["process"] == "writer"
    assert follow.wait(10) == 130
    follow.stdout.close()


def test_config_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("query: {workers: 3}\n")

    found = data_of(run("config", "show", "--set", "logs.level=debug", "--json", "--data", str(tmp_path)))

    assert found["settings"]["query"]["workers"] == 3
    assert found["origins"]["query.workers"] == str(tmp_path / "config.yaml")
    assert found["origins"]["logs.level"] == "--set"
    assert found["origins"]["writer.checkpoint_kib"] == "default"


def test_the_data_directory_comes_from_option_then_environment_then_platform(tmp_path: Path) -> None:
    def asked(*options: str, **environment: str) -> str:
        return str(data_of(run("status", "--json", *options, **environment), 3)["error"]["message"])

    assert str(tmp_path / "a") in asked("--data", str(tmp_path / "a"), KEEPDB_DATA=str(tmp_path / "b"))
    assert str(tmp_path / "b") in asked(KEEPDB_DATA=str(tmp_path / "b"))
    if sys.platform == "linux":
        assert str(tmp_path / "c" / "keepdb") in asked(XDG_DATA_HOME=str(tmp_path / "c"))


# -- colours, pipes, imports -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [
        ([], {}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_written_only_when_wanted(
    data: Path, options: list[str], environment: dict[str, str], coloured: bool
) -> None:
    good = run("status", "--data", str(data), *options, **environment)
    bad = run("query", "nothing", "--data", str(data), *options, **environment)

    assert ("\x1b[" in good.stdout) is coloured
    assert ("\x1b[" in bad.stderr) is coloured


def test_a_reader_that_goes_away_is_no_accident(data: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -n 1', "sh", *PROGRAM, "logs", "-n", "0", "--data", str(data)],
        capture_output=True, text=True, timeout=60, env=CLEAN,
    )  # fmt: skip

    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_status_does_not_import_what_only_a_start_needs() -> None:
    code = (
        "import sys; import keepdb.cli.program, keepdb.cli.status, keepdb.client.database;"
        "print([m for m in ('apsw', 'pykka', 'lmdb', 'yaml', 'multiprocessing', 'actors', 'sqlite3', 'sqlite_utils',"
        " 'keepdb.runtime.main') if m in sys.modules])"
    )
    root = str(Path(__file__).parents[2])

    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "[]", done.stderr


def test_no_secret_stands_in_the_arguments_or_the_environment_of_any_process(data: Path) -> None:
    """Verifies: L4"""
    pid = data_of(run("status", "--data", str(data), "--json"))["pid"]
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    for process in family:
        assert PASSPHRASE not in " ".join(process.cmdline())
        if sys.platform == "linux":
            assert PASSPHRASE not in " ".join(process.environ().values())
