"""What building the images costs: cold, again, and two builders at once, in one run.

    python benchmarks/build_images.py

Cold: an empty cache, everything that ``make demo`` needs, downloads included. Again: the same
with nothing to do. At once: two builders of another empty cache, whose work is done once.
Memory is the largest sum of the resident sizes of all processes of a build, sampled ten times
a second (shared pages count more than once). Needs the package mirror; asserts nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = [sys.executable, "-m", "harness.cli", "images", "build"]


def resident_mib(top: int) -> float:
    """The sum of a process and all below it, as far as they are there."""
    parents, sizes = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(entry.name)], sizes[int(entry.name)] = int(fields[1]), int(fields[21])
    inside = {top}
    while more := {pid for pid, parent in parents.items() if parent in inside} - inside:
        inside |= more
    return sum(sizes.get(pid, 0) for pid in inside) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def build(cache: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        BUILD, cwd=ROOT, env={**os.environ, "HARNESS_CACHE": cache}, stderr=subprocess.DEVNULL
    )


def timed(cache: str, builders: int = 1) -> tuple[float, float]:
    """Seconds, and the largest memory in MiB."""
    began, largest, over = time.monotonic(), 0.0, threading.Event()
    children = [build(cache) for _ in range(builders)]
    while any(child.poll() is None for child in children):
        largest = max(largest, sum(resident_mib(child.pid) for child in children))
        over.wait(0.1)
    seconds = time.monotonic() - began
    if failed := [child.returncode for child in children if child.returncode]:
        raise SystemExit(f"a build ended with {failed[0]}")
    return seconds, largest


def main() -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        cold, memory = timed(one)
        print(f"cold: {cold:.1f} s, {memory:.0f} MiB")
        again = sorted(timed(one)[0] for _ in range(5))[2]
        print(
            f"again, nothing to do: {again:.2f} s (median of 5), {cold / again:.0f} times as fast"
        )
        both, memory = timed(other, 2)
        print(f"two at once: {both:.1f} s, {both / cold:.2f} of one alone, {memory:.0f} MiB")


if __name__ == "__main__":
    main()
