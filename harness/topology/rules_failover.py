"""Rules about failover pairs: what makes a standby, what can be its primary.

A standby without a primary is a legal pair: the primary may come later. The quoted answers
are QEMU's (hw/pci/pci.c, pci_qdev_realize) and Linux's (drivers/net/net_failover.c).
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.document import Path
from harness.topology.finding import Finding, unknown
from harness.topology.model import GuestNicModel, Topology
from harness.topology.rules_guests import nics

_NO_PRIMARY = {
    GuestNicModel.IGB: "an igb is a device of several functions, and QEMU answers: "
    "failover: primary device must be in its own PCI slot",
    GuestNicModel.RTL8139: "an rtl8139 is a conventional PCI device, and on its bus QEMU "
    "answers: failover primary device must be on PCIExpress bus",
    GuestNicModel.RNG: "an entropy source is no NIC, and QEMU answers: failover primary device is "
    "not an Ethernet device",
    GuestNicModel.VIRTIO: "QEMU takes virtio-net-pci, but Linux's net_failover takes a PCI "
    "netdev only and never enslaves it",
}


def _standby(topology: Topology) -> Iterator[Finding]:
    for path, _, _, _, nic in nics(topology):
        if not nic.failover:
            continue
        if nic.model is not GuestNicModel.VIRTIO:
            yield Finding(
                (*path, "failover"),
                f"'failover' makes a standby of a virtio-net-pci; this NIC is '{nic.model}'",
                at_key=True,
            )
        elif nic.failover_pair_id is not None:
            yield Finding(
                (*path, "failover_pair_id"),
                "a NIC is a standby (failover: on) or a primary (failover_pair_id), not both",
                at_key=True,
            )
        if nic.mac is None:
            yield Finding(
                path,
                "a standby needs a 'mac': the guest pairs its netdevs by equal MAC addresses",
                'as in mac: "52:54:00:6f:55:cc"',
                relies_on=((*path, "mac"),),
                at_key=True,
            )


def _pair_id(topology: Topology) -> Iterator[Finding]:
    for path, guest_name, guest, name, nic in nics(topology):
        wanted = nic.failover_pair_id
        if wanted is None:
            continue
        at: Path = (*path, "failover_pair_id")
        there: Path = ("guests", guest_name, "nics")
        if wanted == name:
            yield Finding(at, "a NIC cannot be the primary of itself")
        elif wanted not in guest.nics:
            others = [n for n, other in guest.nics.items() if other.failover]
            yield unknown(
                at,
                f"'{wanted}' is not a NIC of guest '{guest_name}'",
                wanted,
                others or [n for n in guest.nics if n != name],
                there,
            )
        elif not guest.nics[wanted].failover:
            yield Finding(
                at,
                f"'{wanted}' is not a standby",
                f"write `failover: on` at '{wanted}', a virtio-net-pci",
                relies_on=((*there, wanted, "failover"), (*there, wanted, "model")),
            )


def _one_primary(topology: Topology) -> Iterator[Finding]:
    first: dict[tuple[str, str], str] = {}
    for path, guest_name, guest, name, nic in nics(topology):
        wanted = nic.failover_pair_id
        if wanted is None or wanted not in guest.nics:
            continue
        other = first.setdefault((guest_name, wanted), name)
        if other != name:
            yield Finding(
                (*path, "failover_pair_id"),
                f"'{other}' is the primary of '{wanted}' already; a standby has one",
            )


def _equal_macs(topology: Topology) -> Iterator[Finding]:
    for path, _, guest, _, nic in nics(topology):
        standby = guest.nics.get(nic.failover_pair_id or "")
        if standby is None or standby is nic or None in (nic.mac, standby.mac):
            continue
        if nic.mac != standby.mac:
            yield Finding(
                (*path, "mac"),
                f"found {nic.mac}, wanted {standby.mac}, "
                f"the MAC address of its standby '{nic.failover_pair_id}'",
                "leave it out and the primary takes its standby's",
            )


def _primary_model(topology: Topology) -> Iterator[Finding]:
    for path, _, _, _, nic in nics(topology):
        if nic.failover_pair_id is not None and nic.model in _NO_PRIMARY and not nic.failover:
            yield Finding(
                (*path, "model"),
                f"found '{nic.model}', wanted 'vfio-pci' or 'e1000e' for a primary",
                _NO_PRIMARY[nic.model],
                relies_on=((*path, "failover"),),
            )


def _hotplug(topology: Topology) -> Iterator[Finding]:
    for path, guest_name, guest, _, nic in nics(topology):
        if nic.failover_pair_id is None or nic.bus is None:
            continue
        port = guest.root_ports.get(nic.bus)
        if port is not None and not port.hotplug:
            yield Finding(
                (*path, "bus"),
                f"root port '{nic.bus}' has hotplug: off, and a primary is unplugged "
                "for the migration",
                relies_on=(("guests", guest_name, "root_ports", nic.bus, "hotplug"),),
            )


def _address(topology: Topology) -> Iterator[Finding]:
    for path, _, _, _, nic in nics(topology):
        if nic.failover_pair_id is not None and nic.address:
            yield Finding(
                (*path, "address"),
                "a primary has no address: it is a slave of the failover netdev",
                f"give the address to its standby '{nic.failover_pair_id}'",
                at_key=True,
            )


def _no_nic(topology: Topology) -> Iterator[Finding]:
    for path, _, _, _, nic in nics(topology):
        if nic.model is GuestNicModel.RNG and nic.failover_pair_id is None:
            yield Finding((*path, "model"), f"'{nic.model}' is no NIC")


RULES = (
    _standby,
    _pair_id,
    _one_primary,
    _equal_macs,
    _primary_model,
    _hotplug,
    _address,
    _no_nic,
)
