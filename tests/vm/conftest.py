"""A machine in a sandbox, and VMs on it whose QEMU is a script (``fake_qemu``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.images.store import Store
from harness.observe import QmpEvent
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.vm import Vm

FAKE = Path(__file__).with_name("fake_qemu.py")


@pytest.fixture
def machine() -> Iterator[NamespaceMachine]:
    with Sandbox("test") as sandbox, NamespaceMachine(sandbox, sandbox.namespace("alpha")) as made:
        yield made


@pytest.fixture
def sunk() -> list[QmpEvent]:
    """What the sink of every VM of a test got."""
    return []


@pytest.fixture
def make_vm(machine: NamespaceMachine, sunk: list[QmpEvent]) -> Callable[..., Vm]:
    """A VM, not started, whose QEMU follows ``script``."""

    def make(script: dict[str, Any] | None = None, **options: Any) -> Vm:
        qmp = f"{machine.scratch}/qmp.sock"
        argv = [sys.executable, "-I", str(FAKE), qmp, json.dumps(script or {})]
        return Vm(
            "g1", machine, argv, qmp=qmp, log=f"{machine.scratch}/qemu.log", sink=sunk.append,
            **options,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def qemu() -> tuple[str, ...]:
    """The beginning of a real QEMU's command line, from the image store."""
    return Store().toolchain("qemu").argv()
