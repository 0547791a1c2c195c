"""A disk whose sync takes 4 ms, by a preloaded fdatasync/fsync that sleeps first.

Targets for durable commits are stated for such a disk; on a faster one the processor is the limit, and on a
slower one the disk. Linux only, needs a C compiler.
"""

import shutil
import subprocess
from pathlib import Path

SYNC_MS = 4
SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static void wait_for_the_disk(void) {
  struct timespec pause = {0, %d000000L};
  nanosleep(&pause, 0);
}
int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  wait_for_the_disk();
  return real(fd);
}
int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  wait_for_the_disk();
  return real(fd);
}
"""


def build(folder: Path) -> dict[str, str] | None:
    """Environment variables that put the shim under a process; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source, library = folder / "slowdisk.c", folder / "slowdisk.so"
    source.write_text(SOURCE % SYNC_MS)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}
