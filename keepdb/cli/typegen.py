"""`keepdb typegen`: TypeScript types of a schema, or of the wire. Needs no database and changes none."""

from pathlib import Path

import click

from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK, usage
from keepdb.errors import KeepError
from keepdb.files import replace_durably
from keepdb.places import SCHEMA_FILE

EXAMPLES = (
    "keepdb typegen --schema schema.yaml -o src/schema.ts",
    "keepdb typegen --schema schema.yaml -o src/schema.ts --check",
    "keepdb typegen --wire",
)
#: A source file is for everybody whom the umask lets.
_SOURCE_MODE = 0o666


@click.command(cls=Command, examples=EXAMPLES)
@click.option("--schema", "schema_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Default: schema.yaml of the data directory, else the one KeepDB comes with.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write to FILE, whole or not at all. Default: standard output.")  # fmt: skip
@click.option("--wire", is_flag=True, help="The messages of the protocol instead, for authors of clients.")
@click.option("--check", is_flag=True, help="Write nothing; end with 1 if FILE is not what would be written.")
@with_session
def typegen(session: Session, schema_file: Path | None, output: Path | None, wire: bool, check: bool) -> int:
    """Write TypeScript types: rows, events and methods of a schema."""
    if wire and schema_file is not None:
        raise usage("--wire does not depend on a schema.", "Leave out --schema or --wire.")
    if check and output is None:
        raise usage("--check compares with a file, but there is none to compare with.", "Add -o FILE.")
    text = _wire() if wire else _of_schema(schema_file, session.data)
    if output is None:
        _show(session, text)
        return OK
    # Read as text: a checkout with CRLF is no difference.
    changed = not output.exists() or output.read_text(encoding="utf-8") != text
    if changed and check:
        raise _outdated(output, schema_file, wire)
    if changed:
        replace_durably(output, text.encode(), _SOURCE_MODE)
    _tell(session, output, changed, check)
    return OK


def _wire() -> str:
    from keepdb.typegen import wire_types

    return wire_types()


def _of_schema(file: Path | None, data: Path) -> str:
    """Raises SchemaError."""
    from keepdb.schema.load import SHIPPED, load_schema
    from keepdb.typegen import schema_types

    own = data / SCHEMA_FILE
    return schema_types(load_schema(file or (own if own.exists() else SHIPPED)))


def _show(session: Session, text: str) -> None:
    if session.console.json:
        session.console.data({"schema": 1, "path": None, "text": text})
    else:
        session.console.line(text.removesuffix("\n"))


def _tell(session: Session, output: Path, changed: bool, check: bool) -> None:
    if session.console.json:
        session.console.data({"schema": 1, "path": str(output), "changed": changed})
    elif not check:
        session.console.say(f"{output}: {'written' if changed else 'unchanged'}.")


def _outdated(output: Path, schema_file: Path | None, wire: bool) -> KeepError:
    what = " --wire" if wire else f" --schema {schema_file}" if schema_file else ""
    state = "differs from what would be written" if output.exists() else "does not exist"
    return KeepError("types_outdated", f"{output} {state}.", fix=f"Run `keepdb typegen{what} -o {output}`.")
