"""The plan of a lab: every name, address, argument vector and step, as frozen data.

A plan is pure: the same topology gives the same plan, and making one touches nothing.
What only the running machine can know stands in it as a token, ``@like-this@``:

=====================  ==================================================================
token                  what the lab puts there
=====================  ==================================================================
``@kernel:...@``       the directory of a kernel on that machine (holds ``vmlinux``)
``@guest:...@``        the directory of a guest image (holds ``initramfs``)
``@host:...@``         the directory of a host image (holds ``initramfs``, ``root.erofs``)
``@disk:...@``         an image packed as one read-only disk, for a host VM to mount
``@run@``              a scratch directory on the machine, removed with the lab
``@vf:NIC@``           PCI address of the virtual function of that guest NIC
``@name@``             name of the host VM
``@port:NIC@``         tap on this machine of that NIC of the host VM
=====================  ==================================================================

The command of a host VM says nothing of which host it is: that comes by its identity channel
(``harness.lab.identity``), so that one saved state serves every host with the same command.

Neighbours: made by ``make``, argument vectors by ``qemu``, what it needs by ``needs``, walked by
``harness.lab``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.plan.names import fitted
from harness.topology.model import Accelerator, GuestNic, HostNic, Impairment, SshAccess

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_BLK_SERIAL = 20  # VIRTIO_BLK_ID_BYTES; QEMU cuts off the rest without a word


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by the name of its recipe; a guest or host image is made for one kernel."""

    kind: Literal["qemu", "kernel", "guest", "host"]
    name: str
    kernel: str = ""

    @property
    def token(self) -> str:
        """What stands for the image's directory in a command."""
        return ":".join(part for part in (self.kind, self.name, self.kernel) if part)

    @property
    def serial(self) -> str:
        """Serial number of the disk that carries it into a host VM, mounted at /lab/SERIAL."""
        text = self.token.replace(":", "-")
        plain = _UNFIT.sub("-", text)
        if plain == text:
            return fitted(text, _BLK_SERIAL)
        # A reference with a path: what tells it from others may be what was left out.
        digest = hashlib.sha256(text.encode()).hexdigest()[:5]
        return f"{plain[: _BLK_SERIAL - 6]}.{digest}"


@dataclass(frozen=True, slots=True)
class Command:
    """A QEMU command: the recipe of its QEMU and the arguments, tokens not yet replaced."""

    qemu: str
    args: tuple[str, ...]

    def resolved(self, tokens: Mapping[str, str]) -> tuple[str, ...]:
        """The arguments with every token of ``tokens`` (``{"run": "/x"}``) replaced."""
        done = []
        for arg in self.args:
            for token, value in tokens.items():
                arg = arg.replace(f"@{token}@", value)
            done.append(arg)
        return tuple(done)


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A bridge in the lab's namespace."""

    name: str
    bridge: str
    mtu: int
    impair: Impairment | None
    address: str | None
    """The lab's own address on it (management network only), with prefix length."""


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """A NIC of a namespace or host, and its other end on a network's bridge.

    ``port`` is the name of the end in the lab's namespace (a veth or a tap), ``ifname`` the
    name inside the machine (None where the machine's kernel chooses: a booted VM). ``boot_mac``
    is the address that the NIC of a booted VM has until it is told ``mac``.
    """

    machine: str
    nic: str
    network: str
    port: str
    ifname: str | None
    mac: str
    addresses: tuple[str, ...]
    mtu: int
    boot_mac: str | None = None


