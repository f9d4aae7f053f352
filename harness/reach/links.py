"""Typed netlink operations of a machine: ``machine.links``.

What is created here is removed by the agent when the machine is closed, newest first.
Neighbours: ``agent/links.py`` and ``agent/fdb.py`` do them on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import ReachError
from harness.reach.clock import ClockName, MachineClock, Stamp
from harness.reach.wire import Wire

Call = Callable[..., Any]
NO_MAC = "00:00:00:00:00:00"
"""Set on a virtual function, it clears the MAC filter."""


@dataclass(frozen=True, slots=True)
class Link:
    """A netdev. ``kind`` is rtnetlink's (bridge, tun, veth, ...), empty for hardware."""

    index: int
    name: str
    mac: str
    up: bool
    carrier: bool
    operstate: str
    mtu: int
    master: str | None
    kind: str
    pci: str | None


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """A forwarding entry: frames to ``mac`` leave by ``name`` (``master``: its bridge)."""

    name: str
    mac: str
    master: str | None
    static: bool
    vlan: int | None


@dataclass(frozen=True, slots=True)
class FdbChange:
    """A bridge learned ``mac`` at ``port``, moved it there from ``former``, or forgot it.

    ``at`` is the middle between the earliest time at which that may have been and its receipt,
    with half their distance (and the error of the machine's clock) as its error. ``vlan`` is 0
    on a bridge that filters none. ``lost``: the entries can no longer be followed, and why;
    the rest is then empty.
    """

    change: Literal["learned", "moved", "removed"]
    mac: str
    bridge: str
    port: str
    former: str
    vlan: int
    static: bool
    at: Stamp
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """An operation that the agent does by itself when something happens."""

    op: str
    args: tuple[tuple[str, Any], ...]


def vf_mac_action(pf: str, vf: int, mac: str) -> Action:
    """Set (NO_MAC: clear) the MAC filter of a VF."""
    return Action("vf_set_mac", (("pf", pf), ("vf", vf), ("mac", mac)))


def vf_vlan_action(pf: str, vf: int, vlan: int) -> Action:
    """Set (0: clear) the port VLAN of a VF."""
    return Action("vf_set_vlan", (("pf", pf), ("vf", vf), ("vlan", vlan)))


def fdb_add_action(name: str, mac: str, where: Literal["master", "self"]) -> Action:
    return Action("fdb_add", (("name", name), ("mac", mac), ("where", where)))


def fdb_del_action(name: str, mac: str, where: Literal["master", "self"]) -> Action:
    return Action("fdb_del", (("name", name), ("mac", mac), ("where", where)))


