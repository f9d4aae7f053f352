"""A stand-in for a real machine: a host VM as it is after booting, behind a port of loopback.

The machine is booted by the project's own code, from the plan of ``MACHINE`` as far as
``reach``: nobody has enabled a virtual function there, made a bridge or loaded an image. A
relay carries its ssh port from the sandbox to loopback, so that labs reach it like any
machine that has an address.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.images import Store
from harness.lab import Lab, LabImages, Progress
from harness.observe import FactLog
from harness.plan import make_plan
from harness.plan.part import up_to
from harness.reach.deadline import Deadline
from harness.reach.machine import Machine
from harness.reach.sandbox import Sandbox
from harness.reach.ssh import SshTarget
from harness.topology import load

MACHINE = """\
networks:
  data: {}
  mgmt: {subnet: 10.78.0.0/24, management: true}
hosts:
  machine:
    kind: vm
    iommu: intel
    memory: 1536M
    nics:
      pf: {model: igb, network: data}
      mg: {model: virtio-net-pci, network: mgmt}
guests:
  unused: {host: machine}
"""
"""A topology has a guest; this one is never started."""

LAB = """\
hosts:
  metal:
    kind: ssh
    ssh: {{address: 127.0.0.1, port: {port}, user: {user}, key: {key}}}
    nics:
      pf: {{model: igb, ifname: {pf}, vfs: 2}}
    bridges: {{br0: [pf]}}
guests:
  g1:
    host: metal
    memory: 256M
    nics:
      net1:
        model: virtio-net-pci
        bridge: br0
        mac: "52:54:00:6f:55:cc"
        failover: on
        address: 10.77.0.2/24
      hostdev0: {{model: vfio-pci, vf: pf, failover_pair_id: net1}}
"""


_DRIVERS = """\
cd /sys/bus/pci/devices
for device in *; do
    driver=$(readlink $device/driver)
    echo $device ${driver##*/}
done
"""


@dataclass(frozen=True)
class Found:
    """How a machine is found: what a lab has to leave as it was."""

    netdevs: dict[str, tuple[str, bool, str | None, int]]
    """Name -> MAC address, up, master, MTU."""
    vfs: str
    drivers: dict[str, str]
    """Of every PCI device."""
    temporary: tuple[str, ...]
    devices: tuple[str, ...]
    """What is in /dev/vfio: one for each group that has been given away."""
    processes: tuple[str, ...]


@dataclass(frozen=True)
class StandIn:
    """Where the machine is, and who looks at it: ``eye`` is a session of its own."""

    port: int
    key: Path
    eye: Machine
    pf: str
    """The netdev of its SR-IOV NIC."""
    pci: str
    """The PCI address of that NIC."""

    @property
    def target(self) -> SshTarget:
        return SshTarget("127.0.0.1", self.key, port=self.port)

    def found(self) -> Found:
        """How the machine is now."""
        eye = self.eye
        drivers = eye.run(["sh", "-c", _DRIVERS]).stdout.splitlines()
        said = eye.run(["ps", "-wweo", "args="]).stdout.splitlines()
        return Found(
            {one.name: (one.mac, one.up, one.master, one.mtu) for one in eye.links.all()},
            eye.read_text(f"/sys/bus/pci/devices/{self.pci}/sriov_numvfs").strip(),
            {pci: driver for pci, _, driver in (line.partition(" ") for line in drivers)},
            eye.list_directory("/tmp"),
            eye.list_directory("/dev/vfio"),
            # Kernel threads stand in brackets; they come and go as they like. The eye's own
            # connection is called otherwise from its first command on.
            tuple(
                sorted(
                    line.removesuffix("@notty")
                    for line in said
                    if line[:1] != "[" and line[:3] != "ps "
                )
            ),
        )

    def await_found(self, former: Found, deadline: Deadline) -> None:
        """Wait until the machine is as it was."""
        pause = threading.Event()
        while (now := self.found()) != former:
            deadline.raise_if_expired("the machine as it was found", f"{now}, not {former}")
            pause.wait(0.1)

    def topology(self, place: Path, **changes: str) -> Path:
        """The file of ``LAB`` for this machine, in ``place``; ``changes`` to its words."""
        words = {"port": str(self.port), "user": "root", "key": str(self.key), "pf": self.pf}
        path = place / "metal.yaml"
        path.write_text(LAB.format_map({**words, **changes}))
        return path


class Relay:
    """Carries every connection to a port of loopback on to an address in a sandbox."""

    def __init__(self, sandbox: Sandbox, address: str, port: int) -> None:
        self._sandbox = sandbox
        self._to = (address, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return  # closed
            far = self._sandbox.socket(self._sandbox.root, socket.AF_INET, socket.SOCK_STREAM)
            far.connect(self._to)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            sink.sendall(data)
    # The end of one direction is the end of both: a harness that was killed says no more.
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def lab_of(topology: Path, place: Path, *, last: str | tuple[str, ...] = "") -> Iterator[Lab]:
    """A lab that is not up yet, down at the end; with ``last`` it goes up to those steps only."""
    plan = make_plan(load(topology))
    progress = Progress(sys.stderr)
    with contextlib.closing(FactLog(place / f"{topology.stem}.jsonl")) as facts:
        lab = Lab(
            up_to(plan, *((last,) if isinstance(last, str) else last)) if last else plan,
            LabImages(Store(), progress.say),
            facts,
            logs=place / "logs",
            progress=progress,
            name=topology.stem,
        )
        with lab:
            yield lab


@contextlib.contextmanager
def booted(place: Path) -> Iterator[StandIn]:
    """The machine, up; ``place`` is a directory for its files here."""
    topology = place / "machine.yaml"
    topology.write_text(MACHINE)
    with lab_of(topology, place, last="reach machine") as lab:
        lab.up()
        address = lab.plan.hosts["machine"].management_address or ""
        relay = Relay(lab.sandbox, address, 22)
        try:
            key = place / "key"
            key.touch(0o600)
            key.write_bytes(lab.key.path.read_bytes())
            eye = lab.hosts["machine"].machine
            (pci,) = (one for one in eye.list_directory("/sys/bus/pci/drivers/igb") if ":" in one)
            yield StandIn(relay.port, key, eye, eye.links.find(pci=pci).name, pci)
        finally:
            relay.close()
