"""The options every command has, and a command class whose help begins with examples."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keepdb.cli.terminal.console import Console

if TYPE_CHECKING:
    from keepdb.runtime.start import Registry


class Session:
    """What a command is given. data: the data directory, absolute. registry: loads the actors there are."""

    def __init__(self, data: Path, console: Console, registry: "Callable[[], Registry]") -> None:
        self.data = data
        self.console = console
        self.registry = registry


class Command(click.Command):
    """A command; examples: lines of shell, shown before anything else in its help."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


class CommandGroup(click.Group):
    """A command with sub-commands, otherwise like Command."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


def write_examples(formatter: click.HelpFormatter, examples: tuple[str, ...]) -> None:
    """As they are, never wrapped: people copy them."""
    formatter.write("Examples:\n")
    for line in examples:
        formatter.write(f"  {line}\n")
    formatter.write("\n")


def default_data() -> Path:
    """Where a user's data lives by the platform's convention, if neither --data nor KEEPDB_DATA says else."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "keepdb"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "keepdb"
    # The XDG base directory specification: relative paths in these variables are invalid.
    found = os.environ.get("XDG_DATA_HOME", "")
    return (Path(found) if os.path.isabs(found) else home / ".local" / "share") / "keepdb"


def with_session(function: Callable[..., int]) -> Callable[..., int]:
    """Add --data, --json and --color; the command gets a `session`."""

    @click.option(
        "--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="Data directory. Default: KEEPDB_DATA, or keepdb in the user's data folder.",
    )  # fmt: skip
    @with_output
    @functools.wraps(function)
    def wrapped(*, data: Path | None, console: Console, **options: Any) -> int:
        context = click.get_current_context()
        # `keepdb backup --data X list` means X as well.
        given = data or (context.parent.params.get("data") if context.parent is not None else None)
        place = given or Path(os.environ.get("KEEPDB_DATA") or default_data())
        return function(session=Session(place.absolute(), console, context.obj), **options)

    return wrapped


def with_output(function: Callable[..., int]) -> Callable[..., int]:
    """Add --json and --color; the command gets `console`."""

    @click.option("--json", "as_json", is_flag=True, help="Print data as JSON, one object or one per line.")
    @click.option(
        "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
        help="Colours; NO_COLOR and FORCE_COLOR are respected.",
    )  # fmt: skip
    @functools.wraps(function)
    def wrapped(*, as_json: bool, color: Any, **options: Any) -> int:
        context = click.get_current_context()
        outer = context.parent is not None and context.parent.params.get("as_json", False)
        return function(console=Console(as_json or outer, color), **options)

    return wrapped


def with_settings(function: Callable[..., int]) -> Callable[..., int]:
    """Add --config and --set; the command gets `config_files` and `settings`."""

    @click.option(
        "--config", "config_files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
        help="Configuration over the defaults and DIR/config.yaml; may be repeated.",
    )  # fmt: skip
    @click.option(
        "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE",
        help="One setting over all files; may be repeated.",
    )  # fmt: skip
    @functools.wraps(function)
    def wrapped(*, config_files: tuple[Path, ...], assignments: tuple[str, ...], **options: Any) -> int:
        from keepdb.cli.terminal.values import read_settings

        settings = read_settings(assignments)
        return function(config_files=config_files, settings=settings, **options)

    return wrapped
