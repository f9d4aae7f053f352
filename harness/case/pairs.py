"""Which failover pair the path of a stream speaks of.

That of the receiver, if it is a guest and the stream's address there is that of a standby;
else that of the sender.

Neighbours: ``check`` refuses a path of a stream that can have none; ``harness.verdict``
compares with what was recorded.
"""

from __future__ import annotations

from typing import Literal

from harness.case.endpoints import Interface, first_in_one_subnet
from harness.case.model import Stream
from harness.topology.model import GuestNicModel, Topology


def pair_of(stream: Stream, topology: Topology) -> tuple[str, str] | None:
    """The guest and its standby's id; None when the stream goes through no pair, or carries
    no numbered packets."""
    if stream.tcp is not None:
        return None
    near, far = (_addresses(end, topology) for end in (stream.sender, stream.receiver))
    found = first_in_one_subnet([one for _, one in near], [one for _, one in far], stream.ip)
    if found is None:
        return None
    ends = ((stream.receiver, far[found[1]][0]), (stream.sender, near[found[0]][0]))
    for machine, nic in ends:
        guest = topology.guests.get(machine)
        if guest is not None and guest.nics[nic].failover:
            return machine, nic
    return None


PrimaryKind = Literal["tap", "function", "none"]


def primary_kind(topology: Topology, guest: str, standby: str) -> PrimaryKind:
    """What the pair's primary is to its host: a NIC behind a ``tap``, a virtual ``function``
    whose frames the host does not see, or ``none`` in the topology."""
    for nic in topology.guests[guest].nics.values():
        if nic.failover_pair_id == standby:
            return "function" if nic.model is GuestNicModel.VFIO else "tap"
    return "none"


def _addresses(machine: str, topology: Topology) -> list[tuple[str, Interface]]:
    """The addressed NICs of a guest or namespace."""
    if guest := topology.guests.get(machine):
        return [(name, address) for name, nic in guest.nics.items() for address in nic.address]
    if namespace := topology.namespaces.get(machine):
        return [(name, address) for name, nic in namespace.nics.items() for address in nic.address]
    return []
