"""Rules about guests: their host, the keys of each NIC model, root ports, VFs.

Failover pairs have rules of their own (``rules_failover``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.document import Path, one_of, suggestion
from harness.topology.finding import Finding, unknown
from harness.topology.model import (
    MACHINE_BUSES,
    Guest,
    GuestNic,
    GuestNicModel,
    Host,
    HostKind,
    Topology,
)
from harness.topology.rules_hosts import is_pcie
from harness.topology.vfs import parse_vf, vf_indices

_VERSIONED = re.compile(r"-[0-9]+\.[0-9]+$")
_VIRTIO_ONLY = ("mtu", "vhost", "queues")


def nics(topology: Topology) -> Iterator[tuple[Path, str, Guest, str, GuestNic]]:
    """Every guest NIC: its path, guest's name, guest, NIC's name, NIC."""
    for guest_name, guest in topology.guests.items():
        for name, nic in guest.nics.items():
            yield ("guests", guest_name, "nics", name), guest_name, guest, name, nic


def _host(topology: Topology) -> Iterator[Finding]:
    for name, guest in topology.guests.items():
        if guest.host not in topology.hosts:
            yield unknown(
                ("guests", name, "host"),
                f"'{guest.host}' is not a host of this topology",
                guest.host,
                topology.hosts,
                ("hosts",),
            )


def _machine(topology: Topology) -> Iterator[Finding]:
    for name, guest in topology.guests.items():
        if (guest.nics or guest.root_ports) and not is_pcie(guest.machine):
            yield Finding(
                ("guests", name, "machine"),
                f"'{guest.machine}' has no PCIe root ports, and each NIC sits on one; "
                "wanted 'q35' or a version of it, as in 'pc-q35-9.2'",
                "QEMU: failover primary device must be on PCIExpress bus",
            )


def _qemu(topology: Topology) -> Iterator[Finding]:
    """Where the hosts have different QEMUs, each is named, and so is the machine type."""
    for name, guest in topology.guests.items():
        if isinstance(guest.qemu, str):
            continue
        path: Path = ("guests", name, "qemu")
        for host in guest.qemu:
            if host not in topology.hosts:
                yield unknown(
                    (*path, host),
                    f"'{host}' is not a host of this topology",
                    host,
                    topology.hosts,
                    ("hosts",),
                )
        missing = [host for host in topology.hosts if host not in guest.qemu]
        if missing:
            yield Finding(
                path,
                f"names no QEMU for host {one_of(missing)}",
                "give one to every host; the guest may migrate there",
                relies_on=(("hosts",),),
                at_key=True,
            )
        if len(set(guest.qemu.values())) > 1 and not _VERSIONED.search(guest.machine):
            yield Finding(
                ("guests", name, "machine"),
                f"'{guest.machine}' is another machine to each QEMU, and guest '{name}' has "
                "several of them",
                "name a version that all of them know, as in 'pc-q35-9.2'",
                relies_on=(path,),
            )


def _bridge(topology: Topology) -> Iterator[Finding]:
    for path, _, guest, _, nic in nics(topology):
        if nic.model is GuestNicModel.RNG:
            continue
        if nic.model is GuestNicModel.VFIO:
            if nic.bridge is not None:
                yield Finding(
                    (*path, "bridge"),
                    "vfio-pci has no 'bridge': its frames leave through the VF",
                    at_key=True,
                )
            continue
        host = topology.hosts.get(guest.host)
        if nic.bridge is None:
            known = host.bridges if host else {}
            yield Finding(
                path,
                f"a NIC of model '{nic.model}' needs the 'bridge' that its tap joins",
                f"host '{guest.host}' has {', '.join(known)}" if known else "",
                relies_on=((*path, "bridge"),),
                at_key=True,
            )
        elif host is not None and nic.bridge not in host.bridges:
            yield unknown(
                (*path, "bridge"),
                f"'{nic.bridge}' is not a bridge of host '{guest.host}'",
                nic.bridge,
                host.bridges,
                ("hosts", guest.host, "bridges"),
            )


def _virtio_keys(topology: Topology) -> Iterator[Finding]:
    for path, _, _, _, nic in nics(topology):
        for key in _VIRTIO_ONLY:
            given = key in nic.model_fields_set and getattr(nic, key) is not None
            if given and nic.model is not GuestNicModel.VIRTIO:
                yield Finding(
                    (*path, key),
                    f"'{key}' is for virtio-net-pci; this NIC is '{nic.model}'",
                    at_key=True,
                )


def _root_ports(topology: Topology) -> Iterator[Finding]:
    for guest_name, guest in topology.guests.items():
        slots: dict[int, str] = {}
        for name, port in guest.root_ports.items():
            path: Path = ("guests", guest_name, "root_ports", name)
            if name in guest.nics:
                yield Finding(
                    path,
                    f"a NIC of guest '{guest_name}' has the id '{name}' too; "
                    "QEMU takes each id once",
                    at_key=True,
                )
            if port.slot is None:
                continue
            if port.slot in slots:
                yield Finding(
                    (*path, "slot"),
                    f"root port '{slots[port.slot]}' has slot {port.slot} already",
                    "leave 'slot' out and it is derived",
                )
            slots.setdefault(port.slot, name)


def _buses(topology: Topology) -> Iterator[Finding]:
    for path, guest_name, guest, _, nic in nics(topology):
        if nic.bus is None or nic.bus in guest.root_ports:
            continue
        if nic.bus in MACHINE_BUSES:
            if not guest.unchecked:
                yield Finding(
                    (*path, "bus"),
                    f"'{nic.bus}' is the machine's own bus; each NIC sits on a root port",
                    "leave 'bus' out and the NIC gets one; or write `unchecked: on` at the guest",
                )
            continue
        yield unknown(
            (*path, "bus"),
            f"'{nic.bus}' is not a root port of guest '{guest_name}'",
            nic.bus,
            guest.root_ports,
            ("guests", guest_name, "root_ports"),
        )


def _one_on_a_bus(topology: Topology) -> Iterator[Finding]:
    holder: dict[tuple[str, str], str] = {}
    for path, guest_name, guest, name, nic in nics(topology):
        if nic.bus is None or nic.bus in MACHINE_BUSES:
            continue
        other = holder.setdefault((guest_name, nic.bus), name)
        if other == name:
            continue
        if name == guest.nics[other].failover_pair_id or other == nic.failover_pair_id:
            yield Finding(
                (*path, "bus"),
                f"'{other}' is on root port '{nic.bus}' already; standby and primary need a "
                "PCIe slot each",
                "the primary is unplugged, the standby stays",
            )
        else:
            yield Finding(
                (*path, "bus"),
                f"'{other}' is on root port '{nic.bus}' already; a root port holds one device",
                "leave 'bus' out and the NIC gets a root port of its own",
            )


def _vf_given(topology: Topology) -> Iterator[Finding]:
    for path, _, guest, _, nic in nics(topology):
        if nic.model is not GuestNicModel.VFIO:
            if nic.vf is not None:
                yield Finding(
                    (*path, "vf"), f"'vf' is for vfio-pci; this NIC is '{nic.model}'", at_key=True
                )
        elif nic.vf is None:
            yield Finding(
                path,
                "vfio-pci needs a 'vf': the host NIC whose virtual function it gets",
                "as in vf: pf",
                relies_on=((*path, "vf"),),
                at_key=True,
            )
        elif parse_vf(nic.vf) is None:
            yield Finding(
                (*path, "vf"),
                f"found '{nic.vf}'; a VF is a host NIC, or a host NIC and an index: pf, pf/1",
            )
        elif (host := topology.hosts.get(guest.host)) is not None:
            yield from _vf_there((*path, "vf"), nic.vf, guest.host, host)


def _vf_there(path: Path, vf: str, host_name: str, host: Host) -> Iterator[Finding]:
    """The host NIC that ``vf`` names is there, and has VFs."""
    pf = vf.partition("/")[0]
    where: Path = ("hosts", host_name, "nics")
    if host.kind is HostKind.NETNS:
        yield Finding(
            path,
            f"host '{host_name}' is of kind netns and has no virtual functions",
            "vfio-pci needs a host of kind vm or ssh; on netns hosts an e1000e can be the primary",
            relies_on=(("hosts", host_name, "kind"),),
        )
    elif pf not in host.nics:
        with_vfs = [name for name, nic in host.nics.items() if nic.vfs]
        yield Finding(
            path,
            f"'{pf}' is not a NIC of host '{host_name}'",
            suggestion(pf, with_vfs or host.nics, none="there are none"),
            relies_on=((*where, pf),),
        )
    elif not host.nics[pf].vfs:
        yield Finding(
            path,
            f"NIC '{pf}' of host '{host_name}' has no virtual functions",
            "write `vfs: 2` at that NIC",
            relies_on=((*where, pf, "vfs"),),
        )


def _vf_shared(topology: Topology) -> Iterator[Finding]:
    indices = vf_indices(topology)
    user: dict[tuple[str, str, int], str] = {}
    for path, guest_name, guest, name, nic in nics(topology):
        host = topology.hosts.get(guest.host)
        if (guest_name, name) not in indices or host is None:
            continue
        pf, index = indices[guest_name, name]
        count = host.nics[pf].vfs if pf in host.nics else 0
        if not count:
            continue  # said by the rule before
        relies_on: tuple[Path, ...] = (("hosts", guest.host, "nics", pf, "vfs"),)
        at: Path = (*path, "vf")
        there = f"NIC '{pf}' of host '{guest.host}'"
        numbers = "VF 0 only" if count == 1 else f"VFs 0 to {count - 1}"
        if index >= count and "/" in str(nic.vf):
            yield Finding(at, f"{there} has {numbers}; found {index}", relies_on=relies_on)
        elif index >= count:
            yield Finding(
                at,
                f"{there} has {numbers}, and other guest NICs have them",
                "raise its 'vfs'; a guest's VF number is the same on every host, "
                "so that it can migrate",
                relies_on=relies_on,
            )
        key = (guest.host, pf, index)
        if key in user:
            yield Finding(at, f"{user[key]} has VF {index} of {there} already")
        user.setdefault(key, f"'{name}' of guest '{guest_name}'")


RULES = (
    _host,
    _qemu,
    _bridge,
    _virtio_keys,
    _root_ports,
    _buses,
    _vf_given,
    _vf_shared,
)

RESTRICTIONS = (_machine, _one_on_a_bus)
"""What QEMU would say itself; a guest that is `unchecked` is left to it."""
