"""Takes a virtual function through the states of a failover and counts frames in each.

All that is changed is changed by the machine's agent, which brings it back at its end: the
functions, their MAC address, VLAN and driver, and the PF. Frames are raw and of an EtherType that
no protocol stack listens to, so the VF's netdev can stay in the namespace of the PF.

Neighbours: ``judge`` says what the counts mean; ``harness.reach`` reaches the machines.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.errors import DeadlineExceeded, InputError
from harness.nicprobe.model import Arrived, Count, Flow, Nic, Place, Standby, State, Walked
from harness.reach.deadline import Deadline
from harness.reach.frames import Counts, FrameHead
from harness.reach.links import NO_MAC, Link
from harness.reach.machine import Machine
from harness.reach.wire import AgentRefused
from harness.topology.vfs import FENCE_VLAN

BRIDGE, VLAN_NETDEV = "nicprobe-br", "nicprobe-vlan"
_LINK_S = 30.0
_POLL_S = 0.05
_QUIET_S = 0.25
"""Frames that are still under way have come by then: they pass one NIC and one wire."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Peer:
    """A netdev on the other side of the PF's wire."""

    machine: Machine
    ifname: str

    @property
    def title(self) -> str:
        return f"{self.machine.name}:{self.ifname}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to walk. ``vlans``: None is untagged. ``frames``: of each flow in each state."""

    pf: str
    vf: int
    standbys: Sequence[Standby]
    vlans: Sequence[int | None]
    frames: int


def must_be_free(machine: Machine, pf: str, vf: int, *, anyway: bool) -> Link:
    """The PF; InputError if it is none, or in use and not to be taken ``anyway``.

    A function in the hands of vfio-pci is a guest's, and is never taken.
    """
    if machine.terms.uid != 0:
        raise InputError(f"{machine.name}: probe-nic changes a NIC and needs root")
    link = machine.links.get(pf)
    if link is None:
        there = ", ".join(one.name for one in machine.links.all())
        raise InputError(f"{machine.name}: no netdev {pf!r}", hint=f"netdevs there: {there}")
    if link.pci is None or not machine.exists(_attribute(link.pci, "sriov_totalvfs")):
        raise InputError(
            f"{machine.name}: {pf} has no virtual functions",
            hint="it has to be the netdev of a NIC with SR-IOV",
        )
    uses = [*machine.links.uses(pf)]
    functions = machine.pci.get(link.pci).vfs
    if functions:
        uses.append(f"{len(functions)} virtual functions are enabled")
    if uses and not anyway:
        raise InputError(
            f"{machine.name}: {pf} is in use: {'; '.join(uses)}",
            hint="--yes takes it all the same; its traffic suffers while it is probed",
        )
    if vf < len(functions) and machine.pci.get(functions[vf]).driver == "vfio-pci":
        raise InputError(
            f"{machine.name}: VF {vf} of {pf} ({functions[vf]}) is in the hands of vfio-pci",
            hint="it may be a guest's; --vf chooses another one",
        )
    return link


def walk(
    machine: Machine, link: Link, peer: Peer | None, wanted: Wanted, say: Say
) -> tuple[Nic, tuple[Walked, ...]]:
    """Walk every combination; ``link`` is the PF, as ``must_be_free`` gave it."""
    prober = _Prober(machine, link, peer, wanted, say)
    walks = tuple(
        prober.walk(standby, vlan) for standby in wanted.standbys for vlan in wanted.vlans
    )
    return prober.nic(), walks


def _attribute(pci: str, name: str) -> str:
    return f"/sys/bus/pci/devices/{pci}/{name}"


