"""The frozen, typed model of a topology: exactly what a topology file may say.

Field names are the YAML keys. Shapes are checked here (types, ranges, unknown keys);
references between parts are checked in ``harness.topology.check``. Defaults that affect a
verdict are none: what QEMU would choose silently is either required or derived in the plan
and shown there.

Neighbours: ``load`` makes these from YAML, ``check`` judges them, ``harness.plan`` turns
them into a plan.
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)i?B?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(k|m|g)?bit(?:/s)?", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a name starts with a lower-case letter and goes on with at most 30 lower-case "
            "letters, digits or '-'"
        )
    return text


def _mac(value: object) -> object:
    if isinstance(value, int):
        raise ValueError("YAML read this MAC address as a number; put it in quotes")
    if not isinstance(value, str) or not _MAC.fullmatch(value.lower()):
        raise ValueError("a MAC address is six pairs of hexadecimal digits: \"52:54:00:12:34:56\"")
    if int(value[:2], 16) & 1:
        raise ValueError("this is a group (multicast) address; a NIC needs a unicast address")
    if value.replace(":", "").strip("0") == "":
        raise ValueError("the all-zero MAC address is not an address")
    return value.lower()


def parse_size(value: object) -> object:
    """Bytes from ``256M``, ``2G`` or a plain number of bytes (binary prefixes)."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a size is a number with a unit: 256M, 2G")
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise ValueError("a size is a number with a unit: 256M, 2G")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2].upper()]


