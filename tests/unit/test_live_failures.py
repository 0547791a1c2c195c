"""Live queries whose work fails or takes long: what is tried again, what ends, and that the others do not notice."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_world import Client, Stage, stage_in

from keepdb.errors import StorageError, Unavailable
from keepdb.live.window import Window
from keepdb.query.plan import CompiledQuery, Plan
from messages.queries import Include

SEALED = {"id": "s", "secret": "hush", "i": 1}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as made:
        made.put({"id": "a", "i": 1})
        yield made


def tick(stage: Stage) -> None:
    """What the actor does every second."""
    stage.clock.seconds += 1.0
    stage.engine.retry()
    stage.hear()


def timed_out() -> None:
    raise Unavailable("query_timeout", "Too long.", fix="Narrow it.", retryable=False)


def window_of(stage: Stage, plan: Plan) -> Window:
    return stage.engine._registry.windows[plan.canonical]


# -- faults that may pass --------------------------------------------------------------------------------------


def test_a_query_that_ran_too_long_once_goes_on(stage: Stage) -> None:
    """Verifies: L6. The machine may have stood still."""
    client = stage.watch(plan := stage.sql("SELECT id, i FROM things"))
    stage.reader.before_run = timed_out
    stage.put({"id": "b", "i": 2})
    assert client.kinds == ["Snapshot"]

    stage.reader.before_run = None
    tick(stage)

    stage.assert_holds(client, plan)
    assert client.kinds == ["Snapshot", "Snapshot"]


def test_a_query_that_always_runs_too_long_ends(stage: Stage) -> None:
    stage.reader.before_run = timed_out
    client = stage.watch(stage.sql("SELECT id, i FROM things"))
    tick(stage)
    assert client.kinds == []
    tick(stage)

    assert (client.kinds, client.failed.code) == (["LiveFailed"], "query_timeout")
    assert stage.engine.windows == 0


@pytest.mark.parametrize("query", [{"select": ("secret",)}, {"select": ("secret", "parts")}])
def test_sealed_values_may_be_away_for_long(stage: Stage, query: dict[str, Any]) -> None:
    """Verifies: L6."""
    stage.put(SEALED)
    client = stage.watch(plan := stage.plan(**query))
    stage.vault_is_down = True
    stage.put(SEALED | {"secret": "louder"})
    for _ in range(100):
        tick(stage)
    assert client.kinds == ["Snapshot"]

    stage.vault_is_down = False
    tick(stage)

    stage.assert_holds(client, plan)
    assert client.kinds == ["Snapshot", "Diff"]


def test_one_query_waits_for_a_vault_that_does_not_answer_and_the_others_do_not(stage: Stage) -> None:
    stage.put(SEALED)
    asked = []
    opened = stage.open_values

    def hangs(items: Any) -> Any:
        asked.append(len(items))
        return opened(items)

    stage.reader._open_values = hangs
    stage.vault_is_down = True
    clients = [stage.subscribe(f"{n}", stage.plan(select=("secret", "parts"), limit=n)) for n in range(1, 9)]
    stage.settle()
    assert asked == [1]
    tick(stage)
    assert asked == [1, 1]

    stage.vault_is_down = False
    tick(stage)

    assert all(client.kinds == ["Snapshot"] for client in clients)


def test_other_faults_that_may_pass_are_tried_a_few_times(stage: Stage) -> None:
    def busy() -> None:
        raise StorageError("disk_full", "No space.", fix="Make room.", retryable=True)

    stage.reader.before_run = busy
    client = stage.watch(stage.sql("SELECT id FROM things"))
    for _ in range(3):
        tick(stage)
    assert client.kinds == []
    tick(stage)

    assert client.failed.code == "disk_full"


# -- faults of the code ----------------------------------------------------------------------------------------


def break_apply(window: Window) -> None:
    window._matches = broken  # type: ignore[attr-defined]


def break_order(window: Window) -> None:
    window.make_key = broken  # type: ignore[attr-defined]


def break_filter(window: Window) -> None:
    (route,) = window.routes
    shape = route.filter.shape
    object.__setattr__(shape, "one", broken)
    break_apply(window)


def break_read(window: Window) -> None:
    object.__setattr__(window.plan, "sql", 7)


def break_finish(window: Window) -> None:
    plan = window.plan
    assert isinstance(plan, CompiledQuery)
    window.buffer = None  # type: ignore[attr-defined]


def broken(*_: object) -> Any:
    raise TypeError("a fault of the code")


PAGE: dict[str, Any] = {"where": {"i": {">": 0}}}


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        (PAGE, break_apply),
        (PAGE, break_order),
        (PAGE, break_filter),
        (PAGE, break_finish),
        ({"include": {"other": Include(via="x")}}, break_read),
    ],
)
def test_a_fault_of_the_code_ends_one_query_and_is_logged(
    stage: Stage, caplog: pytest.LogCaptureFixture, query: dict[str, Any], fault: Callable[[Window], None]
) -> None:
    """Verifies: L10."""
    others = [
        stage.plan(where={"i": 1}),
        stage.plan(where={"i": {"<": 9}}),
        stage.sql("SELECT id FROM things"),
    ]
    clients = [stage.watch(plan, f"{n}") for n, plan in enumerate(others)]
    client = stage.watch(plan := stage.plan(**query))
    with caplog.at_level(logging.ERROR, "keepdb.query"):
        fault(window_of(stage, plan))
        stage.put({"id": "b", "i": 1})
        stage.put({"id": "c", "i": 3})

    assert (client.kinds, client.failed.code) == (["Snapshot", "LiveFailed"], "internal_error")
    assert "unplanned" in caplog.text
    assert stage.engine.windows == len(others)
    for other, held in zip(clients, others, strict=True):
        stage.assert_holds(other, held)


# -- queries that cost much --------------------------------------------------------------------------------------


def slow(stage: Stage, seconds: float) -> tuple[Client, Plan]:
    """A live query that runs so long each time."""

    def takes_long() -> None:
        stage.clock.seconds += seconds

    stage.reader.before_run = takes_long
    plan = stage.sql("SELECT count(*), sum(i) FROM things")
    return stage.watch(plan), plan


def test_a_query_that_takes_long_rests_for_twice_as_long(stage: Stage) -> None:
    """Verifies: L8."""
    client, plan = slow(stage, 0.1)
    for n in range(20):
        stage.put({"id": "a", "i": n})
        stage.clock.seconds += 0.009
    assert (stage.engine.reads, client.rows, stage.engine.waiting) == (1, [[1, 1]], False)
    assert stage.engine.rest_s == pytest.approx(0.02)

    stage.clock.seconds += 0.02
    stage.hear()

    assert (stage.engine.reads, client.rows, stage.engine.rest_s) == (2, [[1, 19]], None)
    stage.assert_holds(client, plan)


def test_a_query_that_is_quick_never_rests(stage: Stage) -> None:
    client, _ = slow(stage, 0.004)
    for n in range(5):
        stage.put({"id": "a", "i": n})
        assert client.rows == [[1, n]]


def test_a_query_that_rests_holds_up_no_other(stage: Stage) -> None:
    slow(stage, 0.5)
    page = stage.subscribe("page", stage.plan(select=("i",)))
    stage.settle()

    stage.put({"id": "a", "i": 9})

    assert page.rows == [["a", 9]]


def test_a_query_that_ends_while_it_rests_leaves_nothing_behind(stage: Stage) -> None:
    slow(stage, 0.5)
    stage.put({"id": "a", "i": 9})
    resting = stage.engine.rest_s

    stage.engine.unsubscribe(b"client 1", "s")

    assert [resting, stage.engine.rest_s] == [pytest.approx(1.0), None]
    assert (stage.engine.waiting, stage.engine.windows) == (False, 0)