class _Prober:
    """One PF, one VF, one MAC address."""

    def __init__(
        self, machine: Machine, link: Link, peer: Peer | None, wanted: Wanted, say: Say
    ) -> None:
        self._machine = machine
        self._links = machine.links
        self._link = link
        self._pf = link.name
        self._pci = link.pci or ""
        self._peer = peer
        self._wanted = wanted
        self._say = say
        self._mac = "52:54:00:" + ":".join(f"{octet:02x}" for octet in secrets.token_bytes(3))
        self._key = secrets.token_hex(8)
        self._vf_driver = ""
        self._peer_mac = ""
        machine.load_module("vfio-pci")
        if any(vlan is not None for vlan in wanted.vlans):
            machine.load_module("8021q")
        self._links.set(self._pf, up=True)
        self._await_link(machine, self._pf)
        if peer:
            if (there := peer.machine.links.get(peer.ifname)) is None:
                raise InputError(f"{peer.machine.name}: no netdev {peer.ifname!r}")
            self._peer_mac = there.mac
            if not there.up:
                peer.machine.links.set(peer.ifname, up=True)
            self._await_link(peer.machine, peer.ifname)
        self._vf = machine.pci.enable_vfs(self._pci, wanted.vf + 1)[wanted.vf]
        machine.pci.unbind(self._vf)
        self._await_link(machine, self._pf)  # a driver may begin anew to make room for functions

    def nic(self) -> Nic:
        driver = self._machine.pci.get(self._pci).driver
        return Nic(
            machine=self._machine.name,
            pf=self._pf,
            pci=self._pci,
            driver=driver or "",
            vf=self._wanted.vf,
            vf_pci=self._vf,
            vf_driver=self._vf_driver,
            mac=self._mac,
            peer=self._peer.title if self._peer else "",
        )

    def walk(self, standby: Standby, vlan: int | None) -> Walked:
        title = Walked(standby=standby, vlan=vlan).title
        self._say(f"{self._machine.name}: {title}")
        counts: list[Count] = []
        problem = ""
        try:
            with self._standby(standby, vlan):
                for counted in self._states(vlan):
                    counts += counted
        except AgentRefused as error:
            problem = error.message  # of this walk only: a NIC need not have it all
        return Walked(standby=standby, vlan=vlan, counts=tuple(counts), problem=problem)

    @contextmanager
    def _standby(self, standby: Standby, vlan: int | None) -> Iterator[None]:
        """The PF as the standby uses it."""
        links = self._links
        try:
            if standby == "bridge":
                links.create_bridge(BRIDGE)
                links.set(self._pf, master=BRIDGE)
                links.set(BRIDGE, up=True)
            else:
                links.add_fdb(self._pf, self._mac, "self")
            if vlan is not None:
                # What makes the PF admit the VLAN; behind a bridge it admits all, or should.
                links.create_vlan(VLAN_NETDEV, self._pf, vlan)
                links.set(VLAN_NETDEV, up=True)
            yield
        finally:
            self._forget_vf()
            links.delete(VLAN_NETDEV)
            if standby == "bridge":
                links.set(self._pf, master=self._link.master or "")
                links.delete(BRIDGE)
            else:
                links.delete_fdb(self._pf, self._mac, "self")

    def _forget_vf(self) -> None:
        """The VF as at the beginning of a walk: without driver, MAC address and VLAN."""
        self._machine.pci.release_vfio(self._vf)
        self._machine.pci.unbind(self._vf)
        self._set_vf(NO_MAC, 0)

    def _set_vf(self, mac: str, vlan: int) -> None:
        self._links.set_vf_vlan(self._pf, self._wanted.vf, vlan)
        self._links.set_vf_mac(self._pf, self._wanted.vf, mac)

    def _states(self, vlan: int | None) -> Iterator[list[Count]]:
        pci = self._machine.pci
        yield self._count(State.NO_MAC, vlan)
        self._set_vf(self._mac, vlan or 0)
        yield self._count(State.MAC_SET, vlan)
        pci.bind_vfio(self._vf)
        yield self._count(State.VFIO, vlan)
        self._fence(FENCE_VLAN)
        yield self._count(State.FENCED, vlan)
        pci.release_vfio(self._vf)
        self._fence(vlan or 0)
        netdev = self._bind_driver()
        yield self._count(State.DRIVER, vlan, netdev)
        pci.unbind(self._vf)
        yield self._count(State.DRIVER_GONE, vlan)
        self._fence(FENCE_VLAN)
        yield self._count(State.FENCED_AGAIN, vlan)
        self._set_vf(NO_MAC, 0)
        yield self._count(State.CLEARED, vlan)

    def _fence(self, vlan: int) -> None:
        self._links.set_vf_vlan(self._pf, self._wanted.vf, vlan)

    def _bind_driver(self) -> str:
        """Give the VF to its own driver; its netdev, up and with a carrier."""
        deadline, pause = Deadline(_LINK_S), threading.Event()
        device = self._machine.pci.probe(self._vf)
        while not device.netdevs:
            # A driver that probes in the background; sysfs tells nobody of a new entry.
            deadline.raise_if_expired(
                f"{self._machine.name}: a netdev of VF {self._vf}", f"driver {device.driver}"
            )
            pause.wait(_POLL_S)
            device = self._machine.pci.get(self._vf)
        self._vf_driver = device.driver or ""
        (netdev, *_) = device.netdevs
        self._links.set(netdev, up=True)
        self._await_link(self._machine, netdev)
        return netdev

    def _await_link(self, machine: Machine, name: str) -> None:
        deadline, pause = Deadline(_LINK_S), threading.Event()
        # A carrier alone is not enough: the kernel drops what is sent until it has told so itself.
        while not ((link := machine.links.get(name)) and link.carrier and link.operstate == "up"):
            if deadline.expired:
                raise DeadlineExceeded(
                    f"{machine.name}: the link of {name} did not come up within {_LINK_S:g} s",
                    hint="is its cable plugged in, and the other side up?",
                )
            # Rare enough that asking costs less than following the machine's netlink messages.
            pause.wait(_POLL_S)

    def _count(self, state: State, vlan: int | None, vf: str = "") -> list[Count]:
        """Send every flow of a state, and count what comes in."""
        host, key = self._machine.frames, self._key
        places = {self._pf: Place.PF} | ({vf: Place.VF} if vf else {})
        heard = [(host.listen(list(places), key=key), places)]
        if self._peer:
            wire = self._peer.machine.frames.listen([self._peer.ifname], key=key, promiscuous=True)
            heard.append((wire, {self._peer.ifname: Place.WIRE}))
        numbers = {flow: number for number, flow in enumerate(Flow)}
        sent = {
            flow: sender.frames.send(
                name, head, key=key, flow=numbers[flow], count=self._wanted.frames
            )
            for flow, sender, name, head in self._flows(vlan, vf)
        }
        arrived: dict[Flow, dict[Place, Arrived]] = {flow: {} for flow in sent}
        for count, at in heard:
            counts: Counts = count.end(quiet_s=_QUIET_S)
            for name, place in at.items():
                for flow in sent:
                    if found := counts.get((name, numbers[flow])):
                        arrived[flow][place] = Arrived(numbers=found.numbers, frames=found.frames)
        return [
            Count(state=state, flow=flow, sent=number, arrived=arrived[flow])
            for flow, number in sent.items()
        ]

    def _flows(self, vlan: int | None, vf: str) -> Iterator[tuple[Flow, Machine, str, FrameHead]]:
        """What is sent, by which netdev. What a VF sends gets its port VLAN from the NIC."""
        here, pf_mac = self._machine, self._link.mac
        yield Flow.PF_TO_MAC, here, self._pf, FrameHead(self._mac, pf_mac, vlan)
        if vf:
            yield Flow.VF_TO_PF, here, vf, FrameHead(pf_mac, self._mac)
        if self._peer is None:
            return
        peer, mac = self._peer, self._peer_mac
        yield Flow.WIRE_TO_MAC, peer.machine, peer.ifname, FrameHead(self._mac, mac, vlan)
        yield Flow.PF_TO_WIRE, here, self._pf, FrameHead(mac, self._mac, vlan)
        if vf:
            yield Flow.VF_TO_WIRE, here, vf, FrameHead(mac, self._mac)
