"""The command `keepdb` itself: finds the module of a command, and turns every end into an exit status."""

import difflib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

import keepdb
from keepdb.cli.terminal.colour import Choice
from keepdb.cli.terminal.console import Console
from keepdb.cli.terminal.options import write_examples
from keepdb.cli.terminal.status import FAILED, INTERRUPTED, USAGE, exit_status, usage
from keepdb.errors import KeepError

if TYPE_CHECKING:
    from keepdb.runtime.start import Registry

#: Kept beside the modules, so that `keepdb --help` need not import them.
COMMANDS = {
    "start": "Run the database in this terminal, or in the background.",
    "status": "Show every actor and where log and state stand.",
    "stop": "Stop the running database in order.",
    "demo": "Show on real text that nothing acknowledged is lost.",
    "commit": "Commit one event.",
    "query": "Read rows once.",
    "watch": "Follow a query, or every change, as it happens.",
    "backup": "Make a backup while writes go on, or list them.",
    "verify": "Prove that a backup can be restored.",
    "restore": "Restore a backup into a directory.",
    "rebuild": "Build the state anew from the log.",
    "doctor": "Check everything the database depends on.",
    "logs": "Show the logs of all processes in one stream.",
    "config": "Show the configuration in force.",
    "typegen": "Write TypeScript types of a schema or of the wire.",
}
EXAMPLES = (
    "keepdb demo",
    "keepdb start",
    "keepdb commit personas.created name=Ada",
    "keepdb query personas --select name",
    "keepdb status --json",
)


class Program(click.Group):
    """Imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load_command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean `keepdb {near[0]}`?" if near else "`keepdb --help` lists all commands."
            raise usage(f"There is no command {args[0]!r}.", hint)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, EXAMPLES)
        super().format_help(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def load_command(name: str) -> click.Command | None:
    """The command called `name`. Static imports: a frozen program finds no module by a computed name."""
    command: click.Command
    match name:
        case "start":
            from keepdb.cli.start import start as command
        case "status":
            from keepdb.cli.status import status as command
        case "stop":
            from keepdb.cli.stop import stop as command
        case "demo":
            from keepdb.cli.demo import demo as command
        case "commit":
            from keepdb.cli.commit import commit as command
        case "query":
            from keepdb.cli.query import query as command
        case "watch":
            from keepdb.cli.watch import watch as command
        case "backup":
            from keepdb.cli.backup import backup as command
        case "verify":
            from keepdb.cli.verify import verify as command
        case "restore":
            from keepdb.cli.restore import restore as command
        case "rebuild":
            from keepdb.cli.rebuild import rebuild as command
        case "doctor":
            from keepdb.cli.doctor import doctor as command
        case "logs":
            from keepdb.cli.logs import logs as command
        case "config":
            from keepdb.cli.config import config as command
        case "typegen":
            from keepdb.cli.typegen import typegen as command
        case _:
            return None
    return command


@click.command(
    cls=Program,
    help="KeepDB: an encrypted, event-sourced, reactive database for desktop apps. docs/cli.md has the whole story.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(keepdb.__version__, prog_name="keepdb", message="%(prog)s %(version)s")
def program() -> None:
    pass


def run(registry: "Callable[[], Registry]") -> int:
    """Carry out the command line of this process and return its exit status."""
    try:
        status = program.main(prog_name="keepdb", standalone_mode=False, obj=registry)
        sys.stdout.flush()
    except click.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _close_stdout()
        return FAILED
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return USAGE
    except click.ClickException as error:
        return _report(_from_click(error))
    except KeepError as error:
        return _report(error)
    except Exception as error:
        return _report(_unexpected(error))
    return status if isinstance(status, int) else 0


def _report(error: KeepError) -> int:
    # The command line may be the very thing that could not be parsed, so it is only searched.
    words = " ".join(sys.argv[1:]).replace("--color=", "--color ")
    colour: Choice = (
        "always" if "--color always" in words else "never" if "--color never" in words else "auto"
    )
    Console("--json" in sys.argv, colour).error(error)
    return exit_status(error)


def _from_click(error: click.ClickException) -> KeepError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "keepdb"
    message = error.format_message()
    return usage(message if message.endswith((".", "?", ")")) else f"{message}.", f"See `{path} --help`.")


def _unexpected(error: Exception) -> KeepError:
    """Anything nobody foresaw: class and place, never the text, which may quote content."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return KeepError(
            "system_error", f"{where}{error.strerror}.", fix="Check the path, its permissions and the disk."
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return KeepError(
        "unexpected",
        f"An unexpected {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} ended the command.",
        fix="This is a bug: report it with the command line; `keepdb logs` may tell more.",
    )


def _close_stdout() -> None:
    """The reader of our output has gone: without this the interpreter complains at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
