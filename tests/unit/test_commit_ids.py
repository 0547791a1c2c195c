"""Made-up ids are UUIDs of version 7 (RFC 9562), in the order of their making."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from keepdb.commit.ids import uuid7


@given(now_ms=st.integers(0, 2**48 - 1), random=st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid_of_version_7_that_begins_with_its_time(now_ms: int, random: bytes) -> None:
    made = uuid.UUID(text := uuid7(now_ms, lambda size: random[:size]))

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms
    assert str(made) == text


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, unique=True))
def test_ids_sort_by_the_time_of_their_making(times: list[int]) -> None:
    ids = [uuid7(at, lambda size: b"\xff" * size) for at in sorted(times)]

    assert ids == sorted(ids)