@dataclass(frozen=True, slots=True)
class NamespacePlan:
    """A traffic endpoint."""

    name: str
    links: tuple[LinkPlan, ...]


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """A bridge on a host and the host NICs that are its ports."""

    name: str
    nics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A machine that runs guests. ``boot`` is the outer QEMU of a ``kind: vm`` host."""

    name: str
    kind: str
    links: tuple[LinkPlan, ...]
    nics: Mapping[str, HostNic]
    bridges: tuple[BridgePlan, ...]
    accelerator: Accelerator
    boot: Mapping[str, Command] = field(default_factory=dict)
    """Accelerator (``kvm``, ``tcg``) -> command; empty for other kinds."""
    boot_images: tuple[ImageRef, ...] = ()
    """What ``boot`` needs on this machine: the host's kernel and image."""
    carried: tuple[ImageRef, ...] = ()
    """What the guests need on this host; disks of a VM, copied to an ssh host."""
    ssh: SshAccess | None = None
    management_address: str | None = None
    """Without prefix length; where the other hosts send migrations."""


@dataclass(frozen=True, slots=True)
class TapPlan:
    """A tap of a guest NIC on the host that runs the guest."""

    nic: str
    ifname: str
    bridge: str
    mac: str
    queues: int
    mtu: int
    primary: bool
    """Whether the NIC behind it is the primary of a failover pair."""


@dataclass(frozen=True, slots=True)
class VfPlan:
    """The virtual function a guest NIC gets on a host."""

    nic: str
    host_nic: str
    index: int
    mac: str
    pair: str | None
    """Id of the standby it is paired with."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """A guest NIC as QEMU is told of it: the properties of its netdev and of its device.

    ``netdev`` is empty where it has none (vfio). ``args`` are the same on a command line.
    Values are those of QMP: JSON's true, numbers and strings; ``@vf:NIC@`` may stand in them.
    """

    nic: str
    netdev: Mapping[str, str | int | bool]
    device: Mapping[str, str | int | bool]
    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """A guest on one host: what has to exist there, and the command for it.

    ``obstacle`` says why the guest cannot be there; then the rest is empty.
    """

    guest: str
    host: str
    taps: tuple[TapPlan, ...] = ()
    vfs: tuple[VfPlan, ...] = ()
    start: Mapping[str, Command] = field(default_factory=dict)
    """Accelerator -> command that boots the guest."""
    incoming: Mapping[str, Command] = field(default_factory=dict)
    """Accelerator -> the same machine, waiting for ``migrate-incoming``."""
    seed: Mapping[str, Command] = field(default_factory=dict)
    """Accelerator -> the same machine without its primaries, to be booted and saved: loaded by
    ``incoming``, it gets them as after a migration. Empty where the guest cannot be saved."""
    obstacle: str = ""
    devices: Mapping[str, DevicePlan] = field(default_factory=dict)
    """Every NIC of the guest, whether the guest starts with it or not."""


@dataclass(frozen=True, slots=True)
class PairPlan:
    """A failover pair: the ids in QEMU and the MAC address they share."""

    standby: str
    primary: str | None
    mac: str


@dataclass(frozen=True, slots=True)
class GuestPlan:
    """A virtual machine under test and the places where it can be."""

    name: str
    home: str
    nics: Mapping[str, GuestNic]
    macs: Mapping[str, str]
    pairs: tuple[PairPlan, ...]
    placements: Mapping[str, Placement]
    accelerator: Accelerator
    started: bool
    """Whether it comes up with the lab; else a step starts it."""
    images: Mapping[str, tuple[ImageRef, ImageRef, ImageRef]]
    """Host -> the QEMU, kernel and initramfs that it has to have for the guest."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses of the guest, with prefix length."""
        return tuple(str(a) for nic in self.nics.values() for a in nic.address)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of bringing the lab up; may run as soon as all of ``needs`` are done."""

    id: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """Processors (in halves: see ``needs``) and bytes of memory."""

    cpus: float
    memory: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole lab."""

    networks: tuple[NetworkPlan, ...]
    namespaces: tuple[NamespacePlan, ...]
    hosts: Mapping[str, HostPlan]
    guests: Mapping[str, GuestPlan]
    filter_handoff: bool
    steps: tuple[Step, ...]
    needs: Needs
    """What the lab takes of this machine at most."""
