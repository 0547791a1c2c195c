"""Run the measurements: all, or those named on the command line (transport, startup, commits, reads, live, node)."""

import argparse
import tempfile
from pathlib import Path

from benchmarks import commits, live, node, reads, startup, transport
from benchmarks.figures import Figures

GROUPS = {
    "transport": transport.measure,
    "startup": startup.measure,
    "commits": commits.measure,
    "reads": reads.measure,
    "live": live.measure,
    "node": node.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="default: all")
    parser.add_argument(
        "--folder", type=Path, help="where the databases are made; default: the temporary folder"
    )
    chosen = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="keepdb-bench-") as folder:
        for name in chosen.groups or GROUPS:
            print(f"{name} …", flush=True)
            GROUPS[name](figures, Path(folder))
    print("\n" + figures.table())
    if not chosen.groups:
        figures.write()


if __name__ == "__main__":
    main()
