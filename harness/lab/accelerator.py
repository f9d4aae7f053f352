"""Which accelerator a machine really has: believed only after a tiny guest has run on it.

``/dev/kvm`` can exist and not work (QEMU aborts on an MSR, or reports an emulation error and
stops for ever), so its presence proves nothing. The tiny guest (``images/accelerator``)
enters long mode, writes and reads MSRs, takes an interrupt and touches memory, then ends
QEMU with a status that nothing else gives.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from harness.errors import LabError
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine

_PASSED = 33
"""isa-debug-exit ends QEMU with (value << 1) | 1; the tiny guest writes 0x10."""

_LIMIT_S = 20.0
"""Under TCG it takes 0.15 s, with KVM inside an emulated host 2 s on a busy machine."""

_GIVEN_UP = ("KVM internal error", "failed to initialize", "Could not access KVM")


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying an accelerator. ``evidence`` is one line for the record."""

    accelerator: Literal["kvm", "tcg"]
    works: bool
    evidence: str


def try_accelerator(
    machine: Machine, qemu: Sequence[str], tiny: str, accelerator: Literal["kvm", "tcg"]
) -> Trial:
    """Boot the tiny guest at path ``tiny`` on ``machine`` with QEMU ``qemu`` (words)."""
    if accelerator == "kvm" and not machine.exists("/dev/kvm"):
        return Trial("kvm", False, "there is no /dev/kvm")
    log = f"{machine.scratch}/trial-{accelerator}.log"
    argv = [
        *qemu, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
        "-accel", accelerator, "-m", "64M", "-no-reboot", "-kernel", tiny,
        "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
    ]  # fmt: skip
    process = machine.spawn(argv, log=log)
    deadline = Deadline(_LIMIT_S)
    pause = threading.Event()
    try:
        while process.running and not deadline.expired:
            # A QEMU whose accelerator gave up stays, stopped, for ever: its log says so.
            text = machine.read_text(log)
            for sign in _GIVEN_UP:
                if sign in text:
                    line = next(line for line in text.splitlines() if sign in line)
                    return Trial(accelerator, False, f"tiny guest: QEMU said: {line.strip()}")
            pause.wait(0.05)
        if process.running:
            return Trial(accelerator, False, f"tiny guest: no end within {_LIMIT_S:g} s")
        status = process.wait(Deadline(5))
    finally:
        if process.running:
            process.signal(9)
            process.wait(Deadline(10))
    if status == _PASSED:
        return Trial(accelerator, True, "a tiny 64-bit guest ran to its end")
    last = (machine.read_text(log).strip().splitlines() or ["no output"])[-1]
    return Trial(accelerator, False, f"tiny guest: QEMU ended with status {status}: {last}")


def remembered(
    memory: Path, about: str, find_out: Callable[[], tuple[Trial, ...]]
) -> tuple[Trial, ...]:
    """What ``find_out`` found, asked once per boot of this machine.

    A ``/dev/kvm`` that does not work takes seconds to say so. The memory is bound to the boot,
    to the device node and to ``about`` (digests of QEMU and of the tiny guest): a module that
    was reloaded, or another QEMU, is tried anew. A damaged file counts as none.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        node = os.stat("/dev/kvm")
        device = f"{node.st_ino} {node.st_ctime_ns} {node.st_mode}"
    except FileNotFoundError:
        device = "none"
    here = hashlib.sha256(f"{boot}/{device}".encode()).hexdigest()[:16]
    path = memory / f"{here}-{hashlib.sha256(about.encode()).hexdigest()[:16]}.json"
    try:
        known = tuple(Trial(**one) for one in json.loads(path.read_text(encoding="utf-8")))
        if known and known[-1].works:
            return known
    except (OSError, ValueError, TypeError):
        known = ()
    found = find_out()
    memory.mkdir(parents=True, exist_ok=True)
    for old in memory.glob("*.json"):
        if not old.name.startswith(here):  # of an earlier boot, or another device
            old.unlink(missing_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps([asdict(one) for one in found]), encoding="utf-8")
    os.replace(unfinished, path)
    return found


def choose(machine: Machine, qemu: Sequence[str], tiny: str) -> tuple[Trial, ...]:
    """Try KVM, then TCG; the last trial is the one that works. LabError when none does."""
    trials = []
    for accelerator in ("kvm", "tcg"):
        trial = try_accelerator(machine, qemu, tiny, accelerator)
        trials.append(trial)
        if trial.works:
            return tuple(trials)
    raise LabError(
        f"{machine.name}: no accelerator runs a guest",
        evidence=[f"{t.accelerator}: {t.evidence}" for t in trials],
    )
