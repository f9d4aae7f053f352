"""Topology in, plan out. Pure: no process, no network, no sysfs, no clock.

The topology has passed ``harness.topology``'s checks; what remains here is derivation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.observe import LAB
from harness.plan.model import (
    BridgePlan,
    GuestPlan,
    HostPlan,
    ImageRef,
    LinkPlan,
    NamespacePlan,
    NetworkPlan,
    PairPlan,
    Placement,
    Plan,
    Step,
    TapPlan,
    VfPlan,
)
from harness.plan.names import derived_mac, free_addresses, ifname, neutral_mac
from harness.plan.needs import needs_of
from harness.plan.qemu import guest_command, guest_device, guest_images, host_command, host_images
from harness.topology.model import (
    Accelerator,
    FilterHandoff,
    Guest,
    GuestNicModel,
    Host,
    HostKind,
    HostNic,
    NamespaceNic,
    Topology,
)
from harness.topology.vfs import vf_indices

_QEMUS_MACS = "52:54:00:12:34:"
"""QEMU gives 52:54:00:12:34:56 to the first NIC that is not told one, and so on."""


def make_plan(topology: Topology) -> Plan:
    """The plan of ``topology``; the same topology always gives the same plan."""
    return _Planner(topology).plan()


class _Planner:
    """Holds what the parts of one plan share: addresses taken, VF numbers given."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.taken_macs = _given_macs(topology)
        self.management = next((n for n, net in topology.networks.items() if net.management), None)
        self.addresses = self._management_addresses()
        self.vf_index = vf_indices(topology)

    def plan(self) -> Plan:
        networks = tuple(self._network(name) for name in self.topology.networks)
        namespaces = tuple(
            NamespacePlan(name, tuple(self._namespace_links(name)))
            for name in self.topology.namespaces
        )
        hosts = {name: self._host(name, host) for name, host in self.topology.hosts.items()}
        guests = {name: self._guest(name, guest) for name, guest in self.topology.guests.items()}
        return Plan(
            networks=networks,
            namespaces=namespaces,
            hosts=hosts,
            guests=guests,
            filter_handoff=self.topology.filter_handoff is FilterHandoff.AUTO,
            steps=tuple(_steps(self.topology)),
            needs=needs_of(self.topology, guests),
        )

    def _carried(self, host: str) -> tuple[ImageRef, ...]:
        """What every guest needs on ``host``: any of them may migrate there."""
        guests = self.topology.guests.values()
        return tuple(dict.fromkeys(ref for guest in guests for ref in guest_images(guest, host)))

    def _mac(self, *parts: str) -> str:
        mac = derived_mac(self.taken_macs, *parts)
        self.taken_macs.add(mac)
        return mac

    def _management_addresses(self) -> dict[str, str]:
        """Machine (``lab`` or a host) -> its address on the management network."""
        if self.management is None:
            return {}
        subnet = self.topology.networks[self.management].subnet
        if subnet is None:
            return {}
        nics: list[HostNic | NamespaceNic] = []
        for host in self.topology.hosts.values():
            nics += host.nics.values()
        for namespace in self.topology.namespaces.values():
            nics += namespace.nics.values()
        taken = [a for nic in nics if nic.network == self.management for a in nic.address]
        free = free_addresses(subnet, taken)
        addresses = {LAB: f"{next(free)}/{subnet.prefixlen}"}
        for name, host in self.topology.hosts.items():
            for nic in host.nics.values():
                if nic.network == self.management:
                    own = nic.address[0] if nic.address else None
                    addresses[name] = str(own or f"{next(free)}/{subnet.prefixlen}")
        return addresses

    def _network(self, name: str) -> NetworkPlan:
        network = self.topology.networks[name]
        return NetworkPlan(
            name=name,
            bridge=ifname("net", name),
            mtu=network.mtu,
            impair=network.impair,
            address=self.addresses.get(LAB) if name == self.management else None,
        )

    def _namespace_links(self, name: str) -> list[LinkPlan]:
        return [
            LinkPlan(
                machine=name,
                nic=nic_name,
                network=nic.network,
                port=ifname("p", name, nic_name),
                ifname=nic_name,
                mac=nic.mac or self._mac("namespace", name, nic_name),
                addresses=tuple(str(a) for a in nic.address),
                mtu=self.topology.networks[nic.network].mtu,
            )
            for nic_name, nic in self.topology.namespaces[name].nics.items()
        ]

    def _host(self, name: str, host: Host) -> HostPlan:
        links: list[LinkPlan] = []
        for nic_name, nic in host.nics.items():
            if nic.network is None:
                continue
            addresses = [str(a) for a in nic.address]
            if nic.network == self.management and not addresses and name in self.addresses:
                addresses = [self.addresses[name]]
            links.append(
                LinkPlan(
                    machine=name,
                    nic=nic_name,
                    network=nic.network,
                    port=ifname("p", name, nic_name),
                    ifname=nic_name if host.kind is HostKind.NETNS else None,
                    mac=nic.mac or self._mac("host", name, nic_name),
                    addresses=tuple(addresses),
                    mtu=self.topology.networks[nic.network].mtu,
                    boot_mac=neutral_mac(len(links) + 1) if host.kind is HostKind.VM else None,
                )
            )
        boot = {}
        carried = () if host.kind is HostKind.NETNS else self._carried(name)
        if host.kind is HostKind.VM:
            boot = {
                accelerator: host_command(host, links, carried, accelerator=accelerator)
                for accelerator in _choices(host.accelerator)
            }
        address = self.addresses.get(name, "").partition("/")[0] or None
        if host.ssh is not None:
            address = host.ssh.migration_address or host.ssh.address
        return HostPlan(
            name=name,
            kind=host.kind.value,
            links=tuple(links),
            nics=dict(host.nics),
            bridges=tuple(
                BridgePlan(bridge, tuple(ports)) for bridge, ports in host.bridges.items()
            ),
            accelerator=host.accelerator,
            boot=boot,
            boot_images=host_images(host) if boot else (),
            carried=carried,
            ssh=host.ssh,
            management_address=address,
        )

    def _guest(self, name: str, guest: Guest) -> GuestPlan:
        macs: dict[str, str] = {}
        primaries: dict[str, str] = {}
        unset = 0
        for nic_id, nic in guest.nics.items():
            if nic.failover_pair_id is None or nic.failover_pair_id not in guest.nics:
                macs[nic_id] = nic.mac or self._mac("guest", name, nic_id)
                if nic.mac is None and guest.unchecked:
                    macs[nic_id] = f"{_QEMUS_MACS}{0x56 + unset:02x}"
                    unset += 1
        for nic_id, nic in guest.nics.items():
            if nic.failover_pair_id is not None:
                primaries.setdefault(nic.failover_pair_id, nic_id)
                if nic_id not in macs:
                    macs[nic_id] = nic.mac or macs[nic.failover_pair_id]
        pairs = tuple(
            PairPlan(nic_id, primaries.get(nic_id), macs[nic_id])
            for nic_id, nic in guest.nics.items()
            if nic.failover
        )
        return GuestPlan(
            name=name,
            home=guest.host,
            nics=dict(guest.nics),
            macs=macs,
            pairs=pairs,
            placements={host: self._place(name, guest, macs, host) for host in self.topology.hosts},
            accelerator=guest.accelerator,
            started=guest.started,
            images={host: guest_images(guest, host) for host in self.topology.hosts},
        )

    def _place(self, name: str, guest: Guest, macs: Mapping[str, str], host: str) -> Placement:
        there = self.topology.hosts[host]
        taps, vfs = [], []
        for nic_id, nic in guest.nics.items():
            if nic.model is GuestNicModel.VFIO:
                pf, index = self.vf_index[name, nic_id]
                if pf not in there.nics or there.nics[pf].vfs <= index:
                    return Placement(name, host, obstacle=f"no VF {index} of a NIC '{pf}' there")
                vfs.append(VfPlan(nic_id, pf, index, macs[nic_id], nic.failover_pair_id))
            elif nic.bridge is not None:
                if nic.bridge not in there.bridges:
                    return Placement(name, host, obstacle=f"no bridge '{nic.bridge}' there")
                taps.append(
                    TapPlan(
                        nic=nic_id,
                        ifname=ifname("t", name, nic_id),
                        bridge=nic.bridge,
                        mac=macs[nic_id],
                        queues=nic.queues,
                        mtu=nic.mtu or 1500,
                        primary=nic.failover_pair_id is not None,
                    )
                )
        tap_of = {tap.nic: tap for tap in taps}
        devices = {
            nic_id: guest_device(nic_id, nic, guest, macs[nic_id], tap_of.get(nic_id))
            for nic_id, nic in guest.nics.items()
        }
        start, incoming, seed = (
            {
                accelerator: guest_command(
                    name, guest, host, macs, devices,
                    accelerator=accelerator, incoming=waits, primaries=primaries,
                )
                for accelerator in _choices(guest.accelerator)
            }
            for waits, primaries in ((False, True), (True, True), (False, False))
        )  # fmt: skip
        if not _plugged_by_failover(guest, vfs):
            seed = {}
        return Placement(
            name, host, tuple(taps), tuple(vfs), start, incoming, seed, devices=devices
        )


