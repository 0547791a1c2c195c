"""`keepdb config show`: every setting in force, and which file or option it comes from."""

from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from keepdb.cli.terminal.options import Command, CommandGroup, Session, with_session, with_settings
from keepdb.cli.terminal.status import OK
from keepdb.config import Config, load_config

EXAMPLES = ("keepdb config show",)
SHOW_EXAMPLES = (
    "keepdb config show",
    "keepdb config show --set query.workers=4",
    "keepdb config show --json | jq .settings.writer",
)


@click.group(cls=CommandGroup, examples=EXAMPLES)
def config() -> None:
    """Show the configuration."""


@config.command(cls=Command, examples=SHOW_EXAMPLES)
@with_settings
@with_session
def show(session: Session, config_files: tuple[Path, ...], settings: dict[str, str]) -> int:
    """Show every setting a start would use, and where it comes from.

    An option beats --config files, they beat DIR/config.yaml, and that beats the shipped defaults.
    """
    user_file = session.data / "config.yaml"
    files = (*([user_file] if user_file.exists() else []), *config_files)
    found = load_config(files, settings)
    rows = origins(found, files, settings)
    if session.console.json:
        session.console.data(
            {
                "schema": 1,
                "settings": msgspec.to_builtins(found),
                "origins": {name: origin for name, _, origin in rows},
            }
        )
        return OK
    session.console.table(
        ("SETTING", "VALUE", "FROM"), [(name, _text(value), origin) for name, value, origin in rows]
    )
    return OK


def origins(found: Config, files: tuple[Path, ...], settings: dict[str, str]) -> list[tuple[str, Any, str]]:
    """(section.key, value, origin) for every setting. The files have been read without error before."""
    given: dict[str, str] = {}
    for file in files:
        for section, keys in (yaml.safe_load(file.read_bytes()) or {}).items():
            given.update({f"{section}.{key}": str(file) for key in keys})
    given.update(dict.fromkeys(settings, "--set"))
    return [
        (f"{section}.{key}", value, given.get(f"{section}.{key}", "default"))
        for section, keys in msgspec.to_builtins(found).items()
        for key, value in keys.items()
    ]


def _text(value: Any) -> str:
    return '""' if value == "" else str(value)
