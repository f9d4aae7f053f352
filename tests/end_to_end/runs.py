"""Real runs on the flat lab, in a network namespace that can be searched for what they left."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.places import ROOT, Place

FLAT = ROOT / "topologies" / "flat-pair.yaml"
NESTED = ROOT / "topologies" / "nested-vfio.yaml"
CASE = ROOT / "testcases" / "migrate-under-traffic.yaml"
RUN_S = 120.0


def write_case(folder: Path, **replacements: str) -> Path:
    """The first case, on the flat lab by an absolute path, with texts replaced."""
    text = CASE.read_text(encoding="utf-8").replace("../topologies", str(ROOT / "topologies"))
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "case.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def wait_for(what: str, found: Callable[[], Any], *, within: float = 60.0) -> Any:
    """What ``found`` returns as soon as it is true."""
    end, pause = time.monotonic() + within, threading.Event()
    while True:
        seen = found()
        if seen:
            return seen
        assert time.monotonic() < end, f"{what}: not within {within:g} s"
        pause.wait(0.02)


def descendants(pid: int) -> dict[int, str]:
    """Every process below ``pid`` and its command line."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    found = {}
    for child in below - {pid}:
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{child}/cmdline").read_bytes()
            found[child] = line.replace(b"\0", b" ").decode(errors="replace")
    return found


def qemus(pid: int, *, incoming: bool) -> list[int]:
    """The QEMU processes of guests below ``pid`` that wait, or do not wait, for a migration.

    Every guest's first QEMU is in a directory of number 1, whether the guest booted in it or was
    loaded; the next is for a migration.
    """
    found = {
        child: re.search(r"qemu-system-\S+ .*/\w+\.(\d+)/qmp\.sock", line)
        for child, line in descendants(pid).items()
    }
    return [child for child, match in found.items() if match and (match[1] != "1") is incoming]


@dataclass(frozen=True)
class Left:
    """What a lab could leave behind, besides processes."""

    netdevs: str
    mounts: tuple[str, ...]
    temporary: tuple[str, ...]
    labs: str


def left(here: Place) -> Left:
    """What there is, of the kinds of things that a lab makes, where ``here`` starts labs."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return Left(
        netdevs=here.run("ip", "-o", "link").stdout,
        mounts=tuple(line.split()[4] for line in mounts),
        temporary=tuple(sorted(os.listdir(here.temporary))),
        labs=here.harness("status").stdout,
    )


def must_be_gone(pids: dict[int, str], *, within: float = 20.0) -> None:
    """Wait until none of these processes exists (a pid that was given away again is another)."""

    def still() -> list[str]:
        return [line for pid, line in pids.items() if line and _line(pid) == line]

    end, pause = time.monotonic() + within, threading.Event()
    while alive := still():
        assert time.monotonic() < end, f"still there after {within:g} s: {alive}"
        pause.wait(0.05)


def _line(pid: int) -> str:
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return line.replace(b"\0", b" ").decode(errors="replace")
    return ""


@contextmanager
def running(here: Place, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A command of the harness; ended by force where a test did not come to its end."""
    child = here.start(*args)
    watchdog = threading.Timer(RUN_S, child.kill)
    watchdog.start()
    try:
        yield child
    finally:
        watchdog.cancel()
        if child.poll() is None:
            child.kill()
        child.communicate(timeout=30)


def says(path: Path, *words: str) -> Callable[[], bool]:
    """Whether a line of a growing file has all of these words."""

    def look() -> bool:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return False
        return any(all(word in line for word in words) for line in text.splitlines())

    return look


@dataclass(frozen=True)
class Passed:
    """A run that went to its end: its exit code, texts and files, and the harness's peak memory."""

    code: int
    text: str
    messages: str
    run: Path
    json: Path
    junit: Path
    peak_kib: int


# VmHWM and not ru_maxrss, which begins with that of the process that forked this one.
_MEASURED = """\
import re, sys
from pathlib import Path
from harness.cli import main
code = main(sys.argv[2:])
status = Path("/proc/self/status").read_text()
Path(sys.argv[1]).write_text(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1])
sys.exit(code)
"""


def run_first_case(here: Place) -> Passed:
    """``harness run`` on the flat lab."""
    run, peak = here.folder / "run", here.folder / "peak"
    out, junit = here.folder / "out.json", here.folder / "junit.xml"
    done = here.run(
        *(sys.executable, "-c", _MEASURED, str(peak)),
        *("run", str(CASE), "--variant", "flat", "--run-dir", str(run)),
        *("--json", str(out), "--junit", str(junit)),
        timeout=RUN_S,
    )
    kib = int(peak.read_text(encoding="utf-8")) if peak.exists() else 0
    return Passed(done.returncode, done.stdout, done.stderr, run, out, junit, kib)