class Links:
    """Netdevs of one machine. Failures are AgentRefused, with the netdev's name."""

    def __init__(self, machine: str, call: Call, wire: Wire, clock: MachineClock) -> None:
        self._machine = machine
        self._call = call
        self._wire = wire
        self._clock = clock

    def all(self) -> tuple[Link, ...]:
        return tuple(Link(**one) for one in self._call("links"))

    def get(self, name: str) -> Link | None:
        return next((link for link in self.all() if link.name == name), None)

    def find(self, *, mac: str | None = None, pci: str | None = None) -> Link:
        """The one netdev with this MAC address or PCI address; ReachError lists what is there.

        Bridges are passed over: they take the address of one of their ports.
        """
        there = [link for link in self.all() if link.kind not in ("bridge", "tun")]
        found = [
            link
            for link in there
            if (mac is None or link.mac == mac) and (pci is None or link.pci == pci)
        ]
        if len(found) == 1:
            return found[0]
        wanted = " and ".join(
            f"{key} {value}" for key, value in (("MAC", mac), ("PCI address", pci)) if value
        )
        raise ReachError(
            f"{self._machine}: {len(found) or 'no'} netdevs with {wanted}",
            hint="a driver that is not loaded, or a NIC that is not there, gives no netdev",
            evidence=[f"{link.name} {link.mac} {link.pci or ''}" for link in there],
        )

    def create_bridge(self, name: str, *, mtu: int | None = None, mac: str | None = None) -> None:
        """A bridge, down, without spanning tree, forward delay and IGMP snooping."""
        self._call("bridge_create", name=name, mtu=mtu, mac=mac)

    def create_tap(self, name: str, *, queues: int = 1, vnet_hdr: bool = True) -> None:
        """A persistent tap, down, with the flags that QEMU opens it with."""
        self._call("tap_create", name=name, queues=queues, vnet_hdr=vnet_hdr)

    def create_veth(
        self,
        name: str,
        peer: str,
        *,
        peer_pid: int | None = None,
        mac: str | None = None,
        peer_mac: str | None = None,
        mtu: int | None = None,
    ) -> None:
        """A veth pair, both down. ``peer_pid`` is a process, as numbered on the machine
        (``NetNamespace.pid_inside``), whose network namespace ``peer`` goes to."""
        self._call(
            "veth_create", name=name, peer=peer, peer_pid=peer_pid, mac=mac,
            peer_mac=peer_mac, mtu=mtu,
        )  # fmt: skip

    def create_vlan(self, name: str, link: str, vlan: int) -> None:
        """A VLAN netdev on ``link``, down; ``link`` admits that VLAN from then on."""
        self._call("vlan_create", name=name, link=link, vlan=vlan)

    def uses(self, name: str) -> tuple[str, ...]:
        """What a netdev is in use for: its addresses, default route, bridge, VLANs, in words."""
        return tuple(self._call("link_uses", name=name))

    def set(
        self,
        name: str,
        *,
        up: bool | None = None,
        master: str | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        rename: str | None = None,
        pid: int | None = None,
    ) -> None:
        """Change a netdev in one step; ``master=""`` takes it out of its bridge."""
        self._call(
            "link_set", name=name, up=up, master=master, mtu=mtu, mac=mac, rename=rename, pid=pid
        )

    def delete(self, name: str) -> None:
        """Delete a netdev; one that is not there is no error."""
        self._call("link_delete", name=name)

    def add_address(self, name: str, address: str) -> None:
        """Add ``address`` (with prefix length); IPv6 without duplicate address detection."""
        self._call("address_add", name=name, address=address)

    def add_neighbour(self, name: str, address: str, mac: str) -> None:
        """A permanent neighbour entry."""
        self._call("neighbour_add", name=name, address=address, mac=mac)

    def add_route(self, destination: str, via: str, *, name: str | None = None) -> None:
        self._call("route_add", destination=destination, via=via, name=name)

    def set_vf_mac(self, pf: str, vf: int, mac: str) -> None:
        """Set the MAC filter of a virtual function; NO_MAC clears it. Undone to what it was."""
        self._call("vf_set_mac", pf=pf, vf=vf, mac=mac)

    def set_vf_vlan(self, pf: str, vf: int, vlan: int) -> None:
        """Set the port VLAN of a virtual function; 0 clears it. Undone to what it was."""
        self._call("vf_set_vlan", pf=pf, vf=vf, vlan=vlan)

    def vf_macs(self, pf: str) -> dict[int, str]:
        """MAC filter of each virtual function of ``pf``, by its number."""
        return {int(vf): mac for vf, mac in self._call("vf_macs", pf=pf).items()}

    def add_fdb(self, name: str, mac: str, where: Literal["master", "self"] = "master") -> None:
        """A static entry of the bridge that ``name`` is a port of, or of its own filter."""
        self._call("fdb_add", name=name, mac=mac, where=where)

    def delete_fdb(self, name: str, mac: str, where: Literal["master", "self"] = "master") -> None:
        """Remove an entry; one that is not there is no error."""
        self._call("fdb_del", name=name, mac=mac, where=where)

    def fdb(self, mac: str | None = None) -> tuple[FdbEntry, ...]:
        """Forwarding entries, of one MAC or all."""
        return tuple(FdbEntry(**one) for one in self._call("fdb", mac=mac))

    def watch_fdb(self, macs: Iterable[str], sink: Callable[[FdbChange], None]) -> FdbWatch:
        """Call ``sink`` at each change of these addresses' entries in any bridge (on the
        connection's reading thread: be quick and do not call the machine)."""

        def on_event(event: Mapping[str, Any]) -> None:
            if event["event"] == "fdb":
                sink(_changed(event, self._clock.stamp))
            elif event["event"] == "fdb-lost":
                at = self._clock.stamp("monotonic", event["at_ns"])
                sink(FdbChange("removed", "", "", "", "", 0, False, at, event["problem"]))

        handle = self._wire.handle(on_event)
        there = self._call("fdb_watch", handle=handle, macs=sorted(set(macs)))
        return FdbWatch(self._call, self._wire, handle, tuple(_entry(one) for one in there))

    def set_netem(
        self,
        name: str,
        *,
        delay_s: float | None = None,
        jitter_s: float | None = None,
        loss: float | None = None,
        duplicate: float | None = None,
        reorder: float | None = None,
        rate_bit: int | None = None,
    ) -> None:
        """Impair what leaves by ``name``: seconds, shares from 0 to 1, bits a second."""
        self._call(
            "netem_set", name=name, delay_s=delay_s, jitter_s=jitter_s, loss=loss,
            duplicate=duplicate, reorder=reorder, rate_bit=rate_bit,
        )  # fmt: skip

    def clear_netem(self, name: str) -> None:
        """Remove the impairment; none is no error."""
        self._call("netem_clear", name=name)

    def qdiscs(self, name: str) -> tuple[str, ...]:
        """Kinds of the queueing disciplines on a netdev."""
        return tuple(self._call("qdiscs", name=name))


class FdbWatch:
    """A watch that goes on until ``stop``. ``at_start``: where the addresses were then."""

    def __init__(self, call: Call, wire: Wire, handle: int, at_start: tuple[FdbEntry, ...]) -> None:
        self._call, self._wire, self._handle = call, wire, handle
        self.at_start = at_start

    def stop(self) -> None:
        """No change is told after this returned."""
        self._call("fdb_unwatch", within=5, handle=self._handle)
        self._wire.release(self._handle)


def _entry(told: Mapping[str, Any]) -> FdbEntry:
    return FdbEntry(
        told["port"], told["mac"], told["bridge"], bool(told["static"]), told["vlan"] or None
    )


def _changed(event: Mapping[str, Any], stamp: Callable[[ClockName, int], Stamp]) -> FdbChange:
    since, seen = (stamp("monotonic", event[key]) for key in ("since_ns", "seen_ns"))
    half = (seen.t_ns - since.t_ns + 1) // 2
    return FdbChange(
        change=event["change"],
        mac=event["mac"],
        bridge=event["bridge"],
        port=event["port"],
        former=event["former"],
        vlan=event["vlan"],
        static=bool(event["static"]),
        at=Stamp(since.t_ns + half, half + max(since.err_ns, seen.err_ns)),
    )
