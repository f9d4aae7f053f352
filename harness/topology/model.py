"""The frozen, typed model of a topology: exactly what a topology file may say.

Field names are the YAML keys. Shapes are checked here (types, ranges, unknown keys);
references between parts are checked in ``harness.topology.check``. No default affects
a verdict: what QEMU would choose silently is either required or derived in the plan
and shown there.

Neighbours: ``load`` makes these from YAML, ``check`` judges them, ``harness.plan`` turns
them into a plan.
"""

from __future__ import annotations

import pathlib
import re
from enum import StrEnum
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)

from harness.document import Document

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)i?B?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(k|m|g)?bit(?:/s)?", re.IGNORECASE)
_LEAST_MEMORY = 32 << 20
_PER_SECOND = {"us": 1e6, "ms": 1e3, "s": 1.0, "min": 1.0}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a name starts with a lower-case letter and goes on with at most 30 lower-case "
            "letters, digits or '-'"
        )
    return text


MACHINE_BUSES = ("pci.0", "pcie.0")
"""The root bus of `pc`, and that of `q35`."""


def _bus(text: str) -> str:
    return text if text in MACHINE_BUSES else _name(text)


def _mac(value: object) -> object:
    # An unquoted 52:54:00:12:34:56 is a base-60 number to YAML 1.1.
    if not isinstance(value, str) or not _MAC.fullmatch(value.lower()):
        raise ValueError(
            "a MAC address is six pairs of hexadecimal digits, as in 52:54:00:6f:55:cc"
        )
    if int(value[:2], 16) & 1:
        raise ValueError("this is a group (multicast) address; a NIC needs a unicast address")
    if value.replace(":", "").strip("0") == "":
        raise ValueError("the all-zero MAC address is not an address")
    return value.lower()


def _interface(value: object) -> object:
    if isinstance(value, IPv4Interface | IPv6Interface):
        return value
    wanted = "an address is given with its prefix length, as in 10.77.0.2/24 or fd00::2/64"
    if not isinstance(value, str) or "/" not in value or "%" in value:
        raise ValueError(wanted)
    try:
        return ip_interface(value)
    except ValueError:
        raise ValueError(wanted) from None


def _subnet(value: object) -> object:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    wanted = "a subnet is given with its prefix length, as in 10.78.0.0/24 or fd00::/64"
    if not isinstance(value, str) or "/" not in value or "%" in value:
        raise ValueError(wanted)
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(wanted) from None
    raise ValueError(f"bits are set to the right of the prefix; the subnet is {network}")


def _one_or_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _memory(value: int) -> int:
    if value < _LEAST_MEMORY:
        raise ValueError(
            "a machine needs 32M at least (a number without a unit counts bytes: write 256M)"
        )
    return value


def _beside_file(value: str, info: ValidationInfo) -> str:
    """A path is relative to the file that says it, which only the document knows."""
    if isinstance(info.context, Document):
        return str(info.context.path.parent / pathlib.Path(value).expanduser())
    return value


def parse_size(value: object) -> object:
    """Bytes from ``256M``, ``2G`` or a plain number of bytes (binary prefixes)."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a size is a number with a unit: 256M, 2G")
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip()) if len(value) < 40 else None
    if not match:
        raise ValueError("a size is a number with a unit: 256M, 2G")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2].upper()]


def parse_duration(value: object) -> object:
    """Seconds (float) from ``50us``, ``10ms``, ``2s`` or ``1min``."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        # Division, because 1e-6 is no exact number: 50us is 5e-05 and not 4.9999999999999996e-05.
        return float(match[1]) * (60.0 if match[2] == "min" else 1.0) / _PER_SECOND[match[2]]
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


def _with_unit(value: object, info: ValidationInfo) -> object:
    """A file says the unit (``delay: 0.5`` could be anything); Python code may give SI units.

    ``info.context`` is the document when a file is validated, and None otherwise.
    """
    return str(value) if info.context is not None and isinstance(value, int | float) else value


def _said(schema: dict[str, Any], **more: Any) -> WithJsonSchema:
    """What an editor is told of a type, where pydantic would describe the parsed value."""
    return WithJsonSchema({**schema, **more})


_TEXT = {"type": "string"}
_ADDRESS_SAID = {**_TEXT, "pattern": "^[0-9a-fA-F.:]+/[0-9]+$", "examples": ["10.77.0.2/24"]}

