"""Filters and orders evaluated in Python agree with SQLite, on the row images that the ring really holds."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_query_world import CATALOG, LIMITS, SCHEMA_IN_FORCE, World, world_in

from keepdb.live.ordering import sort_key
from keepdb.query.matching import matcher
from keepdb.query.plan import CompiledQuery
from keepdb.query.where import WhereReader
from messages.queries import Query

Row = dict[str, Any]
Where = dict[str, Any]

THINGS = CATALOG.sources["things"]
IMAGE = [column.name for column in SCHEMA_IN_FORCE.columns("things")]
#: Letters that some fold to ASCII ones; NUL; what LIKE takes for its own; both ends of Unicode's second plane.
CHARACTERS = "aAbBzksKS%_\\\0 'äÄßſK\u0308\uffff\U00010000\U0001f600"
TEXTS = st.one_of(st.text(CHARACTERS, max_size=6), st.text(max_size=4).filter(lambda text: _is_whole(text)))
INTEGERS = st.one_of(
    st.integers(-2, 2), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1])
)
REALS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e300, -1e300, 5e-324, 2.0**53, 2.0**63]),
    st.floats(allow_nan=False, allow_infinity=False),
)
LISTS = st.lists(TEXTS, max_size=3)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "t": TEXTS,
    "x": TEXTS,
    "i": INTEGERS,
    "r": REALS,
    "b": st.booleans(),
    "w": INTEGERS,
    "e": st.sampled_from(["low", "mid", "top"]),
    "l": LISTS,
    "j": st.one_of(LISTS, st.booleans()),
}
ORDERED = ["t", "x", "i", "r", "b", "w", "e", "id"]
SETTINGS = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _is_whole(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows whose values come from a few, so that they tie and match."""
    few = {name: [None, *draw(st.lists(values, min_size=1, max_size=4))] for name, values in KINDS.items()}
    names = draw(st.lists(TEXTS, min_size=1, max_size=10, unique=True))
    return [
        {"id": name} | {key: draw(st.sampled_from(values)) for key, values in few.items()} for name in names
    ]


def terms(made: list[Row]) -> st.SearchStrategy[Where]:
    """A condition on one field, its operands from the rows as often as not."""

    def of(name: str) -> st.SearchStrategy[Where]:
        there = [row[name] for row in made if row[name] is not None]
        return st.one_of(conditions(name, there)).map(lambda condition: {name: condition})

    return st.sampled_from(sorted(KINDS)).flatmap(of)


def conditions(name: str, there: list[Any]) -> list[st.SearchStrategy[Where]]:
    """What one field can be asked. there: values that rows have."""
    known = [operator("isNull", st.booleans())]
    if name == "l":
        items = [item for items in there for item in items] or [""]
        return [*known, operator("contains", st.one_of(TEXTS, st.sampled_from(items)))]
    if name == "j":
        return known
    value = st.one_of(st.sampled_from(there), KINDS[name]) if there else KINDS[name]
    maybe = st.one_of(st.none(), value)
    known += [operator(op, maybe) for op in ("=", "!=")]
    known += [operator(op, st.lists(maybe, max_size=4)) for op in ("in", "notIn")]
    if name != "b":
        known += [operator(op, value) for op in ("<", "<=", ">", ">=")]
        known.append(operator("between", st.lists(value, min_size=2, max_size=2)))
    if name in ("t", "x"):
        known += [operator(op, value) for op in ("like", "contains")]
        known += [operator("like", TEXTS), operator("like", patterns(there))]
    return known


def operator(name: str, operands: st.SearchStrategy[Any]) -> st.SearchStrategy[Where]:
    return operands.map(lambda operand: {name: operand})


def patterns(there: list[str]) -> st.SearchStrategy[str]:
    """Patterns made of pieces of the texts, so that they match."""

    def cut(text: str, at: int, wild: str, end: str) -> str:
        return text[:at].swapcase() + wild + text[at + 1 :] + end

    wild = st.sampled_from(["%", "_", "%_", "\\%", "\\_", "\\\\", "%%", ""])
    return st.builds(
        cut, st.sampled_from(there or ["a"]), st.integers(0, 5), wild, st.sampled_from(["", "%", "\\"])
    )


def combine(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
    )


