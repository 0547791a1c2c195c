"""A short, seeded fuzz of live queries, and the controls: an engine with a fault does not go unnoticed."""

from pathlib import Path

import pytest

from keepdb.errors import InvalidRequest
from keepdb.query.limits import QueryLimits
from keepdb.storage.changes import RingLimits
from messages.queries import Diff, Push, Query, Snapshot

from .engine import Deaf, Live
from .episode import Episode, Finding
from .statements import ALL, Statement
from .world import World


@pytest.mark.parametrize("number", range(10))
def test_no_client_ever_holds_a_wrong_result(tmp_path: Path, number: int) -> None:
    """Verifies: L3. The long version is `make fuzz`."""
    played = Episode(20_261_123, number, tmp_path).play(500)

    assert played.transactions >= 500
    assert played.counts["judged"] > 50


class Twice(Live):
    """Sends what it has sent already."""

    def turn(self) -> list[tuple[bytes, Push]]:
        pushes = super().turn()
        return [*pushes, *pushes[-1:]]


class Hasty(Live):
    """Says that its results are newer than they are, and shows the first two rows in the other order."""

    def turn(self) -> list[tuple[bytes, Push]]:
        pushes = super().turn()
        for _, push in pushes:
            if isinstance(push, Snapshot) and len(push.rows) > 2 and push.seq > 100:
                push.rows[:2] = push.rows[1::-1]
        return pushes


class Mute(Live):
    """Loses one diff on its way."""

    lost = False

    def turn(self) -> list[tuple[bytes, Push]]:
        pushes = super().turn()
        for at, (_, push) in enumerate(pushes):
            if isinstance(push, Diff) and not self.lost:
                self.lost = True
                return pushes[:at] + pushes[at + 1 :]
        return pushes


@pytest.mark.parametrize("faulty", [Deaf, Twice, Hasty, Mute])
def test_an_engine_with_a_fault_is_found_out(tmp_path: Path, faulty: type[Live]) -> None:
    reports = []
    for number in range(6):
        (folder := tmp_path / str(number)).mkdir()
        try:
            Episode(7, number, folder, faulty).play(300)
        except Finding as finding:
            reports.append(str(finding))

    # One lost change may be one that no query shows.
    assert len(reports) >= 4
    assert all("replay: python -m tests.fuzz live --seed 7 --episode " in report for report in reports)


@pytest.mark.parametrize("text", ALL)
def test_every_statement_of_the_fuzz_is_allowed(tmp_path: Path, text: str) -> None:
    world = World(tmp_path, RingLimits(), QueryLimits())
    params = {name: value for name, value in {"x": "o1", "i": 1, "t": "a"}.items() if f":{name}" in text}
    try:
        plan = Statement(1, text, params).plan(world.reader)
        assert world.reader.run(plan).rows is not None
    finally:
        world.close()


def test_a_limit_of_no_rows_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, RingLimits(), QueryLimits())
    try:
        with pytest.raises(InvalidRequest) as caught:
            world.reader.plan(Query(source="things", limit=0), None)
    finally:
        world.close()

    assert caught.value.code == "query_bad_value"