Name = Annotated[str, AfterValidator(_name), _said(_TEXT, pattern=f"^{_NAME.pattern}$")]
Bus = Annotated[str, AfterValidator(_bus), _said(_TEXT, examples=["rp1"])]
Mac = Annotated[
    str,
    BeforeValidator(_mac),
    _said(_TEXT, pattern="^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$", examples=["52:54:00:6f:55:cc"]),
]
Whole = Annotated[int, Strict()]
# YAML 1.1 reads `on` as true, YAML 1.2 (most editors) as text.
Switch = Annotated[
    bool, Strict(), WithJsonSchema({"enum": [True, False, "on", "off", "yes", "no"]})
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0),
    _said(
        {"type": ["string", "integer"]},
        pattern="^[0-9]+ *[KMGTkmgt]?i?[Bb]?$",
        minimum=1,
        examples=["256M", "2G"],
    ),
]
Memory = Annotated[Size, AfterValidator(_memory)]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    BeforeValidator(_with_unit),
    Field(ge=0),
    _said(_TEXT, pattern="^[0-9]+([.][0-9]+)? *(us|ms|s|min)$", examples=["10ms", "2s"]),
]
BitRate = Annotated[
    int,
    BeforeValidator(parse_bitrate),
    BeforeValidator(_with_unit),
    Field(gt=0),
    _said(_TEXT, pattern="^[0-9]+([.][0-9]+)? *[kmgKMG]?[bB][iI][tT](/[sS])?$", examples=["1gbit"]),
]
Share = Annotated[
    float,
    BeforeValidator(parse_percent),
    BeforeValidator(_with_unit),
    Field(ge=0, le=1),
    _said(_TEXT, pattern="^[0-9]+([.][0-9]+)? *%$", examples=["0.1%"]),
]
Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network
Address = Annotated[Interface, BeforeValidator(_interface), WithJsonSchema(_ADDRESS_SAID)]
Addresses = Annotated[
    tuple[Address, ...],
    BeforeValidator(_one_or_list),
    WithJsonSchema({"anyOf": [_ADDRESS_SAID, {"type": "array", "items": _ADDRESS_SAID}]}),
]
SubnetText = Annotated[
    Subnet,
    BeforeValidator(_subnet),
    _said(_TEXT, pattern="^[0-9a-fA-F.:]+/[0-9]+$", examples=["10.78.0.0/24"]),
]


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

    management: Switch = Field(
        False,
        description="the harness reaches hosts, and migrations run, over this network; "
        "it needs a subnet, and there is one such network at most",
    )
    subnet: SubnetText | None = Field(
        None, description="host NICs without an address get one from it"
    )
    mtu: Whole = Field(1500, ge=68, le=65535, description="MTU of the bridge and of its ports")
    impair: Impairment | None = Field(None, description="netem between the members")


class NamespaceNic(Part):
    """One end of a veth pair; the other end is a port of the network's bridge."""

    network: Name = Field(description="the network it is plugged into")
    address: Addresses = Field(
        (), description="one address with its prefix length, or a list of them"
    )
    mac: Mac | None = Field(None, description="derived from the names when absent")


class Namespace(Part):
    """A network namespace as a traffic endpoint."""

    nics: dict[Name, NamespaceNic] = Field(
        min_length=1, description="its interfaces; the key is the interface's name"
    )


class HostNicModel(StrEnum):
    """What a host NIC is. ``veth`` on netns hosts; the others on vm hosts; any on ssh hosts."""

    VETH = "veth"
    IGB = "igb"
    E1000E = "e1000e"
    VIRTIO = "virtio-net-pci"


class HostNic(Part):
    """A NIC of a host; on an ssh host, one that is already there (named by ``ifname``)."""

    model: HostNicModel = Field(
        description="`veth` on netns hosts; `igb`, `e1000e` or `virtio-net-pci` on vm hosts; "
        "on ssh hosts any, the real NIC counts"
    )
    network: Name | None = Field(None, description="the lab network it is plugged into")
    vfs: Whole = Field(
        0, ge=0, le=256, description="virtual functions to enable (`igb`: 7 at most)"
    )
    mac: Mac | None = Field(None, description="derived from the names when absent")
    address: Addresses = Field(
        (), description="one address or a list; from the network's subnet when absent"
    )
    ifname: str | None = Field(
        None, min_length=1, max_length=15, description="ssh hosts: name of the existing netdev"
    )


