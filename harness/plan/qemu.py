"""QEMU argument vectors, from a topology's words alone.

Sources: QEMU's documentation of virtio-net standby (``failover=on``,
``failover_pair_id``), and what was learnt by running: each is a comment where it matters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from harness.plan.model import Command, DevicePlan, ImageRef, LinkPlan, TapPlan
from harness.topology.model import (
    MACHINE_BUSES,
    Guest,
    GuestNic,
    GuestNicModel,
    Host,
    HostNicModel,
)

CHANNELS = {
    "ga": "org.qemu.guest_agent.0",
    "probe": "org.failover-harness.probe.0",
}
"""Guest channels: socket name in ``@run@`` -> virtio-serial port name in the guest."""

IDENTITY = "identity"
"""Socket name in ``@run@`` of the channel by which a host VM is told who it is."""
DROP = "drop"
"""Serial number of the disk by which a host VM gets what it is not started with, and the name
of its file in ``@run@`` (with ``.raw``)."""
_IDENTITY_PORT = "org.failover-harness.identity.0"


def guest_images(guest: Guest, host: str) -> tuple[ImageRef, ImageRef, ImageRef]:
    """QEMU, kernel and initramfs of a guest on ``host``."""
    return (
        ImageRef("qemu", guest.qemu_on(host)),
        ImageRef("kernel", guest.kernel),
        ImageRef("guest", guest.image, guest.kernel),
    )


def host_images(host: Host) -> tuple[ImageRef, ImageRef]:
    """Kernel and root file system of a host VM."""
    return ImageRef("kernel", host.kernel), ImageRef("host", host.image, host.kernel)


def _machine(machine: str, accelerator: str, cpu: str, cpus: int, memory: int) -> list[str]:
    return [
        "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", machine,
        # thread=multi: one thread a CPU; QEMU's default, said so that it is not a guess.
        "-accel", "tcg,thread=multi" if accelerator == "tcg" else accelerator,
        "-cpu", cpu,
        "-smp", str(cpus),
        "-m", f"{memory >> 20}M",
    ]  # fmt: skip


def _socket_chardev(name: str, extra: str = "") -> str:
    return f"socket,id={name},path=@run@/{name}.sock,server=on,wait=off{extra}"


def _control() -> list[str]:
    return [
        "-chardev", _socket_chardev("qmp"),
        "-mon", "chardev=qmp,mode=control",
        "-chardev", _socket_chardev("console", ",logfile=@run@/console.log"),
        "-serial", "chardev:console",
    ]  # fmt: skip


def guest_command(
    name: str,
    guest: Guest,
    host: str,
    macs: Mapping[str, str],
    devices: Mapping[str, DevicePlan],
    *,
    accelerator: str,
    incoming: bool = False,
    primaries: bool = True,
) -> Command:
    """The command of ``guest`` on ``host``, with those of its ``devices`` that it starts with."""
    # A migration needs the same CPU on both sides: `host` only where KVM makes it exact.
    cpu = guest.cpu or ("host" if accelerator == "kvm" else "qemu64")
    args = ["-name", name]
    args += _machine(guest.machine, accelerator, cpu, guest.cpus, guest.memory)
    if not guest.acpi_hotplug:
        args += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
    args += _control()
    kernel, initramfs = guest_images(guest, host)[1:]
    args += ["-kernel", f"@{kernel.token}@/vmlinux"]
    args += ["-initrd", f"@{initramfs.token}@/initramfs"]
    args += ["-append", " ".join(_guest_kernel_args(name, guest, macs))]
    args += ["-device", "virtio-serial-pci,id=channels"]
    for channel, port in CHANNELS.items():
        args += ["-chardev", _socket_chardev(channel)]
        args += ["-device", f"virtserialport,chardev={channel},name={port}"]
    args += _root_ports(guest)
    for nic_id, nic in guest.nics.items():
        if nic.plugged and (primaries or nic.failover_pair_id is None):
            args += devices[nic_id].args
    if incoming:
        args += ["-incoming", "defer"]
    return Command(guest.qemu_on(host), tuple(args))


def _guest_kernel_args(name: str, guest: Guest, macs: Mapping[str, str]) -> list[str]:
    words = [
        "console=ttyS0",
        "quiet",
        # Under nested TCG the kernel's TSC calibration is off enough to be marked unstable
        # half-way through a run; saying so at once keeps the clock source constant.
        "tsc=unstable",
        "no_timer_check",
        # The measuring program keeps its schedule while drivers probe and wait busily.
        "preempt=full",
        f"lab.hostname={name}",
    ]
    for nic_id, nic in guest.nics.items():
        if nic.failover_pair_id is None:
            words += [f"lab.address={macs[nic_id]}/{address}" for address in nic.address]
    return words + list(guest.kernel_args)


def bus_of(nic_id: str, nic: GuestNic) -> str:
    """The root port a NIC sits on: its ``bus``, or one of its own."""
    return nic.bus or f"rp-{nic_id}"


def _root_ports(guest: Guest) -> list[str]:
    """One pcie-root-port per bus: hotplug needs a port of its own for each device."""
    args: list[str] = []
    given = dict(guest.root_ports)
    used = {port.slot for port in given.values() if port.slot}
    number = 0
    buses = [bus_of(n, nic) for n, nic in guest.nics.items() if nic.bus not in MACHINE_BUSES]
    for bus in dict.fromkeys([*given, *buses]):
        port = given.get(bus)
        slot = port.slot if port else None
        if slot is None:
            number += 1
            while number in used:
                number += 1
            slot = number
        properties: dict[str, str | int | bool] = {"driver": "pcie-root-port", "id": bus}
        properties |= {"chassis": slot, "slot": slot}
        if port is not None and not port.hotplug:
            properties["hotplug"] = False
        args += ["-device", _device(properties, guest)]
    return args


def guest_device(
    nic_id: str, nic: GuestNic, guest: Guest, mac: str, tap: TapPlan | None
) -> DevicePlan:
    """A NIC of the guest, for the command line and for QMP."""
    netdev: dict[str, str | int | bool] = {}
    device: dict[str, str | int | bool] = {"driver": nic.model.value, "id": nic_id}
    bus = bus_of(nic_id, nic)
    if nic.model is GuestNicModel.VFIO:
        device |= {"host": f"@vf:{nic_id}@", "bus": bus}
    elif tap is None:
        device |= {"bus": bus}
    else:
        netdev = {"type": "tap", "id": f"tap-{nic_id}", "ifname": tap.ifname}
        netdev |= {"script": "no", "downscript": "no"}
        if nic.vhost:
            netdev["vhost"] = True
        if nic.queues > 1:
            netdev["queues"] = nic.queues
        device["netdev"] = f"tap-{nic_id}"
        # A guest that is unchecked may be about a NIC without an address.
        if nic.mac is not None or not guest.unchecked:
            device["mac"] = mac
        # romfile= (empty): a NIC with an option ROM adds a RAM block that the destination,
        # where the primary is not yet plugged, does not have ("Unknown ramblock").
        device |= {"bus": bus, "romfile": ""}
        if nic.queues > 1:
            device |= {"mq": True, "vectors": 2 * nic.queues + 2}
        if nic.mtu:
            device["host_mtu"] = nic.mtu
    if nic.failover:
        device["failover"] = True
    if nic.failover_pair_id and guest.orchestration == "qemu":
        device["failover_pair_id"] = nic.failover_pair_id
    args: list[str] = []
    if netdev:
        args += ["-netdev", ",".join(_classic(netdev, first="type"))]
    args += ["-device", _device(device, guest)]
    return DevicePlan(nic_id, netdev, device, tuple(args))


def _device(properties: Mapping[str, str | int | bool], guest: Guest) -> str:
    if guest.device_syntax == "json":
        return json.dumps(dict(properties))
    return ",".join(_classic(properties, first="driver"))


def _classic(properties: Mapping[str, str | int | bool], *, first: str) -> Iterator[str]:
    yield str(properties[first])
    for key, value in properties.items():
        if key != first:
            # A boolean is `on` or `off` there.
            said = ("off", "on")[value] if isinstance(value, bool) else value
            yield f"{key}={said}"


def host_command(
    host: Host,
    links: Sequence[LinkPlan],
    carried: Sequence[ImageRef],
    *,
    accelerator: str,
) -> Command:
    """The outer QEMU that is a ``kind: vm`` host; the same for hosts that differ in names and
    addresses only."""
    # la57=off: with five-level paging emulated, KVM inside the host refuses nested paging.
    cpu = host.cpu or ("host" if accelerator == "kvm" else "max,la57=off")
    args = ["-name", "@name@"]
    args += _machine(host.machine, accelerator, cpu, host.cpus, host.memory)
    args += _control()
    kernel, image = host_images(host)
    args += ["-kernel", f"@{kernel.token}@/vmlinux"]
    args += ["-initrd", f"@{image.token}@/initramfs"]
    words = ["console=ttyS0", "quiet", "no_timer_check"]
    if host.iommu == "intel":
        # The IOMMU has to come before the devices that it translates for.
        args += ["-device", "intel-iommu,intremap=on"]
        words.append("intel_iommu=on")
    args += ["-append", " ".join([*words, *host.kernel_args])]
    args += [
        "-device", "virtio-serial-pci,id=channels",
        "-chardev", _socket_chardev(IDENTITY),
        "-device", f"virtserialport,chardev={IDENTITY},name={_IDENTITY_PORT}",
    ]  # fmt: skip
    disks = {"root": f"@{image.token}@/root.erofs"}
    disks |= {ref.serial: f"@disk:{ref.token}@" for ref in carried}
    disks[DROP] = f"@run@/{DROP}.raw"
    for number, (serial, file) in enumerate(disks.items()):
        args += [
            "-drive", f"if=none,id=disk{number},file={file},format=raw,readonly=on",
            "-device", f"virtio-blk-pci,drive=disk{number},serial={serial}",
        ]  # fmt: skip
    for number, link in enumerate(links, 1):
        model = host.nics[link.nic].model
        netdev = f"tap-{link.nic}"
        tap = f"tap,id={netdev},ifname=@port:{link.nic}@,script=no,downscript=no"
        args += ["-netdev", tap]
        device = f"{model.value},id={link.nic},netdev={netdev},mac={link.boot_mac},romfile="
        if model is HostNicModel.IGB:
            # A root port gives the physical function ACS and ARI, and so each virtual
            # function an IOMMU group of its own.
            port = f"rp-{link.nic}"
            args += ["-device", f"pcie-root-port,id={port},chassis={number},slot={number}"]
            device += f",bus={port}"
        args += ["-device", device]
    return Command(host.qemu, tuple(args))
