"""What a guest's QEMU has: asked at the start and at the end, so that a leak can be told.

Neighbours: ``verbs`` asks; ``harness.verdict.health`` compares.
"""

from __future__ import annotations

import re

from harness.errors import VmError
from harness.lab import LabGuest
from harness.observe import Inventory
from harness.observe.record import now_ns
from harness.vm import Vm

_NETDEV = re.compile(r"^\s*(?:\\\s*)?([\w.-]+): index=", re.MULTILINE)


def inventory(guest: LabGuest, moment: str) -> Inventory:
    """The devices, netdevs and number of objects that the guest's QEMU has now."""
    vm = guest.current.vm
    begin = now_ns()
    answer = vm.execute("qom-list", {"path": "/machine/peripheral"})
    if not isinstance(answer, list):
        raise VmError(f"{vm.title}: qom-list answered {answer!r}")
    devices = sorted(str(one["name"]) for one in answer if one["type"].startswith("child<"))
    netdevs = sorted(_NETDEV.findall(_monitor(vm, "info network")))
    objects = len(_monitor(vm, "info qom-tree").splitlines())
    end = now_ns()
    return Inventory(
        t_ns=(begin + end) // 2,
        err_ns=(end - begin + 1) // 2,
        guest=guest.name,
        moment=moment,
        devices=tuple(devices),
        netdevs=tuple(netdevs),
        objects=objects,
    )


def _monitor(vm: Vm, line: str) -> str:
    """What the human monitor prints: QMP has no such question."""
    return str(vm.execute("human-monitor-command", {"command-line": line}))