class HostKind(StrEnum):
    """``netns``: a namespace here; ``vm``: booted by the lab; ``ssh``: a real machine."""

    NETNS = "netns"
    VM = "vm"
    SSH = "ssh"


class SshAccess(Part):
    """How to reach an ssh host. The key is the only way in; no password is ever asked."""

    address: str = Field(min_length=1, description="host name or address")
    user: str = Field("root", min_length=1, description="user to log in as; needs root's rights")
    key: Annotated[str, AfterValidator(_beside_file)] = Field(
        min_length=1, description="path of the private key, relative to the topology file"
    )
    port: Whole = Field(22, ge=1, le=65535, description="TCP port of its ssh server")
    known_hosts: Annotated[str, AfterValidator(_beside_file)] | None = Field(
        None,
        description="file with its host key, which must then match, relative to the topology "
        "file; any host key is accepted when absent",
    )
    migration_address: str | None = Field(
        None, description="address the other hosts reach it at; `address` when absent"
    )


class Host(Part):
    """A machine that runs guests."""

    kind: HostKind = Field(
        description="`netns`: a namespace here; `vm`: booted by the lab; `ssh`: a real machine"
    )
    like: Name | None = Field(None, description="take every key not given here from that host")
    ssh: SshAccess | None = Field(None, description="how to reach it (kind ssh only)")
    memory: Memory = Field(2 << 30, description="RAM (kind vm only)")
    cpus: Whole = Field(2, ge=1, le=64, description="number of CPUs (kind vm only)")
    machine: str = Field("q35", description="QEMU machine type (kind vm only)")
    cpu: str | None = Field(
        None, description="QEMU CPU model; derived from the accelerator (kind vm only)"
    )
    accelerator: Accelerator = Field(
        Accelerator.AUTO,
        description="`auto` takes KVM where a tiny guest really booted on it, else TCG "
        "(kind vm only)",
    )
    iommu: Literal["intel"] | None = Field(
        None, description="emulated VT-d; vfio-pci needs one (kind vm only)"
    )
    kernel_args: tuple[str, ...] = Field(
        (), description="added to the kernel's command line (kind vm only)"
    )
    image: str = Field("host", description="recipe of the host root file system (kind vm only)")
    kernel: str = Field("kernel", description="recipe of the host kernel (kind vm only)")
    qemu: str = Field("qemu", description="recipe of the QEMU that runs this host (kind vm only)")
    nics: dict[Name, HostNic] = Field(default_factory=dict, description="its NICs")
    bridges: dict[Name, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="bridges in the host, each with the host NICs that are its ports",
    )


class GuestNicModel(StrEnum):
    """What a guest NIC is."""

    VIRTIO = "virtio-net-pci"
    E1000E = "e1000e"
    VFIO = "vfio-pci"
    # Plain NICs only: neither can be the primary of a failover pair (see the checks).
    IGB = "igb"
    RTL8139 = "rtl8139"
    # No NIC at all, for a guest that is `unchecked`: what QEMU says to such a primary.
    RNG = "virtio-rng-pci"


class GuestNic(Part):
    """A guest NIC; its key is the device id that QMP events name."""

    model: GuestNicModel = Field(
        description="QEMU device; a primary is `vfio-pci` or `e1000e`, a standby `virtio-net-pci`"
    )
    bridge: Name | None = Field(None, description="host bridge its tap joins (not vfio-pci)")
    mac: Mac | None = Field(
        None,
        description="required for a standby; a primary takes its standby's; "
        "otherwise derived when absent",
    )
    failover: Switch = Field(
        False, description="it is the standby of a failover pair (virtio-net-pci only)"
    )
    failover_pair_id: Name | None = Field(None, description="the standby this is the primary of")
    vf: str | None = Field(
        None,
        min_length=1,
        description="vfio-pci: host NIC whose VF it gets, `pf`, or `pf/INDEX` for a certain one",
    )
    address: Addresses = Field((), description="set in the guest; a pair's goes to its standby")
    bus: Bus | None = Field(
        None,
        description="root port; each NIC gets one when absent. `pci.0` or `pcie.0`, the "
        "machine's own bus, only in a guest that is `unchecked`",
    )
    plugged: Switch = Field(
        True, description="`off`: the guest starts without it, and a step of a case plugs it"
    )
    mtu: Whole | None = Field(
        None, ge=68, le=65535, description="MTU that the guest is told (virtio-net-pci only)"
    )
    vhost: Switch = Field(False, description="vhost-net for the tap (virtio-net-pci only)")
    queues: Whole = Field(
        1, ge=1, le=16, description="queue pairs of the tap and the NIC (virtio-net-pci only)"
    )


