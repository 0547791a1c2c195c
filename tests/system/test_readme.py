"""The first thing anybody tries works as it is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_quick_start_in_the_readme_runs_as_it_is_printed(tmp_path: Path) -> None:
    found = re.search(
        r"```python quickstart\n(.*?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert found
    done = subprocess.run(
        [sys.executable, "-c", found[1]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Keep this recovery code: ")
    assert "'name': 'Paint the fence'" in lines[1]
    assert lines[2] == "1 task"
    assert "Feed the cat" in lines[3]
