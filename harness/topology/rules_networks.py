"""Rules about networks, and about the names of machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from harness.document import Path
from harness.topology.finding import Finding
from harness.topology.model import HostKind, Topology


def management_network(topology: Topology) -> str | None:
    """The network that the harness reaches hosts over; the first, if several claim it."""
    return next((n for n, net in topology.networks.items() if net.management), None)


def _has_hosts_and_guests(topology: Topology) -> Iterator[Finding]:
    for section, parts in (("hosts", topology.hosts), ("guests", topology.guests)):
        if not parts:
            yield Finding(
                (section,),
                f"a topology has one {section.removesuffix('s')} at least",
                lacks_in=((section,),),
                at_key=True,
            )


def _machine_names(topology: Topology) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    sections: dict[str, Iterable[str]] = {
        "namespaces": topology.namespaces,
        "hosts": topology.hosts,
        "guests": topology.guests,
    }
    for section, parts in sections.items():
        for name in parts:
            if name in seen:
                yield Finding(
                    (section, name),
                    f"one of the {seen[name]} has the name '{name}' too",
                    "commands and streams name a machine by this alone: rename one",
                    at_key=True,
                )
            seen.setdefault(name, section)


def _management(topology: Topology) -> Iterator[Finding]:
    managing = [name for name, net in topology.networks.items() if net.management]
    for name in managing:
        path: Path = ("networks", name)
        if name != managing[0]:
            yield Finding(
                (*path, "management"),
                f"'{managing[0]}' is the management network already; there is one at most",
                relies_on=(("networks", managing[0]),),
            )
        if topology.networks[name].subnet is None:
            yield Finding(
                path,
                "a management network needs a 'subnet'",
                "as in subnet: 10.78.0.0/24",
                relies_on=((*path, "subnet"),),
                at_key=True,
            )


def _hosts_on_management(topology: Topology) -> Iterator[Finding]:
    managing = management_network(topology)
    for name, host in topology.hosts.items():
        path: Path = ("hosts", name)
        if host.kind is HostKind.SSH:
            continue  # reached at its own address
        if managing is None:
            if host.kind is HostKind.VM:
                yield Finding(
                    path,
                    "a host of kind vm is reached over a management network, and there is none",
                    "write `management: true` and a subnet at one of the networks, "
                    "and give the host a NIC on it",
                    lacks_in=(("networks",),),
                    at_key=True,
                )
        elif not any(nic.network == managing for nic in host.nics.values()):
            yield Finding(
                path,
                f"it has no NIC on the management network '{managing}'",
                f"add one with `network: {managing}` to its nics",
                lacks_in=((*path, "nics"),),
                at_key=True,
            )


def _management_size(topology: Topology) -> Iterator[Finding]:
    managing = management_network(topology)
    if managing is None or (subnet := topology.networks[managing].subnet) is None:
        return
    members = sum(
        nic.network == managing for host in topology.hosts.values() for nic in host.nics.values()
    )
    # Neither the network's own nor the broadcast address, except on a point-to-point /31.
    spare = 2 if subnet.version == 4 and subnet.prefixlen < 31 else 0
    room = subnet.num_addresses - spare
    if room < members + 1:
        yield Finding(
            ("networks", managing, "subnet"),
            f"{subnet} has room for {room} addresses; wanted {members + 1}: "
            f"one for each of {members} host NICs and one for the harness",
            "take a shorter prefix, as in 10.78.0.0/24",
        )


def _overlaps(topology: Topology) -> Iterator[Finding]:
    subnets = [(n, net.subnet) for n, net in topology.networks.items() if net.subnet]
    for (one, first), (other, second) in combinations(subnets, 2):
        if first.overlaps(second):
            yield Finding(
                ("networks", other, "subnet"),
                f"{second} overlaps {first}, the subnet of network '{one}'",
                "a host on both would not know where to send",
            )


def _impairments(topology: Topology) -> Iterator[Finding]:
    for name, network in topology.networks.items():
        if network.impair is None or network.impair.delay:
            continue
        path: Path = ("networks", name, "impair")
        for key in ("jitter", "reorder"):
            if getattr(network.impair, key):
                yield Finding(
                    (*path, key),
                    f"'{key}' needs a 'delay': netem varies a delay, it has none of its own",
                    relies_on=((*path, "delay"),),
                )


RULES = (
    _has_hosts_and_guests,
    _machine_names,
    _management,
    _hosts_on_management,
    _management_size,
    _overlaps,
    _impairments,
)