class RootPort(Part):
    """A pcie-root-port; derived for every NIC without a ``bus``."""

    slot: Whole | None = Field(
        None, ge=1, le=31, description="its PCIe slot number; derived when absent"
    )
    hotplug: Switch = Field(True, description="a primary needs a port that can be hot-plugged")


class Guest(Part):
    """A virtual machine under test. It has the netdevs its NICs say, and no others."""

    host: Name = Field(description="the host it starts on")
    like: Name | None = Field(None, description="take every key not given here from that guest")
    memory: Memory = Field(256 << 20, description="RAM")
    cpus: Whole = Field(1, ge=1, le=16, description="number of CPUs")
    machine: str = Field("q35", description="QEMU machine type; NICs need PCIe root ports")
    cpu: str | None = Field(None, description="QEMU CPU model; derived from the accelerator")
    accelerator: Accelerator = Field(
        Accelerator.AUTO,
        description="`auto` takes KVM where a tiny guest really booted on it, else TCG",
    )
    kernel_args: tuple[str, ...] = Field((), description="added to the kernel's command line")
    orchestration: Literal["qemu", "management"] = Field(
        "qemu",
        description="who unplugs its primaries for a migration. `management`: QEMU is not told "
        "which primary belongs to which standby (no failover_pair_id on its command line)",
    )
    started: Switch = Field(True, description="`off`: a step of a case starts it")
    device_syntax: Literal["classic", "json"] = Field(
        "classic",
        description="how its NICs and root ports are written on QEMU's command line: "
        "`-device virtio-net-pci,id=net1` or `-device '{\"driver\": ...}'`",
    )
    acpi_hotplug: Switch = Field(
        True,
        description="the machine's ACPI tells the guest of hotplug, as QEMU does by default on "
        "q35; `off`: the root ports do (native PCIe hotplug, with its attention button)",
    )
    unchecked: Switch = Field(
        False,
        description="restrictions of QEMU and of the guest's kernel are not checked here: QEMU "
        "and the guest are asked, because a case is about what they say",
    )
    image: str = Field("guest", description="recipe of the guest's initramfs")
    kernel: str = Field("kernel", description="recipe of the guest's kernel")
    qemu: str | dict[Name, str] = Field(
        "qemu",
        description="recipe of the QEMU that runs this guest; a mapping of every host to the "
        "recipe there, for a migration between versions",
    )
    root_ports: dict[Name, RootPort] = Field(
        default_factory=dict, description="root ports to name; the key is the device id"
    )
    nics: dict[Name, GuestNic] = Field(
        default_factory=dict, description="its NICs; the key is the device id in QMP events"
    )

    def qemu_on(self, host: str) -> str:
        """The recipe of the QEMU that runs this guest on ``host``."""
        return self.qemu if isinstance(self.qemu, str) else self.qemu[host]


class FilterHandoff(StrEnum):
    """Whether the lab moves the VF's MAC filter at unplug and at re-plug (see known cases)."""

    AUTO = "auto"
    OFF = "off"


def _handoff(value: object) -> object:
    # To YAML 1.1 an unquoted off is false.
    return FilterHandoff.OFF if value is False else value


class Topology(Part):
    """A whole topology file. That it has a host and a guest is for ``check`` to say."""

    networks: dict[Name, Network] = Field(
        default_factory=dict, description="layer-2 networks between hosts and namespaces"
    )
    namespaces: dict[Name, Namespace] = Field(
        default_factory=dict, description="traffic endpoints at the lab's edge"
    )
    hosts: dict[Name, Host] = Field(
        default_factory=dict, description="machines that run guests; one at least"
    )
    guests: dict[Name, Guest] = Field(
        default_factory=dict, description="virtual machines under test; one at least"
    )
    filter_handoff: Annotated[
        FilterHandoff,
        BeforeValidator(_handoff),
        WithJsonSchema({"enum": ["auto", "off", False]}),
    ] = Field(
        FilterHandoff.AUTO,
        description="`auto`: the lab hands the VF's MAC filter over when QEMU unplugs or plugs "
        "the primary; `off`: nobody does",
    )
