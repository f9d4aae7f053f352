"""A host of the lab: its bridges and NICs, and places for guests on it.

The same code for a namespace, a booted VM and a real machine: it only speaks to the
machine's agent, which undoes what it made. Neighbours: ``lab`` boots and reaches hosts,
``guest`` starts QEMU on them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import LabError
from harness.observe import HostEvent
from harness.observe.record import now_ns
from harness.plan.model import HostPlan, ImageRef, LinkPlan, Placement, TapPlan, VfPlan
from harness.reach.links import NO_MAC
from harness.reach.machine import Machine
from harness.reach.wire import AgentRefused

VM_DISKS = "/lab"
"""Where a host VM's init mounts the disks it was given."""

Record = Callable[[HostEvent], None]


@dataclass(frozen=True, slots=True)
class PhysicalFunction:
    """An SR-IOV NIC of a host; ``vfs`` are PCI addresses by VF number."""

    ifname: str
    pci: str
    vfs: tuple[str, ...]


class LabHost:
    """A host that can be reached. Not thread-safe, except for ``prepare`` and ``withdraw``."""

    def __init__(
        self,
        plan: HostPlan,
        machine: Machine,
        record: Record,
        hand_over: Callable[[Path], str] | None = None,
    ) -> None:
        self.plan = plan
        self.hand_over = hand_over
        """Gives a file of this machine to a host VM: the shell command that reads it there."""
        self.machine = machine
        self.accelerator: Literal["kvm", "tcg", ""] = ""
        self.pfs: dict[str, PhysicalFunction] = {}
        self._record = record
        self._ifnames: dict[str, str] = {}
        self._image_dirs: dict[ImageRef, str] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.plan.name

    def note(self, event: str, device: str = "", *, guest: str = "", **data: str) -> None:
        """Record that the lab did something on this host, just now."""
        self._record(
            HostEvent(
                t_ns=now_ns(), host=self.name, event=event, guest=guest, device=device, data=data
            )
        )

    def images_at(self, ref: ImageRef, local: str) -> str:
        """The directory of an image on this host; ``local`` is where the store has it."""
        if self.plan.kind == "netns":
            return local
        if self.plan.kind == "vm":
            return f"{VM_DISKS}/{ref.serial}"
        try:
            return self._image_dirs[ref]
        except KeyError:
            raise LabError(f"{self.name}: image {ref.token} was not copied there") from None

    def image_copied(self, ref: ImageRef, directory: str) -> None:
        """An image was put on this (ssh) host."""
        self._image_dirs[ref] = directory

    def wire(self) -> None:
        """Find the NICs, enable virtual functions, make the bridges."""
        links = self.machine.links
        if any(nic.vfs for nic in self.plan.nics.values()):
            self._load_drivers()
        for nic_name in self.plan.nics:
            self._ifnames[nic_name] = self._find_nic(nic_name)
        self._must_be_free()
        for nic_name, nic in self.plan.nics.items():
            ifname = self._ifnames[nic_name]
            links.set(ifname, up=True)
            if nic.vfs:
                self._enable_vfs(nic_name, ifname, nic.vfs)
        for bridge in self.plan.bridges:
            mtu = max((link.mtu for link in self.plan.links), default=1500)
            name = self.bridge_ifname(bridge.name)
            links.create_bridge(name, mtu=mtu)
            for nic_name in bridge.nics:
                links.set(self._ifnames[nic_name], master=name)
            links.set(name, up=True)

    def _load_drivers(self) -> None:
        # The NIC of a real machine is not an igb but what it is, and has its driver.
        for module in ("vfio-pci",) if self.plan.kind == "ssh" else ("igb", "vfio-pci"):
            try:
                self.machine.load_module(module)
            except AgentRefused as error:
                reason = error.message.removeprefix(f"{self.name}: ")
                raise LabError(
                    f"{self.name}: cannot give virtual functions to guests: {reason}",
                    hint=f"its kernel needs the module {module}, and root the right to load it",
                ) from error

    def _must_be_free(self) -> None:
        """What a real machine has already stays its own: LabError rather than a takeover."""
        there = {link.name: link for link in self.machine.links.all()}
        for bridge in self.plan.bridges:
            if self.bridge_ifname(bridge.name) in there:
                raise LabError(
                    f"{self.name}: cannot make bridge {bridge.name}: a netdev of that name is "
                    "there",
                    hint="give the topology's bridge another name",
                )
            for nic in bridge.nics:
                ifname = self._ifnames[nic]
                if (master := there[ifname].master) is not None:
                    raise LabError(
                        f"{self.name}: NIC {nic} ({ifname}) is a port of {master} already",
                        hint="a lab takes only NICs that nobody uses",
                    )

    def bridge_ifname(self, bridge: str) -> str:
        """The netdev of a bridge: the topology's name."""
        return bridge

    def nic_ifname(self, nic: str) -> str:
        """The netdev of a host NIC."""
        return self._ifnames[nic]

    def _link(self, nic_name: str) -> LinkPlan | None:
        return next((link for link in self.plan.links if link.nic == nic_name), None)

    def _find_nic(self, nic_name: str) -> str:
        nic, link = self.plan.nics[nic_name], self._link(nic_name)
        if nic.ifname is not None:
            if self.machine.links.get(nic.ifname) is None:
                there = ", ".join(one.name for one in self.machine.links.all())
                raise LabError(
                    f"{self.name}: no netdev {nic.ifname!r} for NIC {nic_name}",
                    hint=f"netdevs there: {there}",
                )
            return nic.ifname
        if link is None:
            raise LabError(f"{self.name}: NIC {nic_name} has neither a network nor an ifname")
        return link.ifname or self.machine.links.find(mac=link.mac).name

    def _enable_vfs(self, nic_name: str, ifname: str, count: int) -> None:
        found = self.machine.links.get(ifname)
        if found is None or found.pci is None:
            raise LabError(f"{self.name}: {ifname} is not a PCI device; it has no VFs")
        vfs = self.machine.pci.enable_vfs(found.pci, count)
        if self.machine.pci.get(vfs[0]).iommu_group is None:
            raise LabError(
                f"{self.name}: the virtual functions of {ifname} have no IOMMU group",
                hint="vfio-pci needs an IOMMU: switch it on in the firmware, and in the kernel "
                "(intel_iommu=on)",
            )
        self.pfs[nic_name] = PhysicalFunction(ifname, found.pci, vfs)
        self.note("vfs-enabled", found.pci, vfs=" ".join(vfs))

    def prepare(self, placement: Placement, plugged: Collection[str]) -> dict[str, str]:
        """Make what the guest needs here: taps and bound VFs. Returns tokens for its command.

        The MAC address of a VF is set now, because the guest's driver asks for it in the
        first milliseconds of its probe; whether frames are steered to the VF yet is the
        business of ``handoff``. One that is not among the ``plugged`` NICs, which the guest
        starts with, gets it when it is plugged (``give_vf_mac``).
        """
        if placement.obstacle:
            raise LabError(
                f"guest {placement.guest} cannot be on {self.name}: {placement.obstacle}"
            )
        tokens = {}
        with self._lock:
            for tap in placement.taps:
                self._make_tap(tap)
            for vf in placement.vfs:
                pf = self.pfs[vf.host_nic]
                pci = pf.vfs[vf.index]
                # In this order, so that it is undone in the other: a driver that gets its
                # function back reads its own address, and not the guest's.
                device = self.machine.pci.bind_vfio(pci)
                self.note("vf-bound", pci, iommu_group=device.iommu_group or "none")
                if vf.nic in plugged:
                    self._set_vf_mac(vf, vf.mac)
                tokens[f"vf:{vf.nic}"] = pci
        return tokens

    def withdraw(self, placement: Placement) -> None:
        """Remove what ``prepare`` made, after the guest has left."""
        with self._lock:
            for tap in placement.taps:
                self.machine.links.delete(tap.ifname)
            for vf in placement.vfs:
                pf = self.pfs[vf.host_nic]
                self._set_vf_mac(vf, NO_MAC)
                self.machine.pci.release_vfio(pf.vfs[vf.index])

    def give_vf_mac(self, placement: Placement, nic: str, *, own: bool = True) -> bool:
        """Give the VF of a guest's NIC the guest's address, or (not ``own``) none. False for a NIC
        that is no VF."""
        for vf in placement.vfs:
            if vf.nic == nic:
                self._set_vf_mac(vf, vf.mac if own else NO_MAC)
                return True
        return False

    def _set_vf_mac(self, vf: VfPlan, mac: str) -> None:
        pf = self.pfs[vf.host_nic]
        self.machine.links.set_vf_mac(pf.ifname, vf.index, mac)
        event = "vf-mac-cleared" if mac == NO_MAC else "vf-mac-set"
        self.note(event, pf.vfs[vf.index], mac=vf.mac)

    def port_of(self, placement: Placement, nic: str) -> str:
        """The bridge port behind which a guest's NIC is: its tap, or the PF of its VF."""
        for tap in placement.taps:
            if tap.nic == nic:
                return tap.ifname
        return next(self.pfs[vf.host_nic].ifname for vf in placement.vfs if vf.nic == nic)

    def _make_tap(self, tap: TapPlan) -> None:
        links = self.machine.links
        links.create_tap(tap.ifname, queues=tap.queues)
        links.set(tap.ifname, mtu=tap.mtu, master=self.bridge_ifname(tap.bridge), up=True)
