"""What a lab takes of this machine: the processors and memory of all its QEMUs together.

Pure. Neighbours: ``make`` puts it into the plan, ``harness.lab.claims`` keeps the sum of all
labs within the machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.plan.model import GuestPlan, Needs
from harness.topology.model import HostKind, Topology

_QEMU_ITSELF = 128 << 20
"""What a QEMU takes besides its machine's RAM: TCG's translations most of all."""

_GUEST_CPU = 0.5
"""A guest's processor is busy while it boots and migrates, and waits for packets else; that of
an emulated host is busy all the time, with the emulation of its guest's."""


def needs_of(topology: Topology, guests: Mapping[str, GuestPlan]) -> Needs:
    """The most that can be in use at one time.

    A guest in a namespace has two QEMUs while it migrates, each with its memory, but only one
    of them runs. A guest of a host VM is inside that host's memory and processors; what runs
    on ssh hosts is not here.
    """
    cpus, memory = 0.0, 0
    for host in topology.hosts.values():
        if host.kind is HostKind.VM:
            cpus += host.cpus
            memory += host.memory + _QEMU_ITSELF
    for name, guest in topology.guests.items():
        places = sum(
            topology.hosts[host].kind is HostKind.NETNS and not placement.obstacle
            for host, placement in guests[name].placements.items()
        )
        if places:
            cpus += _GUEST_CPU * guest.cpus
            memory += min(places, 2) * (guest.memory + _QEMU_ITSELF)
    return Needs(cpus, memory)