def parse_duration(value: object) -> object:
    """Seconds (float) from ``50us``, ``10ms``, ``2s`` or ``1min``."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}[match[2]]
    if isinstance(value, float):
        return value  # already parsed
    raise ValueError("a duration is a number with a unit: 50us, 10ms, 2s, 1min")


def parse_bitrate(value: object) -> object:
    """Bits per second (int) from ``100mbit``, ``1gbit``, ``64kbit``."""
    if isinstance(value, str) and (match := _RATE.fullmatch(value.strip())):
        unit = (match[2] or "").lower()
        return round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[unit])
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a bit rate is a number with a unit: 100mbit, 1gbit")


def parse_percent(value: object) -> object:
    """Share from 0 to 1 from ``0.1%``."""
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        share = float(match[1]) / 100
        if share <= 1:
            return share
    if isinstance(value, float):
        return value
    raise ValueError("a share is a percentage from 0% to 100%: 0.1%")


Name = Annotated[str, AfterValidator(_name)]
Mac = Annotated[str, BeforeValidator(_mac)]
Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
BitRate = Annotated[int, BeforeValidator(parse_bitrate), Field(gt=0)]
Share = Annotated[float, BeforeValidator(parse_percent), Field(ge=0, le=1)]
Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network


class Part(BaseModel):
    """Base of every part of a topology: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Accelerator(StrEnum):
    """QEMU accelerator; ``auto`` takes KVM only where a tiny guest really booted on it."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Impairment(Part):
    """netem on every port of a network (applied to frames leaving the network's bridge)."""

    delay: Duration | None = Field(None, description="added one-way delay")
    jitter: Duration | None = Field(None, description="random variation of the delay")
    loss: Share | None = Field(None, description="share of frames dropped at random")
    duplicate: Share | None = Field(None, description="share of frames sent twice")
    reorder: Share | None = Field(None, description="share of frames sent early (needs delay)")
    rate: BitRate | None = Field(None, description="bandwidth limit")


class Network(Part):
    """A bridge of the lab, between hosts and namespaces."""

    management: bool = Field(
        False,
        description="the harness reaches hosts, and migrations run, over this network; "
        "needs a subnet; at most one network",
    )
    subnet: Subnet | None = Field(None, description="host NICs without an address get one from it")
    mtu: int = Field(1500, ge=68, le=65535)
    impair: Impairment | None = Field(None, description="netem between the members")


class NamespaceNic(Part):
    """One end of a veth pair; the other end is a port of the network's bridge."""

    network: Name
    address: tuple[Interface, ...] = Field(
        (), description="one address with prefix length, or a list of them"
    )
    mac: Mac | None = Field(None, description="derived from the names when absent")


class Namespace(Part):
    """A network namespace as a traffic endpoint."""

    nics: dict[Name, NamespaceNic] = Field(min_length=1)


class HostNicModel(StrEnum):
    """What a host NIC is. ``veth`` on netns hosts; the others on vm hosts; any on ssh hosts."""

    VETH = "veth"
    IGB = "igb"
    E1000E = "e1000e"
    VIRTIO = "virtio-net-pci"


class HostNic(Part):
    """A NIC of a host; on an ssh host, one that is already there (named by ``ifname``)."""

    model: HostNicModel
    network: Name | None = Field(None, description="the lab network it is plugged into")
    vfs: int = Field(0, ge=0, le=7, description="virtual functions to enable (igb: up to 7)")
    mac: Mac | None = Field(None, description="derived from the names when absent")
    address: tuple[Interface, ...] = ()
    ifname: str | None = Field(
        None, max_length=15, description="ssh hosts: name of the existing netdev"
    )


class HostKind(StrEnum):
    """``netns``: a namespace here; ``vm``: booted by the lab; ``ssh``: a real machine."""

    NETNS = "netns"
    VM = "vm"
    SSH = "ssh"


class SshAccess(Part):
    """How to reach an ssh host. The key is the only way in; no password is ever asked."""

    address: str
    user: str = "root"
    key: str = Field(description="path of the private key, relative to the topology file")
    port: int = Field(22, ge=1, le=65535)
    migration_address: str | None = Field(
        None, description="address the other hosts reach it at; `address` when absent"
    )


class Host(Part):
    """A machine that runs guests."""

    kind: HostKind
    like: Name | None = Field(None, description="take every key not given here from that host")
    ssh: SshAccess | None = Field(None, description="kind ssh only")
    memory: Size = Field(2 << 30, description="kind vm only")
    cpus: int = Field(2, ge=1, le=64, description="kind vm only")
    machine: str = Field("q35", description="kind vm only: QEMU machine type")
    cpu: str | None = Field(None, description="kind vm only: QEMU CPU model")
    accelerator: Accelerator = Accelerator.AUTO
    iommu: Literal["intel"] | None = Field(None, description="kind vm only: emulated VT-d")
    kernel_args: tuple[str, ...] = ()
    image: str = Field("host", description="recipe of the host root file system (kind vm)")
    kernel: str = Field("kernel", description="recipe of the host kernel (kind vm)")
    qemu: str = Field("qemu", description="recipe of the QEMU that runs this host (kind vm)")
    nics: dict[Name, HostNic] = Field(default_factory=dict)
    bridges: dict[Name, tuple[Name, ...]] = Field(
        default_factory=dict, description="bridge: the host NICs that are its ports"
    )


class GuestNicModel(StrEnum):
    """What a guest NIC is."""

    VIRTIO = "virtio-net-pci"
    E1000E = "e1000e"
    VFIO = "vfio-pci"
    # QEMU refuses these as a primary; they are here so that the refusal can be tested.
    IGB = "igb"
    RTL8139 = "rtl8139"


class GuestNic(Part):
    """A guest NIC; its key is the device id that QMP events name."""

    model: GuestNicModel
    bridge: Name | None = Field(None, description="host bridge its tap joins (not vfio-pci)")
    mac: Mac | None = Field(
        None, description="a primary takes its standby's; otherwise derived when absent"
    )
    failover: bool = Field(False, description="virtio-net-pci: the standby of a failover pair")
    failover_pair_id: Name | None = Field(None, description="the standby this is the primary of")
    vf: str | None = Field(
        None, description="vfio-pci: host NIC whose VF it gets, `pf` or `pf/INDEX`"
    )
    address: tuple[Interface, ...] = Field((), description="set in the guest on the netdev")
    bus: Name | None = Field(None, description="root port; each NIC gets one when absent")
    mtu: int | None = Field(None, ge=68, le=65535, description="virtio host_mtu")
    vhost: bool = Field(False, description="vhost-net for the tap")
    queues: int = Field(1, ge=1, le=16, description="queue pairs of the tap and virtio-net")


class RootPort(Part):
    """A pcie-root-port; derived for every NIC without a ``bus``."""

    slot: int | None = Field(None, ge=1, le=31)
    hotplug: bool = True


class Guest(Part):
    """A virtual machine under test. It has the netdevs its NICs say, and no others."""

    host: Name
    like: Name | None = Field(None, description="take every key not given here from that guest")
    memory: Size = 256 << 20
    cpus: int = Field(1, ge=1, le=16)
    machine: str = "q35"
    cpu: str | None = Field(None, description="QEMU CPU model; derived from the accelerator")
    accelerator: Accelerator = Accelerator.AUTO
    kernel_args: tuple[str, ...] = ()
    image: str = Field("guest", description="recipe of the guest's initramfs")
    kernel: str = Field("kernel", description="recipe of the guest's kernel")
    qemu: str = Field("qemu", description="recipe of the QEMU that runs this guest")
    root_ports: dict[Name, RootPort] = Field(default_factory=dict)
    nics: dict[Name, GuestNic] = Field(default_factory=dict)


class FilterHandoff(StrEnum):
    """Whether the lab moves the VF's MAC filter at unplug and at re-plug (see known cases)."""

    AUTO = "auto"
    OFF = "off"


class Topology(Part):
    """A whole topology file."""

    networks: dict[Name, Network] = Field(default_factory=dict)
    namespaces: dict[Name, Namespace] = Field(default_factory=dict)
    hosts: dict[Name, Host] = Field(min_length=1)
    guests: dict[Name, Guest] = Field(min_length=1)
    filter_handoff: FilterHandoff = FilterHandoff.AUTO