def _plugged_by_failover(guest: Guest, vfs: Sequence[VfPlan]) -> bool:
    """Whether what a saved guest is without is plugged by QEMU's failover after the load: not
    by a management layer, nor in pairs that nobody has checked; and every VF is a primary."""
    checked = guest.orchestration == "qemu" and not guest.unchecked
    return checked and all(vf.pair is not None for vf in vfs)


def _choices(accelerator: Accelerator) -> tuple[str, ...]:
    return ("kvm", "tcg") if accelerator is Accelerator.AUTO else (accelerator.value,)


def _given_macs(topology: Topology) -> set[str]:
    macs = {nic.mac for ns in topology.namespaces.values() for nic in ns.nics.values()}
    macs |= {nic.mac for host in topology.hosts.values() for nic in host.nics.values()}
    macs |= {nic.mac for guest in topology.guests.values() for nic in guest.nics.values()}
    return {mac for mac in macs if mac}


def _steps(topology: Topology) -> list[Step]:
    """The order of things: networks, then what is plugged into them, then guests."""
    steps = [Step(f"network {name}") for name in topology.networks]
    for name, namespace in topology.namespaces.items():
        nets = dict.fromkeys(f"network {nic.network}" for nic in namespace.nics.values())
        steps.append(Step(f"namespace {name}", tuple(nets)))
    for name, host in topology.hosts.items():
        nets = dict.fromkeys(
            f"network {nic.network}" for nic in host.nics.values() if nic.network is not None
        )
        needs = tuple(nets)
        if host.kind is HostKind.VM:
            steps.append(Step(f"boot {name}", needs))
            needs = (f"boot {name}",)
        steps.append(Step(f"reach {name}", needs))
        steps.append(Step(f"wire {name}", (f"reach {name}",)))
        if any(guest.accelerator is Accelerator.AUTO for guest in topology.guests.values()):
            steps.append(Step(f"accelerator {name}", (f"reach {name}",)))
    for name, guest in topology.guests.items():
        if not guest.started:
            continue
        # What a guest runs with depends on every host that it may migrate to.
        auto = guest.accelerator is Accelerator.AUTO
        tried = [f"accelerator {host}" for host in topology.hosts] if auto else []
        needs = (f"wire {guest.host}", *tried)
        steps.append(Step(f"start {name}", needs))
        steps.append(Step(f"ready {name}", (f"start {name}",)))
    return steps
