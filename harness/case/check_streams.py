"""Whether the streams of a case can be sent as they are written: sizes, addresses, VLANs.

Shapes are checked before (``model``), names of machines in ``check``, which calls this.

Neighbours: ``endpoints`` has the rules that the scenario follows too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.case.endpoints import VLAN_MEMBERS, Interface, first_in_one_subnet
from harness.case.model import CaseFile, Stream
from harness.document import Document, Path
from harness.errors import Problem
from harness.topology.model import Topology
from harness.topology.vfs import FENCE_VLAN, vf_indices
from harness.traffic.stream import smallest_packet

_GUEST_MTU = 1500
"""Of a guest's NIC that is not told another."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An addressed NIC of a guest or namespace, and the largest IP packet it takes."""

    nic: str
    address: Interface
    mtu: int


def check_streams_inside(document: Document, case: CaseFile) -> Iterator[Problem]:
    """What can be said without a topology."""
    for name, stream in case.traffic.items():
        if stream.tcp is not None:
            continue
        base: Path = ("traffic", name)
        if stream.flow.ends_itself and "after" in stream.model_fields_set:
            yield document.problem(
                (*base, "after"),
                "the stream ends by itself, so it does not go on after the last step",
                "leave `after` out: the run waits for the stream's end and its waiting_time",
                key=True,
            )
        elif not stream.flow.ends_itself and stream.after < stream.waiting_time:
            yield document.problem(
                base,
                f"goes on for {stream.after:g}s after the last step, less than "
                f"its waiting_time of {stream.waiting_time:g}s",
                "the loss of the last packets could not be told: raise `after`",
                key=True,
            )
        yield from _not_too_small(document, base, stream, stream.ip or 4)


def check_streams_against(
    document: Document, case: CaseFile, topology: Topology, topology_name: str
) -> Iterator[Problem]:
    """What does not fit the topology; unknown ends, and ends without an address, are not told."""
    tagged: dict[tuple[str, int], str] = {}
    for name, stream in case.traffic.items():
        base: Path = ("traffic", name)
        near, far = _places(topology, stream.sender), _places(topology, stream.receiver)
        if not near or not far or stream.sender == stream.receiver:
            continue
        found = first_in_one_subnet(
            [place.address for place in near], [place.address for place in far], stream.ip
        )
        if found is None:
            yield _no_subnet(document, base, stream, near, far, topology_name)
            continue
        source, target = near[found[0]], far[found[1]]
        if stream.tcp is not None:
            continue
        if stream.ip is None and source.address.version == 6:
            yield from _not_too_small(document, base, stream, 6)
        yield from _not_too_large(document, base, stream, source, target)
        if stream.vlan is not None:
            yield from _tagged(document, base, stream, topology)
            yield from _once_a_machine(
                document, base, stream.vlan, tagged,
                {stream.sender: source.nic, stream.receiver: target.nic},
            )  # fmt: skip


def _no_subnet(
    document: Document,
    base: Path,
    stream: Stream,
    near: list[_Place],
    far: list[_Place],
    topology_name: str,
) -> Problem:
    kind = f"IPv{stream.ip} addresses" if stream.ip else "addresses"
    has = "; ".join(
        f"{machine} has {', '.join(str(place.address) for place in places)}"
        for machine, places in ((stream.sender, near), (stream.receiver, far))
    )
    return document.problem(
        (*base, "ip") if stream.ip else base,
        f"'{stream.sender}' and '{stream.receiver}' have no {kind} in one subnet in "
        f"{topology_name}",
        has,
        key=True,
    )


def _not_too_small(
    document: Document, base: Path, stream: Stream, version: int
) -> Iterator[Problem]:
    smallest = smallest_packet(version)
    if stream.flow.size < smallest:
        yield document.problem(
            (*base, stream.protocol, "size"),
            f"an IPv{version} packet of {stream.flow.size} octets has no room for the number",
            f"the smallest is {smallest}",
        )


def _not_too_large(
    document: Document, base: Path, stream: Stream, source: _Place, target: _Place
) -> Iterator[Problem]:
    mtu = min(source.mtu, target.mtu)
    if stream.flow.size > mtu:
        yield document.problem(
            (*base, stream.protocol, "size"),
            f"a packet of {stream.flow.size} octets is larger than the MTU between "
            f"'{stream.sender}' and '{stream.receiver}', which is {mtu}",
            "raise the `mtu` of the network and of the guest's NIC, or send smaller packets",
        )


def _tagged(
    document: Document, base: Path, stream: Stream, topology: Topology
) -> Iterator[Problem]:
    """A namespace writes and captures tagged frames; it has no VLAN netdev that could answer."""
    if stream.protocol == "icmp-echo" and stream.receiver in topology.namespaces:
        yield document.problem(
            (*base, "vlan"),
            f"namespace '{stream.receiver}' does not answer tagged echo requests: the lab gives "
            "VLAN netdevs to guests only",
            f"send the requests from '{stream.receiver}', or use udp",
            key=True,
        )
    if stream.vlan == FENCE_VLAN and vf_indices(topology):
        yield document.problem(
            (*base, "vlan"),
            f"VLAN {FENCE_VLAN} is the one behind which the lab closes the filter of a VF "
            "(filter_handoff)",
            "use another VLAN",
            key=True,
        )
    members = len(topology.namespaces) + len(topology.guests)
    if members > VLAN_MEMBERS:
        yield document.problem(
            (*base, "vlan"),
            f"the topology has {members} guests and namespaces; in a VLAN there are addresses "
            f"for {VLAN_MEMBERS}",
            key=True,
        )


def _once_a_machine(
    document: Document,
    base: Path,
    vlan: int,
    tagged: dict[tuple[str, int], str],
    ends: dict[str, str],
) -> Iterator[Problem]:
    """A machine has one address in a VLAN, so one NIC."""
    for machine, nic in ends.items():
        other = tagged.setdefault((machine, vlan), nic)
        if other != nic:
            yield document.problem(
                (*base, "vlan"),
                f"'{machine}' would be in VLAN {vlan} on its NIC '{nic}' here and on '{other}' in "
                "another stream",
                "use another VLAN",
                key=True,
            )


def _places(topology: Topology, machine: str) -> list[_Place]:
    if namespace := topology.namespaces.get(machine):
        return [
            _Place(nic_id, address, _network_mtu(topology, nic.network))
            for nic_id, nic in namespace.nics.items()
            for address in nic.address
        ]
    guest = topology.guests.get(machine)
    if guest is None:
        return []
    bridges = topology.hosts[guest.host].bridges if guest.host in topology.hosts else {}
    found = []
    for nic_id, guest_nic in guest.nics.items():
        mtus = [guest_nic.mtu or _GUEST_MTU]
        for port in bridges.get(guest_nic.bridge or "", ()):
            port_nic = topology.hosts[guest.host].nics.get(port)
            if port_nic is not None and port_nic.network is not None:
                mtus.append(_network_mtu(topology, port_nic.network))
        found += [_Place(nic_id, address, min(mtus)) for address in guest_nic.address]
    return found


def _network_mtu(topology: Topology, name: str) -> int:
    return topology.networks[name].mtu
