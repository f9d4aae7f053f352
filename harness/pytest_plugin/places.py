"""Names and places that no other test, worker or session has, and words for errors.

Neighbours: ``cases`` and ``lab`` use these.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import EXIT_CANNOT_TELL, EXIT_INPUT, EXIT_LAB, HarnessError
from harness.lab.control import lab_name
from harness.record import RunDir
from harness.topology.model import HostKind, Topology

_BLAME = {
    EXIT_INPUT: "THE INPUT IS WRONG",
    EXIT_LAB: "LAB BROKE",
    EXIT_CANNOT_TELL: "CANNOT TELL",
}


def marks_for(topology: Topology) -> tuple[pytest.MarkDecorator, ...]:
    """``nested`` where there are hosts to boot, else ``lab``."""
    booted = any(host.kind is HostKind.VM for host in topology.hosts.values())
    return (pytest.mark.nested if booted else pytest.mark.lab,)


def name_for(title: str) -> str:
    """A lab's name: what it is for, the xdist worker and the process."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "pytest")
    return lab_name(title, f"{worker}-{os.getpid()}")


def run_dir_for(config: pytest.Config, title: str, temporary: Callable[[str], Path]) -> RunDir:
    """A new run directory below ``--lab-dir``, or in a new ``temporary`` directory."""
    title = re.sub("[^A-Za-z0-9._-]+", "-", title)
    below: Path | None = config.getoption("lab_dir")
    if below is None:
        return RunDir.create(temporary(title) / "run")
    number = 0
    while (path := below / f"{name_for(title)}-{number}").exists():
        number += 1
    return RunDir.create(path)


def told(error: HarnessError, run_dir: RunDir | None) -> str:
    """An error for a reader of pytest's report: whose fault, with its exit code, and where."""
    text = f"{_BLAME.get(error.exit_code, 'STOPPED')} ({error.exit_code}): {error}"
    return text + (f"\nrun directory: {run_dir.path}" if run_dir else "")