@st.composite
def filtered(draw: st.DrawFn) -> tuple[list[Row], list[dict[str, Any]]]:
    made = draw(rows())
    return made, draw(st.lists(st.recursive(terms(made), combine, max_leaves=5), min_size=1, max_size=6))


@st.composite
def ordered(draw: st.DrawFn) -> tuple[list[Row], tuple[str, ...]]:
    names = draw(st.lists(st.sampled_from(ORDERED), max_size=3, unique=True))
    return draw(rows()), tuple(draw(st.sampled_from(["", "-"])) + name for name in names)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("state")) as made:
        yield made


def images(world: World, given: list[Row]) -> list[tuple[Any, ...]]:
    """Write the rows, half of them as updates, and read what the ring says about them."""
    with world.batch():
        world.state.connection.execute("DELETE FROM things")
    world.put("things", *({"id": row["id"]} for row in given[::2]))
    before = world.seq
    with world.batch():
        for row in given:
            values = [_stored(name, value) for name, value in row.items()]
            columns = ", ".join(f'"{name}"' for name in row)
            changes = ", ".join(f'"{name}" = excluded."{name}"' for name in row if name != "id")
            world.state.connection.execute(
                f"INSERT INTO things ({columns}, _subject) VALUES ({', '.join('?' * len(row))}, 's') "
                f"ON CONFLICT (id) DO UPDATE SET {changes}",
                values,
            )
    batches = world.state.changes_after(before, 1 << 20)
    assert batches is not None
    # An update of a row that was empty to one that is empty changes nothing.
    found = {change.id: change.after for batch in batches for change in batch.changes}
    return [found.get(row["id"]) or _read(world, row["id"]) for row in given]


def _stored(name: str, value: Any) -> Any:
    if name in ("l", "j") and value is not None:
        return msgspec.json.encode(value).decode()
    return int(value) if name == "b" and value is not None else value


def _read(world: World, name: str) -> tuple[Any, ...]:
    ((*found,),) = world.state.connection.execute("SELECT * FROM things WHERE id = ?", (name,))
    return tuple(found)


@SETTINGS
@given(case=filtered())
def test_a_filter_holds_for_the_images_of_exactly_the_rows_sqlite_finds(
    world: World, case: tuple[list[Row], list[dict[str, Any]]]
) -> None:
    """Verifies: L3"""
    made, wheres = case
    kept = images(world, made)
    at = IMAGE.index("id")
    for where in wheres:
        holds = matcher(WhereReader(THINGS, LIMITS).read(where), IMAGE)

        found = sorted(image[at] for image in kept if holds(image))

        assert found == sorted(world.ids(where=where, select=("id",))), where


@SETTINGS
@given(case=ordered())
def test_sort_keys_of_images_order_them_as_sqlite_does(
    world: World, case: tuple[list[Row], tuple[str, ...]]
) -> None:
    made, order_by = case
    kept = images(world, made)
    plan = world.reader.plan(Query(source="things", order_by=order_by, limit=1), None)
    assert isinstance(plan, CompiledQuery)
    order = plan.shape.order
    key = sort_key(order, [IMAGE.index(term.field.name) for term in order])

    found = [image[IMAGE.index("id")] for image in sorted(kept, key=key)]

    assert found == world.ids(order_by=order_by, select=("id",))


@SETTINGS
@given(made=rows())
def test_images_are_what_the_table_holds_to_the_last_bit(world: World, made: list[Row]) -> None:
    """A client must not be sent a negative zero that a fresh read does not give."""
    for row, image in zip(made, images(world, made), strict=True):
        assert repr(image) == repr(_read(world, row["id"]))


def test_a_compiled_query_and_its_filter_agree_on_deep_and_wide_shapes(world: World) -> None:
    """256 terms, 15 levels: what the limits allow must also fit a Python function."""
    where: dict[str, Any] = {"or": [{"i": {"!=": n}} for n in range(240)]}
    for _ in range(14):
        where = {"not": where}
    (image,) = images(world, [{"id": "a", "i": 5}])
    plan = world.reader.plan(Query(source="things", where=where), None)
    assert isinstance(plan, CompiledQuery)

    assert matcher(plan.where, IMAGE)(image) == (world.ids(where=where) == ["a"])
