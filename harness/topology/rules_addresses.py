"""Rules about MAC and IP addresses: each once in whatever frames can reach.

A *domain* is what bridges join: a network, the host NICs plugged into it, the host bridges
these are ports of, and the guests' taps in those bridges. The same address in two domains
is no problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.document import Path, dotted
from harness.topology.finding import Finding
from harness.topology.model import GuestNicModel, Interface, Topology
from harness.topology.rules_guests import nics
from harness.topology.rules_networks import management_network
from harness.topology.vfs import parse_vf

Node = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Member:
    """A NIC of anybody, and the domain it is in."""

    path: Path
    domain: Node
    mac: str | None
    addresses: tuple[Interface, ...]
    pair: tuple[str, str] | None = None  # guest and standby: the two NICs of a pair share a MAC


class _Domains:
    """A forest of joined nodes (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}

    def find(self, node: Node) -> Node:
        while (parent := self._parent.get(node, node)) != node:
            self._parent[node] = self._parent.get(parent, parent)
            node = parent
        return node

    def join(self, one: Node, other: Node) -> None:
        self._parent[self.find(one)] = self.find(other)


def _members(topology: Topology) -> list[_Member]:
    domains = _Domains()

    def host_nic(host: str, nic: str) -> Node:
        there = topology.hosts[host].nics.get(nic) if host in topology.hosts else None
        known = there is not None and there.network is not None
        return ("network", str(there.network)) if there and known else ("nic", host, nic)

    for name, host in topology.hosts.items():
        for bridge, ports in host.bridges.items():
            for port in ports:
                domains.join(("bridge", name, bridge), host_nic(name, port))
    members = [
        _Member(
            ("namespaces", name, "nics", key),
            domains.find(("network", member.network)),
            member.mac,
            member.address,
        )
        for name, namespace in topology.namespaces.items()
        for key, member in namespace.nics.items()
    ]
    members += [
        _Member(
            ("hosts", name, "nics", key),
            domains.find(host_nic(name, key)),
            nic.mac,
            nic.address,
        )
        for name, host in topology.hosts.items()
        for key, nic in host.nics.items()
    ]
    for path, guest_name, guest, key, guest_nic in nics(topology):
        vf = parse_vf(guest_nic.vf or "")
        if guest_nic.model is GuestNicModel.VFIO and vf:
            node = host_nic(guest.host, vf[0])
        else:
            node = ("bridge", guest.host, guest_nic.bridge or "")
        pair = (guest_name, guest_nic.failover_pair_id or key)
        members.append(_Member(path, domains.find(node), guest_nic.mac, guest_nic.address, pair))
    return members


def _macs(topology: Topology) -> Iterator[Finding]:
    first: dict[tuple[Node, str], _Member] = {}
    for member in _members(topology):
        if member.mac is None:
            continue
        other = first.setdefault((member.domain, member.mac), member)
        if other is not member and (member.pair is None or member.pair != other.pair):
            yield Finding(
                (*member.path, "mac"),
                f"{dotted(other.path)} has the MAC address {member.mac} already",
                "two NICs that can hear each other need different ones",
            )


def _addresses(topology: Topology) -> Iterator[Finding]:
    first: dict[tuple[Node, str], Path] = {}
    for member in _members(topology):
        for number, address in enumerate(member.addresses):
            path: Path = (*member.path, "address", number)
            key = (member.domain, str(address.ip))
            if key in first:
                yield Finding(path, f"{dotted(first[key])} has the address {address.ip} already")
            first.setdefault(key, member.path)


def _usable(topology: Topology) -> Iterator[Finding]:
    for member in _members(topology):
        for number, address in enumerate(member.addresses):
            path: Path = (*member.path, "address", number)
            network = address.network
            if address.is_multicast or address.is_loopback or address.is_unspecified:
                yield Finding(path, f"{address.ip} is not an address that a NIC can have")
            elif address.version == 4 and network.prefixlen < 31:
                if address.ip == network.network_address:
                    yield Finding(path, f"{address.ip} is the address of {network} itself")
                elif address.ip == network.broadcast_address:
                    yield Finding(path, f"{address.ip} is the broadcast address of {network}")


def _in_management_subnet(topology: Topology) -> Iterator[Finding]:
    managing = management_network(topology)
    if managing is None or (subnet := topology.networks[managing].subnet) is None:
        return
    for name, host in topology.hosts.items():
        for key, nic in host.nics.items():
            if nic.network != managing:
                continue
            for number, address in enumerate(nic.address):
                if address.version != subnet.version or address.network != subnet:
                    yield Finding(
                        ("hosts", name, "nics", key, "address", number),
                        f"{address} is not in {subnet}, the subnet of the management network",
                        "leave it out and the host gets an address",
                        relies_on=(("networks", managing, "subnet"),),
                    )


RULES = (_macs, _addresses, _usable, _in_management_subnet)
