"""What becomes of acknowledged events when the disk refuses to sync: rule W6, with a preloaded fdatasync that
fails while a file says so.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from keepdb.client import Database, KeepError, Receipt, Sidecar

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs LD_PRELOAD and a C compiler"
)

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>
int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  if (access("%s", F_OK) == 0) { errno = EIO; return -1; }
  return real(fd);
}
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """While this file exists, no sync succeeds."""
    return tmp_path / "broken"


@pytest.fixture
def shim(tmp_path: Path, broken: Path) -> dict[str, str]:
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM % broken)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def writer_pid(sidecar: Sidecar) -> int:
    with sidecar.connect() as db:
        return next(actor.pid for actor in db.status().actors if actor.name == "writer")


def commit_until_taken(db: Database, name: str) -> Receipt:
    """As an app does: a refusal that says retryable is tried again."""
    give_up = time.monotonic() + 20
    while True:
        try:
            return db.commit("personas.created", {"name": name}, timeout=10)
        except KeepError as error:
            if not error.retryable or time.monotonic() > give_up:
                raise


def test_a_failed_sync_is_not_acknowledged_and_commits_work_again_by_themselves(
    tmp_path: Path, shim: dict[str, str], broken: Path
) -> None:
    """Verifies: L1, L6. The writer is not killed for it, reads go on, nothing is doubled by the retry."""
    with (
        Sidecar.start(tmp_path / "data", passphrase="secret", environment=shim) as sidecar,
        sidecar.connect() as db,
    ):
        first = db.commit("personas.created", {"name": "Ada"})
        pid = writer_pid(sidecar)
        broken.touch()
        with pytest.raises(KeepError) as refused:
            db.commit("personas.created", {"name": "Bob"}, timeout=2)
        assert refused.value.retryable
        assert [row["name"] for row in db.query({"from": "personas"}).dicts()][:1] == ["Ada"]
        broken.unlink()
        later = commit_until_taken(db, "Cleo")
        assert later.seq_first > first.seq_last
        assert writer_pid(sidecar) == pid
        names = [row["name"] for row in db.query({"from": "personas"}).dicts()]
        assert names.count("Ada") == names.count("Cleo") == 1
        assert names.count("Bob") <= 1


def test_a_writer_that_died_after_a_failed_sync_leaves_its_successor_a_new_generation(
    tmp_path: Path, shim: dict[str, str], broken: Path
) -> None:
    """Verifies: L1. Pages that a failed sync left marked clean are written to a new file before it is trusted."""
    data = tmp_path / "data"
    with Sidecar.start(data, passphrase="secret", environment=shim) as sidecar, sidecar.connect() as db:
        receipt = db.commit("personas.created", {"name": "Ada"})
        assert db.writer_status().generation == 1
        broken.touch()
        with pytest.raises(KeepError):
            db.commit("personas.created", {"name": "Bob"}, timeout=1)
        psutil.Process(writer_pid(sidecar)).kill()
        broken.unlink()
        commit_until_taken(db, "Cleo")
        assert db.writer_status().generation == 2
        assert db.get("personas", receipt.ids[0]) is not None
        assert not (data / "events.0001.db").exists()
