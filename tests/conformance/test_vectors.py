"""The Python client and the vectors agree, message by message and diff by diff; and no message is missing."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keepdb.client.link import _decode
from keepdb.live.diff import apply_diff, diff_rows, same_value
from keepdb.typegen.wire import ANSWERS, PUSHES, SENT
from messages import queries
from messages.base import Message, encode

from .message_cases import complete, message_lines
from .tagged import line, plain
from .vectors import DIFFS, MESSAGES, as_file

ROOT = Path(__file__).parents[2]


def read(path: Path) -> list[dict[str, Any]]:
    return [plain(case) for case in json.loads(path.read_text(encoding="utf-8"))]


CASES = read(MESSAGES)
BY_TAG = {str(message.__struct_config__.tag): message for message in SENT}


@pytest.mark.parametrize("case", [case for case in CASES if "sent" in case], ids=lambda case: case["name"])
def test_a_message_that_is_sent_has_exactly_these_bytes(case: dict[str, Any]) -> None:
    message = msgspec.convert(case["sent"], BY_TAG[case["sent"]["type"]])
    assert encode(message).hex() == case["bytes"]
    assert same_value(msgspec.msgpack.decode(bytes.fromhex(case["bytes"])), case["sent"])


@pytest.mark.parametrize(
    "case", [case for case in CASES if "received" in case], ids=lambda case: case["name"]
)
def test_bytes_that_are_received_are_this_message_with_its_defaults(case: dict[str, Any]) -> None:
    message: Message = _decode(bytes.fromhex(case["bytes"]))
    assert same_value(complete(message), case["received"])


def test_every_message_of_the_protocol_has_its_vectors() -> None:
    for kind, messages in (("sent", SENT), ("received", (*ANSWERS, *PUSHES))):
        shown = {case[kind]["type"] for case in CASES if kind in case}
        assert shown == {message.__struct_config__.tag for message in messages}


def test_every_member_of_a_message_stands_in_a_vector_and_is_left_out_in_another_if_it_may_be() -> None:
    for message in (*SENT, *ANSWERS, *PUSHES):
        tag = message.__struct_config__.tag
        raw = [msgspec.msgpack.decode(bytes.fromhex(case["bytes"])) for case in CASES]
        mine = [one for one in raw if one["type"] == tag]
        for field in msgspec.structs.fields(message):
            assert field.encode_name == "budgetMs" or any(field.encode_name in one for one in mine), (
                f"{tag}.{field.name}"
            )
            assert field.required or any(field.encode_name not in one for one in mine), f"{tag}.{field.name}"


def test_the_committed_message_vectors_are_those_of_the_cases() -> None:
    assert MESSAGES.read_text(encoding="utf-8") == as_file(message_lines()), "run `make generate`"


@pytest.mark.parametrize("case", read(DIFFS), ids=lambda case: case["name"])
def test_a_diff_applied_gives_exactly_the_rows_after_it(case: dict[str, Any]) -> None:
    """Verifies: L3. And the rows before stay as they were."""
    before = line(case["before"])
    diff = msgspec.convert({"sub": "s", "seq": 1, **case["diff"]}, queries.Diff)
    assert same_value(apply_diff(case["before"], case["key"], diff), case["after"])
    assert line(case["before"]) == before
    made = diff_rows(case["before"], case["after"], case["key"])
    assert same_value(apply_diff(case["before"], case["key"], made), case["after"])


def test_integers_and_bytes_survive_tagged_json() -> None:
    values = [
        0,
        2**53 - 1,
        2**53,
        -(2**63),
        b"",
        b"\x00\xff",
        {"a": [b"x", {"b": 2**60}]},
        True,
        None,
        1.0,
        "ä",
    ]
    assert same_value(plain(json.loads(line(values))), values)
