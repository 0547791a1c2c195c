"""Runs the measurements that are written in JavaScript, because they are about what an app in Node sees."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.figures import Figures

SCRIPTS = Path(__file__).parent / "javascript"
CLIENT = Path(__file__).parents[1] / "clients" / "node"
#: The longest script makes 20 000 live queries and some 8 000 commits.
TIMEOUT_S = 600.0


def run(
    figures: Figures, script: str, arguments: list[str], targets: Mapping[str, str], given: str = ""
) -> None:
    """Run one script and add its figures. targets: by figure name. given: its standard input."""
    if not (CLIENT / "dist").is_dir():
        raise SystemExit(f"The TypeScript client is not built: run `npm ci && npm run build` in {CLIENT}.")
    made = subprocess.run(
        ["node", str(SCRIPTS / script), *arguments],
        input=given, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    for line in made.stdout.splitlines():
        found = json.loads(line)
        figures.add(found["name"], found["value"], found["note"], targets.get(found["name"], ""))
