"""The command `keepdb`: parses, loads configuration, and runs the tree.

`python supervisor.py …`, `python -m supervisor …` and `keepdb …` are the same. Imports stand inside `main`,
because every child process imports this module as its own main again.
"""


def main() -> None:
    """Entry point of the command line; ends the process with the status documented in docs/cli.md."""
    import sys

    # `host` is what an app spawns: no command-line parser, so that it is up 60 ms sooner.
    if sys.argv[1:2] == ["host"]:
        from actors.registry import REGISTRY
        from keepdb.runtime.hosted import run_hosted

        sys.exit(run_hosted(REGISTRY, sys.argv[2:]))
    from keepdb.cli import run_cli

    run_cli()


if __name__ == "__main__":
    from multiprocessing import freeze_support

    freeze_support()
    main()
