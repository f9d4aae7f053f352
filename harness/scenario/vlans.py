"""VLAN netdevs in the guests that tagged streams run to or from.

A guest sends where its routes lead and takes a tagged frame through a netdev of the VLAN only;
so it gets one, on top of the failover netdev where there is a pair, as a user would have it. A
namespace needs none: its sender writes tagged frames, and its capture sees them. Nobody there
answers ARP or neighbour discovery; the guest is told the other end's MAC address.

Nothing is taken away again: the guest ends with the lab. Neighbours: ``ends`` has the
addresses; ``streams`` calls this before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import LabError
from harness.lab import Lab
from harness.observe import VLAN_DRIVER
from harness.scenario.ends import End, address_in_vlan
from harness.traffic.stream import StreamSpec

_COMMAND_S = 30.0


def join_vlans(lab: Lab, streams: Iterable[tuple[StreamSpec, End, End]]) -> None:
    """Give every guest what its tagged streams need. LabError where a guest cannot."""
    made: set[tuple[str, str]] = set()
    for spec, source, target in streams:
        if spec.vlan is None:
            continue
        for end, other in ((source, target), (target, source)):
            if end.kind == "guest":
                _join(lab, end, other, spec.vlan, spec.version, made)


def _join(
    lab: Lab, end: End, other: End, vlan: int, version: int, made: set[tuple[str, str]]
) -> None:
    name = f"vlan{vlan}"
    machine = lab.guests[end.machine].machine

    def ip(*words: str) -> None:
        machine.run(["ip", *words], timeout=_COMMAND_S)

    if (end.machine, name) not in made:
        below = _below(lab, end)
        # Where the kernel has it built in, or loads it itself, this has nothing to do.
        machine.run(["modprobe", "8021q"], timeout=_COMMAND_S, check=False)
        ip("link", "add", "link", below, "name", name, "type", "vlan", "id", str(vlan))
        ip("link", "set", name, "up")
        made.add((end.machine, name))
    address = address_in_vlan(lab.plan, end.machine, vlan, version)
    ip("address", "replace", str(address), "dev", name, *(["nodad"] if version == 6 else []))
    ip("neigh", "replace", other.address, "lladdr", other.mac, "dev", name, "nud", "permanent")


def _below(lab: Lab, end: End) -> str:
    """The guest's name of the netdev to put the VLAN on: of a pair its failover netdev."""
    found = [
        link.name
        for link in lab.guests[end.machine].links.now()
        if link.mac == end.mac and link.master is None and link.driver != VLAN_DRIVER
    ]
    if len(found) != 1:
        raise LabError(
            f"{end.machine}: a VLAN needs one netdev with the MAC address {end.mac}, and there "
            f"are {len(found)}: {', '.join(found) or 'none'}",
            hint=f"is NIC {end.interface} of {end.machine} there, and its pair complete?",
        )
    return found[0]
