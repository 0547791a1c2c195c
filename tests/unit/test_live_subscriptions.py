"""Live queries and change streams of one query actor: their limits, and a ring that cannot be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_query_world import CATALOG, World, world_in

from keepdb.clock import SystemClock
from keepdb.errors import KeepError, StorageError
from keepdb.live.streams import ChangeStreams
from keepdb.live.subscriptions import Subscriptions
from keepdb.query.limits import QueryLimits
from keepdb.storage import StateFile
from keepdb.storage.connection import rows
from messages.queries import Changes, Query, Rehydrate, SubscribeChanges

ME, YOU = b"client 1", b"client 2"
LIMITS = QueryLimits(subscriptions=5, subscriptions_per_client=3)
KEY = b"k" * 32


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as made:
        made.put("things", {"id": "a"})
        yield made


class Stage:
    """What the actor does when a subscription comes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.all = Subscriptions(CATALOG, LIMITS, SystemClock(), world.open_values)

    def live(self, client: bytes, sub: str) -> None:
        self.all.make_room(client, sub)
        self.all.live.subscribe(client, sub, self.world.reader.plan(Query(source="things"), None), 1)

    def stream(self, client: bytes, sub: str) -> None:
        self.all.make_room(client, sub)
        self.all.streams.subscribe(client, SubscribeChanges(sub=sub), self.world.state)

    def refused(self, client: bytes, sub: str) -> str:
        codes = set()
        for subscribe in (self.live, self.stream):
            with pytest.raises(KeepError) as caught:
                subscribe(client, sub)
            codes.add(caught.value.code)
        return codes.pop() if len(codes) == 1 else f"{codes}"


def test_both_kinds_count_together_per_client_and_in_all(world: World) -> None:
    """Verifies: L8."""
    stage = Stage(world)
    stage.live(ME, "1")
    stage.stream(ME, "2")
    stage.stream(ME, "3")
    assert stage.refused(ME, "4") == "live_too_many_subscriptions"

    stage.live(YOU, "1")
    stage.stream(YOU, "2")
    assert stage.refused(YOU, "3") == "live_too_many_subscriptions"
    assert (len(stage.all), stage.all.count(ME), stage.all.count(YOU)) == (5, 3, 2)

    stage.all.drop_client(ME)
    stage.live(YOU, "3")
    assert stage.all.count(YOU) == 3


def test_the_same_name_renews_whichever_kind_it_was(world: World) -> None:
    stage = Stage(world)
    for name in ("1", "2", "3"):
        stage.live(ME, name)
    stage.live(ME, "1")
    stage.stream(ME, "2")
    assert (stage.all.live.subscribers, len(stage.all.streams)) == (2, 1)


def test_a_name_has_a_limit_of_length(world: World) -> None:
    """Verifies: L8."""
    stage = Stage(world)
    stage.live(ME, "n" * 64)
    assert stage.refused(ME, "n" * 65) == "query_bad_value"


def test_a_ring_that_cannot_be_read_makes_its_streams_read_anew(tmp_path: Path) -> None:
    """Verifies: L3, L10. Continuity is broken aloud, and the actor lives on."""
    with world_in(tmp_path) as world:
        for number in range(40):
            world.put("things", {"id": f"{number}", "t": "x" * 200})
        world.state.checkpoint("TRUNCATE")
        path, root = world.state.path, root_page(world.state)
        head = world.seq
    damage_page(path, root)
    state = StateFile.open(path, KEY, "read")
    try:
        with pytest.raises(StorageError):
            state.changes_after(1, 1 << 20)
        streams = ChangeStreams(QueryLimits())
        streams.subscribe(ME, SubscribeChanges(sub="s", after=1), state)
        pushes = [push for _, push in streams.pushes(state)]
        assert [type(push) for push in pushes] == [Rehydrate]
        assert pushes[0].seq == head if isinstance(pushes[0], Rehydrate) else False
        assert list(streams.pushes(state)) == []
    finally:
        state.close()


def test_a_ring_that_can_be_read_gives_changes(world: World) -> None:
    streams = ChangeStreams(QueryLimits())
    streams.subscribe(ME, SubscribeChanges(sub="s", after=0), world.state)
    assert [type(push) for _, push in streams.pushes(world.state)] == [Changes]


def root_page(state: StateFile) -> tuple[int, int]:
    """Number of the ring's first page, and the size of pages."""
    ((number,),) = rows(state.connection, "SELECT rootpage FROM sqlite_master WHERE name = '_changes'")
    ((size,),) = rows(state.connection, "PRAGMA page_size")
    return number, size


def damage_page(path: Path, page: tuple[int, int]) -> None:
    number, size = page
    with path.open("r+b") as file:
        file.seek((number - 1) * size)
        file.write(bytes(size))
