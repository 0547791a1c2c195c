"""What the command line makes of values, numbers, tables and colours; no process, no database."""

from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from keepdb.cli.program import COMMANDS, load_command, program
from keepdb.cli.terminal.asking import read_aggregate
from keepdb.cli.terminal.colour import Choice, wants_colour
from keepdb.cli.terminal.figures import rfc3339, size, span
from keepdb.cli.terminal.options import Command, CommandGroup
from keepdb.cli.terminal.status import exit_status, usage
from keepdb.cli.terminal.table import cell, columns, cut, render
from keepdb.cli.terminal.values import read_object, read_pairs, read_params, read_settings
from keepdb.errors import ConfigError, KeepError, Unavailable

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("choice", "environment", "is_terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colours_follow_option_then_environment_then_terminal(
    choice: Choice, environment: dict[str, str], is_terminal: bool, expected: bool
) -> None:
    assert choice in get_args(Choice)
    assert wants_colour(choice, environment, is_terminal) is expected


def test_a_time_is_rfc_3339_in_utc_with_three_decimals() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_795_388_115_679) == "2026-11-22T22:55:15.679Z"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (150 * 1024, "150 KiB"), (3 << 30, "3.0 GiB")],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (12, "12 ms"), (1_500, "1.5 s"), (61_000, "1 min 1 s"), (3_600_000, "1 h 0 min"),
        (86_400_000 * 3 + 3_600_000, "3 d 1 h"),
    ],
)  # fmt: skip
def test_spans_have_their_two_largest_units(ms: int, text: str) -> None:
    assert span(ms) == text


def test_a_table_fits_the_width_and_numbers_stand_right() -> None:
    lines = render(("name", "n"), [("a" * 50, 5), ("b", 1000)], 30)

    assert all(columns(line) <= 30 for line in lines)
    assert lines[1].endswith("…     5")
    assert lines[2].endswith("1000")


def test_a_table_in_a_pipe_is_never_cut() -> None:
    assert render(("name",), [("a" * 500,)], None)[1] == "a" * 500


def test_control_characters_of_data_never_reach_the_terminal() -> None:
    assert "\x1b" not in cell("\x1b[31mred")
    assert "\u202e" not in cell("abc\u202edef")
    assert cell("two\nlines") == "two lines"


def test_wide_characters_count_twice() -> None:
    assert columns("日本") == 4
    assert cut("日本語", 5) == "日本…"


def test_pairs_take_json_as_json_and_the_rest_as_text() -> None:
    found = read_pairs(["a=1", "b=true", "c=Ada", 'd="1"', "e=", "f=x=y", "g=[1,2]", "h=null"])

    assert found == {"a": 1, "b": True, "c": "Ada", "d": "1", "e": "", "f": "x=y", "g": [1, 2], "h": None}


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a=1", "a=2"]])
def test_a_wrong_pair_is_a_usage_error(pairs: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pairs(pairs)
    assert exit_status(caught.value) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '"x"', "[" * 100_000, "\udcff"])
def test_what_is_no_json_object_is_a_usage_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_object(text, "--where")
    assert exit_status(caught.value) == 2
    assert caught.value.message.startswith("--where is ")


@pytest.mark.parametrize(
    ("given", "expected"),
    [((), []), (("1", "x"), [1, "x"]), (("a=1", "b=x"), {"a": 1, "b": "x"}), (('"a=b"',), ["a=b"])],
)
def test_parameters_are_named_or_positional(given: tuple[str, ...], expected: Any) -> None:
    assert read_params(given) == expected


def test_parameters_of_both_kinds_are_refused() -> None:
    with pytest.raises(ConfigError):
        read_params(("1", "a=2"))


@pytest.mark.parametrize("text", ["workers=1", "query.workers", ".x=1", "=1", ""])
def test_a_setting_without_section_and_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_settings((text,))


def test_aggregates_are_read() -> None:
    assert read_aggregate("n=count(*)") == ("n", {"count": "*"})
    assert read_aggregate("most=max(importance)") == ("most", {"max": "importance"})
    with pytest.raises(ConfigError):
        read_aggregate("count(*)")


def test_exit_statuses_tell_the_kinds_of_failure_apart() -> None:
    def of(code: str) -> int:
        return exit_status(KeepError(code, "", fix=""))

    assert of("validation_failed") == 1
    assert exit_status(usage("", "")) == 2
    assert exit_status(Unavailable("not_running", "", fix="")) == 3
    assert of("query_unknown_collection") == 4
    assert exit_status(Unavailable("timeout", "", fix="")) == 69
    assert of("config_invalid") == of("schema_unknown_key") == 78


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_documented_and_its_help_begins_with_examples(name: str) -> None:
    command = load_command(name)
    assert isinstance(command, Command | CommandGroup)
    assert command.examples
    assert f"### {name}\n" in DOCS.read_text()

    help_text = CliRunner().invoke(program, [name, "--help"]).output

    assert help_text.startswith("Examples:\n")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_is_documented(name: str) -> None:
    """Options that `query` and `watch` share, and those of every command, stand once."""
    command = load_command(name)
    assert command is not None
    text = DOCS.read_text()

    for parameter in command.params:
        for option in parameter.opts:
            assert not option.startswith("-") or option in text, f"{name} {option}"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("config",)])
def test_every_command_has_json_and_colour_options(name: str) -> None:
    command = load_command(name)
    assert command is not None
    names = {option for parameter in command.params for option in parameter.opts}

    assert {"--json", "--color", "--data"} <= names


def test_the_list_of_commands_and_the_modules_agree() -> None:
    assert all(load_command(name) is not None for name in COMMANDS)
    assert load_command("nothing") is None
