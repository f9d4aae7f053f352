"""What a session does to virtual functions of real SR-IOV, and that it undoes it."""

from __future__ import annotations

import lzma
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.images import Kernel, Store
from harness.lab.images import LabImages
from harness.plan.model import ImageRef
from harness.reach.deadline import Deadline
from harness.reach.links import vf_vlan_action
from harness.reach.machine import Machine
from harness.reach.pci import BusMasterChange
from harness.reach.ssh import SshMachine
from tests.end_to_end_ssh.standin import Found, StandIn

pytestmark = pytest.mark.nested

MAC = "52:54:00:6f:55:cc"


@contextmanager
def session(standin: StandIn) -> Iterator[SshMachine]:
    with SshMachine("metal", standin.target, Deadline(30), booting=False) as machine:
        yield machine


@contextmanager
def driver(standin: StandIn, place: Path) -> Iterator[None]:
    """igbvf on the machine itself, whose image does not have it."""
    kernel = LabImages(Store(), print).get(ImageRef("kernel", "kernel"))
    assert isinstance(kernel, Kernel)
    (packed,) = kernel.modules.rglob("igbvf.ko*")
    module = place / "igbvf.ko"
    data = packed.read_bytes()
    module.write_bytes(lzma.decompress(data) if packed.suffix == ".xz" else data)
    standin.eye.put(module, "/root/igbvf.ko")
    standin.eye.run(["insmod", "/root/igbvf.ko"])
    try:
        yield
    finally:
        standin.eye.run(["rmmod", "igbvf"])
        standin.eye.remove("/root/igbvf.ko")


@pytest.fixture
def owned(standin: StandIn, found: Found, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Two virtual functions that the machine's owner has enabled, in the hands of igbvf."""
    control = f"/sys/bus/pci/devices/{standin.pci}/sriov_numvfs"
    standin.eye.write_file(control, b"2")
    try:
        # igbvf makes an address up for a function that has none, another one each time; and
        # for all of them while the physical function is down.
        standin.eye.run(["ip", "link", "set", standin.pf, "up"])
        for vf in ("0", "1"):
            argv = ["ip", "link", "set", standin.pf, "vf", vf, "mac", f"02:00:00:00:00:0{vf}"]
            standin.eye.run(argv)
        with driver(standin, tmp_path):
            yield standin.eye.pci.get(standin.pci).vfs
    finally:
        standin.eye.write_file(control, b"0")
        standin.eye.run(["ip", "link", "set", standin.pf, "down"])


def told_of(eye: Machine, pf: str) -> str:
    """What the kernel says of the virtual functions of a netdev, a line for each."""
    said = eye.run(["ip", "link", "show", "dev", pf]).stdout.splitlines()
    return "\n".join(line.strip() for line in said if line.startswith("    vf "))


def test_functions_that_a_session_enables_go_with_it(standin: StandIn, found: Found) -> None:
    with session(standin) as metal:
        first, second = metal.pci.enable_vfs(standin.pci, 2)
        assert standin.found().vfs == "2"

        bound = metal.pci.bind_vfio(first)
        assert bound.driver == "vfio-pci"
        assert bound.iommu_group is not None
        assert metal.pci.get(second).iommu_group not in (None, bound.iommu_group)
        assert standin.found().devices == tuple(sorted([bound.iommu_group, "vfio"]))

        metal.links.set_vf_mac(standin.pf, 0, MAC)
        metal.links.set_vf_vlan(standin.pf, 1, 77)
        assert metal.links.vf_macs(standin.pf)[0] == MAC
        assert "vlan 77" in told_of(standin.eye, standin.pf)
    standin.await_found(found, Deadline(3))


def test_what_the_owner_of_a_machine_had_set_comes_back(
    standin: StandIn, owned: tuple[str, ...]
) -> None:
    eye, pf = standin.eye, standin.pf
    before, former = told_of(eye, pf), standin.found()
    assert before.count("vf ") == 2

    with session(standin) as metal:
        assert metal.pci.enable_vfs(standin.pci, 2) == owned
        assert eye.pci.get(owned[0]).driver == "igbvf"
        metal.pci.bind_vfio(owned[0])
        assert eye.pci.get(owned[0]).driver == "vfio-pci"
        metal.pci.release_vfio(owned[0])
        assert eye.pci.get(owned[0]).driver == "igbvf"
        metal.pci.bind_vfio(owned[0])
        metal.links.set_vf_mac(pf, 0, MAC)
        metal.links.set_vf_vlan(pf, 0, 77)
        assert MAC in told_of(eye, pf)
        assert "vlan 77" in told_of(eye, pf)
        metal.links.add_fdb(pf, MAC, "self")
        assert [entry.name for entry in eye.links.fdb(MAC)] == [pf]
        metal.links.set(pf, up=False, mtu=1400)

    standin.await_found(former, Deadline(3))
    assert told_of(eye, pf) == before
    assert eye.links.fdb(MAC) == ()
    assert [former.drivers[vf] for vf in owned] == ["igbvf", "igbvf"]


def test_the_bus_master_bit_is_seen_to_follow_the_driver_and_acted_upon(
    standin: StandIn, owned: tuple[str, ...]
) -> None:
    eye, pf, vf = standin.eye, standin.pf, owned[0]
    changes: queue.Queue[BusMasterChange] = queue.Queue()
    with session(standin) as metal:
        watch = metal.pci.watch_bus_master(
            vf,
            changes.put,
            when_on=[vf_vlan_action(pf, 0, 0)],
            when_off=[vf_vlan_action(pf, 0, 4094)],
        )
        assert watch.on_at_start
        for verb, on in (("unbind", False), ("bind", True), ("unbind", False)):
            eye.write_file(f"/sys/bus/pci/drivers/igbvf/{verb}", vf.encode())
            change = changes.get(timeout=20)
            assert (change.on, change.lost) == (on, "")
            (action,) = change.actions
            assert action.problem == ""
            assert change.at.t_ns <= action.done_at.t_ns + action.done_at.err_ns
            assert ("vlan 4094" in told_of(eye, pf)) is not on
            assert bool(eye.pci.command(vf) & 4) is on
        watch.stop()
    assert "vlan" not in told_of(eye, pf)
    eye.write_file("/sys/bus/pci/drivers/igbvf/bind", vf.encode())
