"""Which virtual function each guest NIC gets.

Neighbours: ``rules_guests`` checks that there are enough; ``harness.plan`` uses the same.
"""

from __future__ import annotations

import re

from harness.topology.model import GuestNicModel, Topology

FENCE_VLAN = 4094
"""Port VLAN of a VF whose filter the lab has closed (``harness.lab.handoff``); no frame of a lab
may carry it."""

_VF = re.compile(r"([a-z][a-z0-9-]*)(?:/(0|[1-9][0-9]{0,3}))?")


def parse_vf(text: str) -> tuple[str, int | None] | None:
    """Host NIC and index from ``pf`` or ``pf/1``; None for anything else."""
    match = _VF.fullmatch(text)
    return (match[1], None if match[2] is None else int(match[2])) if match else None


def vf_indices(topology: Topology) -> dict[tuple[str, str], tuple[str, int]]:
    """(guest, NIC) -> (host NIC, VF index): given ones first, then in the file's order.

    The index is the same on every host, so that guests never meet on one VF wherever they
    migrate to.
    """
    wanted: dict[tuple[str, str], tuple[str, int | None]] = {}
    for guest_name, guest in topology.guests.items():
        for nic_id, nic in guest.nics.items():
            if nic.model is GuestNicModel.VFIO and nic.vf and (vf := parse_vf(nic.vf)):
                wanted[guest_name, nic_id] = vf
    result = {key: (pf, index) for key, (pf, index) in wanted.items() if index is not None}
    used = set(result.values())
    for key, (pf, index) in wanted.items():
        if index is None:
            number = next(n for n in range(len(wanted) + 1) if (pf, n) not in used)
            result[key] = (pf, number)
            used.add((pf, number))
    return result
