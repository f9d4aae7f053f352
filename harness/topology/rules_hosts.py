"""Rules about hosts and namespaces: NICs, bridges, and which keys belong to which kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from harness.document import Path, one_of
from harness.observe import LAB
from harness.topology.finding import Finding, unknown
from harness.topology.model import GuestNicModel, Host, HostKind, HostNicModel, Topology

_VM_ONLY = (
    "memory",
    "cpus",
    "machine",
    "cpu",
    "accelerator",
    "iommu",
    "kernel_args",
    "image",
    "kernel",
    "qemu",
)
_NIC_MODELS = {
    HostKind.NETNS: (HostNicModel.VETH,),
    HostKind.VM: (HostNicModel.IGB, HostNicModel.E1000E, HostNicModel.VIRTIO),
    HostKind.SSH: tuple(HostNicModel),
}
IGB_VFS = 7
_IFNAMSIZ = 15
# Files of /proc/sys/net/ipv4/conf that are no interfaces, and the loopback.
_RESERVED = ("lo", "all", "default")


def interface_name(path: Path, name: str, what: str) -> Iterator[Finding]:
    """A key that becomes the name of a kernel interface."""
    if len(name) > _IFNAMSIZ:
        yield Finding(
            path,
            f"'{name}' names {what} and has {len(name)} characters; the kernel takes {_IFNAMSIZ}",
            at_key=True,
        )
    elif name in _RESERVED:
        yield Finding(
            path, f"'{name}' names {what}, but means something else to the kernel", at_key=True
        )


def _reserved_name(topology: Topology) -> Iterator[Finding]:
    parts: dict[str, Collection[str]] = {
        "namespaces": topology.namespaces,
        "hosts": topology.hosts,
        "guests": topology.guests,
    }
    for part, members in parts.items():
        if LAB in members:
            yield Finding(
                (part, LAB),
                f"'{LAB}' is the lab itself, in facts and in `harness exec`",
                "give it another name",
                at_key=True,
            )


def _namespaces(topology: Topology) -> Iterator[Finding]:
    for name, namespace in topology.namespaces.items():
        for key, nic in namespace.nics.items():
            path: Path = ("namespaces", name, "nics", key)
            yield from interface_name(path, key, "a network interface")
            yield from _network(path, nic.network, topology)


def _network(path: Path, network: str | None, topology: Topology) -> Iterator[Finding]:
    if network is not None and network not in topology.networks:
        yield unknown(
            (*path, "network"),
            f"'{network}' is not a network of this topology",
            network,
            topology.networks,
            ("networks",),
        )


def _keys_of_kind(topology: Topology) -> Iterator[Finding]:
    for name, host in topology.hosts.items():
        path: Path = ("hosts", name)
        kind = host.kind.value
        if host.kind is HostKind.SSH:
            if host.ssh is None:
                yield Finding(
                    path,
                    "a host of kind ssh needs 'ssh'",
                    "ssh: {address: ..., key: ...}",
                    relies_on=((*path, "ssh"),),
                    at_key=True,
                )
        elif host.ssh is not None:
            yield Finding(
                (*path, "ssh"), f"'ssh' is for hosts of kind ssh; this one is {kind}", at_key=True
            )
        if host.kind is not HostKind.VM:
            for key in _VM_ONLY:
                if key in host.model_fields_set and getattr(host, key) is not None:
                    yield Finding(
                        (*path, key),
                        f"'{key}' is for hosts of kind vm; this one is {kind}",
                        at_key=True,
                    )


def _nics(topology: Topology) -> Iterator[Finding]:
    for name, host in topology.hosts.items():
        for nic_name, nic in host.nics.items():
            path: Path = ("hosts", name, "nics", nic_name)
            allowed = _NIC_MODELS[host.kind]
            if nic.model not in allowed:
                yield Finding(
                    (*path, "model"),
                    f"found '{nic.model}', wanted {one_of(allowed)} "
                    f"on a host of kind {host.kind.value}",
                )
            yield from _network(path, nic.network, topology)
            if nic.network is None and nic.model is HostNicModel.VETH:
                yield Finding(
                    path,
                    "a veth needs a 'network' for its other end",
                    relies_on=((*path, "network"),),
                    at_key=True,
                )
            yield from _ifname(path, host, nic.ifname)
            if host.kind is not HostKind.SSH:
                yield from interface_name(path, nic_name, "a network interface")
                yield from _vfs(path, nic.model, nic.vfs)


def _ifname(path: Path, host: Host, ifname: str | None) -> Iterator[Finding]:
    if host.kind is HostKind.SSH and ifname is None:
        yield Finding(
            path,
            "a NIC of an ssh host needs 'ifname': the netdev that is there",
            relies_on=((*path, "ifname"),),
            at_key=True,
        )
    if host.kind is not HostKind.SSH and ifname is not None:
        yield Finding(
            (*path, "ifname"),
            f"'ifname' is for hosts of kind ssh; this one is {host.kind.value}, "
            "and the lab makes its NICs",
            at_key=True,
        )


def _vfs(path: Path, model: HostNicModel, vfs: int) -> Iterator[Finding]:
    if vfs and model is not HostNicModel.IGB:
        yield Finding(
            (*path, "vfs"),
            f"'{model}' has no virtual functions; of the emulated NICs only 'igb' has",
            at_key=True,
        )
    elif vfs > IGB_VFS:
        yield Finding((*path, "vfs"), f"found {vfs}, wanted at most {IGB_VFS} for 'igb'")


def _bridges(topology: Topology) -> Iterator[Finding]:
    for name, host in topology.hosts.items():
        owner: dict[str, str] = {}
        for bridge, ports in host.bridges.items():
            path: Path = ("hosts", name, "bridges", bridge)
            yield from interface_name(path, bridge, "a bridge")
            if bridge in host.nics:
                yield Finding(
                    path, f"a NIC of host '{name}' has the name '{bridge}' too", at_key=True
                )
            for number, port in enumerate(ports):
                at: Path = (*path, number)
                if port not in host.nics:
                    yield unknown(
                        at,
                        f"'{port}' is not a NIC of host '{name}'",
                        port,
                        host.nics,
                        ("hosts", name, "nics"),
                    )
                elif port in owner:
                    where = "this bridge" if owner[port] == bridge else f"bridge '{owner[port]}'"
                    yield Finding(
                        at, f"'{port}' is a port of {where} already", "a NIC is in one bridge"
                    )
                owner.setdefault(port, bridge)


def _iommu(topology: Topology) -> Iterator[Finding]:
    for name, host in topology.hosts.items():
        path: Path = ("hosts", name)
        if host.kind is not HostKind.VM:
            continue
        if host.iommu is None:
            users = [
                guest_name
                for guest_name, guest in topology.guests.items()
                if guest.host == name
                and any(nic.model is GuestNicModel.VFIO for nic in guest.nics.values())
            ]
            if users:
                yield Finding(
                    path,
                    f"vfio-pci of guest '{users[0]}' needs an IOMMU here",
                    "write `iommu: intel`",
                    relies_on=((*path, "iommu"),),
                    at_key=True,
                )
        elif not is_pcie(host.machine):
            yield Finding(
                (*path, "machine"), f"'{host.machine}' has no emulated VT-d; wanted 'q35'"
            )


def is_pcie(machine: str) -> bool:
    """Whether a QEMU machine type has PCIe root ports. ``q35`` and its versions do."""
    return machine == "q35" or machine.startswith("pc-q35-")


RULES = (_reserved_name, _namespaces, _keys_of_kind, _nics, _bridges, _iommu)
