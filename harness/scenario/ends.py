"""Who is who in a stream: the two ends and the addresses its packets carry.

What it is not: nothing here is started; a plan is all it takes. Neighbours: ``streams``
sends and receives at these ends; captures elsewhere in the lab look for their packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import Literal

from harness.case import Stream
from harness.case.endpoints import Interface, first_in_one_subnet, vlan_address
from harness.errors import LabError
from harness.plan.model import Plan
from harness.traffic.stream import StreamSpec

_FIRST_PORT = 20_000


@dataclass(frozen=True, slots=True)
class End:
    """One end of a stream: a namespace's NIC or a guest's.

    ``interface`` is the netdev's name in a namespace and the NIC's id in the topology of a
    guest (whose kernel chooses the name). ``address`` is without prefix length.
    """

    machine: str
    kind: Literal["namespace", "guest"]
    interface: str
    mac: str
    address: str


def specs_of(plan: Plan, streams: Mapping[str, Stream]) -> dict[str, tuple[StreamSpec, End, End]]:
    """What is sent, from where and to where, by the stream's name; ids count from 1.

    Of TCP streams there is nothing here. Raises LabError as ``ends_of`` does.
    """
    packets = {name: stream for name, stream in streams.items() if stream.tcp is None}
    return {
        name: _spec(plan, number, name, stream)
        for number, (name, stream) in enumerate(packets.items(), 1)
    }


def ends_of(plan: Plan, name: str, stream: Stream) -> tuple[End, End]:
    """Source and target: of the first two addresses in one subnet, and of the version wanted.

    A tagged stream runs between the addresses that these two have in its VLAN. LabError when
    there are none (a case that was checked has them).
    """
    near, far = _addressed(plan, stream.sender), _addressed(plan, stream.receiver)
    found = first_in_one_subnet(
        [address for _, address in near], [address for _, address in far], stream.ip
    )
    if found is None:
        raise LabError(
            f"stream {name}: {stream.sender} and {stream.receiver} have no addresses in one subnet",
            hint="give both an address of the same network",
        )
    source, target = near[found[0]][0], far[found[1]][0]
    if stream.vlan is None:
        return source, target
    version = near[found[0]][1].version
    return _in_vlan(plan, source, stream.vlan, version), _in_vlan(
        plan, target, stream.vlan, version
    )


def address_in_vlan(plan: Plan, machine: str, vlan: int, version: int) -> Interface:
    """The address that a namespace or guest has in a VLAN, with its prefix length."""
    members = [*(namespace.name for namespace in plan.namespaces), *plan.guests]
    return vlan_address(vlan, version, members.index(machine) + 1)


def _in_vlan(plan: Plan, end: End, vlan: int, version: int) -> End:
    return replace(end, address=str(address_in_vlan(plan, end.machine, vlan, version).ip))


def _spec(plan: Plan, number: int, name: str, stream: Stream) -> tuple[StreamSpec, End, End]:
    source, target = ends_of(plan, name, stream)
    udp = stream.udp is not None
    ports = {"source_port": _FIRST_PORT + 1000 + number, "destination_port": _FIRST_PORT + number}
    spec = StreamSpec.between(
        source.address,
        target.address,
        name=name,
        protocol="udp" if udp else "icmp-echo",
        source_mac=source.mac,
        destination_mac=target.mac,
        stream_id=number,
        rate=stream.flow.rate,
        size=stream.flow.size,
        count=stream.flow.count,
        duration_s=stream.flow.duration,
        dscp=stream.dscp,
        vlan=stream.vlan,
        **(ports if udp else {}),
    )
    return spec, source, target


def _addressed(plan: Plan, machine: str) -> list[tuple[End, Interface]]:
    """The addressed NICs of a namespace or guest, each address with its prefix length."""
    for namespace in plan.namespaces:
        if namespace.name == machine:
            given = [
                (link.ifname or link.nic, link.mac, ip_interface(address))
                for link in namespace.links
                for address in link.addresses
            ]
            return [
                (End(machine, "namespace", interface, mac, str(address.ip)), address)
                for interface, mac, address in given
            ]
    guest = plan.guests[machine]
    return [
        (End(machine, "guest", nic_id, guest.macs[nic_id], str(address.ip)), address)
        for nic_id, nic in guest.nics.items()
        for address in nic.address
    ]
