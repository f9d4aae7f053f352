"""What a saved state of a guest depends on: the key under which it is kept.

Everything that is in the stream or that QEMU compares with it counts: the QEMU, the kernel, the
initramfs, every argument of the machine (memory, devices, MAC addresses, kernel arguments), the
accelerator, and what makes the processor. What only a run knows (its scratch directory, the
PCI address of a VF) stands as a token in the arguments and does not count.

Neighbours: ``harness.images.states`` keeps states by such keys, ``seed`` makes a guest's.
"""

from __future__ import annotations

import hashlib
import shlex
from itertools import pairwise

from harness.errors import LabError
from harness.images import StateKey
from harness.lab.host import LabHost
from harness.lab.images import LabImages
from harness.lab.seed import MAKER
from harness.plan.model import Command, GuestPlan
from harness.reach.machine import Machine

_PROCESSOR = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags")
_EMULATES = ("-machine", "-accel", "-cpu", "-smp")


def guest_key(
    plan: GuestPlan, host: LabHost, images: LabImages, accelerator: str, emulated_by: str
) -> StateKey:
    """The key of the state of a guest on ``host``; ``emulated_by``: see ``emulation``."""
    placement = plan.placements[host.name]
    used = {ref.kind: images.get(ref) for ref in plan.images[host.name]}
    parts = {
        {"qemu": "QEMU", "guest": "guest image"}.get(kind, kind): f"{made.version} {made.digest}"
        for kind, made in used.items()
    }
    tokens = {ref.token: f"@{ref.kind}@" for ref in plan.images[host.name]}
    saved, loaded = placement.seed[accelerator], placement.incoming[accelerator]
    parts |= {
        "arguments": shlex.join(saved.resolved(tokens)),
        # What it is loaded with, and was not saved with: its primaries.
        "arguments of the load": shlex.join(_added(saved, loaded)),
        "accelerator": accelerator,
        # Emulated by QEMU, a processor is what QEMU and its arguments say.
        "processor": processor(host.machine) if accelerator == "kvm" else "",
        "host VM": emulated_by,
        "maker of states": MAKER,
    }
    return StateKey(plan.name, parts, tuple(made.digest for made in used.values()))


def _added(saved: Command, loaded: Command) -> list[str]:
    return [word for word in loaded.args if word not in saved.args]


def emulation(command: tuple[str, ...], qemu: str, kernel: str) -> str:
    """What a host VM's processor comes from: its QEMU (version and digest), the words of its
    command that make the processor, and its kernel."""
    words = [
        word
        for option, value in pairwise(command)
        if option in _EMULATES
        for word in (option, value)
    ]
    return " ".join([qemu, *words, kernel])


def processor(machine: Machine) -> str:
    """What a guest under KVM sees of the processor, and the kernel whose KVM shows it."""
    lines = machine.read_text("/proc/cpuinfo").partition("\n\n")[0].splitlines()
    found = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if "flags" not in found:
        raise LabError(f"{machine.name}: /proc/cpuinfo does not tell the processor's flags")
    told = "\n".join(f"{name} {found.get(name, '')}" for name in _PROCESSOR)
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return f"{found.get('model name', '?')} {digest} {machine.terms.kernel}"
