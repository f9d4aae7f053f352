"""How much of this machine labs may take together.

Processors: those that this process may run on, or its control group's share of them. Memory:
the machine's, or its control group's limit, less a tenth for everybody else. HARNESS_CPUS and
HARNESS_MEMORY say otherwise.

Neighbours: ``claims`` keeps the labs within it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from harness.errors import InputError
from harness.plan.model import Needs
from harness.topology.model import parse_size

CPUS, MEMORY = "HARNESS_CPUS", "HARNESS_MEMORY"
"""Variables of the environment that say what labs may take."""

_OF_MEMORY = 0.9


def capacity() -> Needs:
    """What labs may take together. InputError where a variable says nothing sensible."""
    return Needs(_cpus(), _memory())


def _cpus() -> float:
    if given := os.environ.get(CPUS):
        try:
            count = float(given)
        except ValueError:
            count = 0.0
        if not 0 < count < float("inf"):
            raise InputError(f"{CPUS}={given}: wanted a number of processors", hint=f"{CPUS}=2")
        return count
    count = float(len(os.sched_getaffinity(0)))
    for directory in _cgroups("cpu"):
        with contextlib.suppress(OSError, ValueError):  # no such limit here: "max"
            quota, period = (directory / "cpu.max").read_text(encoding="utf-8").split()
            count = min(count, int(quota) / int(period))
    return count


def _memory() -> int:
    if given := os.environ.get(MEMORY):
        try:
            size = parse_size(given)
        except ValueError:
            size = 0
        if not isinstance(size, int) or size <= 0:
            raise InputError(f"{MEMORY}={given}: wanted a size", hint=f"{MEMORY}=8G")
        return size
    found = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"))
    size = int(found[1]) << 10 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    for directory in _cgroups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):  # of version 2 and 1
            with contextlib.suppress(OSError, ValueError):
                size = min(size, int((directory / name).read_text(encoding="utf-8")))
    return int(size * _OF_MEMORY)


def _cgroups(controller: str) -> Iterator[Path]:
    """The control groups of this process that may limit it, each with all above it."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup", controller if controllers else "")
        # In a container the path may be one that is seen from outside only; its root is not.
        inside = Path(path.lstrip("/"))
        yield from (root / part for part in (inside, *inside.parents))
