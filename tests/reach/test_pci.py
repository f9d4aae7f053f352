"""Virtual functions, on a sysfs tree made by hand and mounted in the sandbox only.

No machine of ours has an SR-IOV device, and the kernel behind the files is what the nested
lab tests; here it is what the agent reads and writes, and in which order it undoes it.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from harness.reach.deadline import Deadline
from harness.reach.links import Action, fdb_add_action, vf_mac_action
from harness.reach.local import NamespaceMachine
from harness.reach.pci import BusMasterChange
from harness.reach.sandbox import Sandbox
from harness.reach.wire import AgentRefused

PF, VF = "0000:01:00.0", "0000:01:10.0"
MAC = "52:54:00:00:00:01"


@pytest.fixture
def tree(sandbox: Sandbox, machine: NamespaceMachine) -> Path:
    """/sys/bus/pci as the machine sees it, seen from here."""
    machine.run(["mount", "-t", "tmpfs", "tmpfs", "/sys/bus"])
    root = machine.space.path("/sys/bus/pci")
    for device in (PF, VF):
        (root / "devices" / device).mkdir(parents=True)
        (root / "devices" / device / "config").write_bytes(b"\x86\x80\xca\x10\x00\x00" + bytes(58))
        (root / "devices" / device / "driver_override").write_text("")
    for driver in ("igb", "igbvf", "vfio-pci"):
        (root / "drivers" / driver).mkdir(parents=True)
        (root / "drivers" / driver / "unbind").write_text("")
    (root / "drivers_probe").write_text("")
    (root / "devices" / PF / "sriov_numvfs").write_text("0\n")
    (root / "devices" / PF / "sriov_totalvfs").write_text("7\n")
    (root / "devices" / PF / "virtfn0").symlink_to(f"../{VF}")
    (root / "devices" / PF / "net" / "eth1").mkdir(parents=True)
    return root


def set_command(tree: Path, device: str, value: int) -> None:
    handle = os.open(tree / "devices" / device / "config", os.O_WRONLY)
    os.pwrite(handle, value.to_bytes(2, "little"), 4)
    os.close(handle)


def test_vfs_are_enabled_listed_and_disabled_again(machine: NamespaceMachine, tree: Path) -> None:
    control = tree / "devices" / PF / "sriov_numvfs"
    assert machine.pci.enable_vfs(PF, 1) == (VF,)
    assert control.read_text().strip() == "1"
    device = machine.pci.get(PF)
    assert (device.netdevs, device.vfs, device.driver) == (("eth1",), (VF,), None)
    held = os.open(control, os.O_RDONLY)  # the mount goes with the machine's namespace
    machine.close()
    assert os.pread(held, 10, 0).startswith(b"0")
    os.close(held)


def test_vfs_that_were_there_before_are_used_and_left_alone(
    machine: NamespaceMachine, tree: Path
) -> None:
    control = tree / "devices" / PF / "sriov_numvfs"
    control.write_text("1\n")
    assert machine.pci.enable_vfs(PF, 1) == (VF,)
    with pytest.raises(AgentRefused, match="1 VFs are enabled already, 2 are wanted"):
        machine.pci.enable_vfs(PF, 2)
    machine.close()
    assert control.read_text() == "1\n"


def test_vfs_that_do_not_appear_are_counted(machine: NamespaceMachine, tree: Path) -> None:
    with pytest.raises(AgentRefused, match=f"alpha: PCI device {PF}: 1 of 3 VFs appeared"):
        machine.pci.enable_vfs(PF, 3)


def test_a_device_without_an_iommu_group_is_not_taken_from_its_driver(
    machine: NamespaceMachine, tree: Path
) -> None:
    with pytest.raises(AgentRefused, match=f"PCI device {VF}: has no IOMMU group"):
        machine.pci.bind_vfio(VF)
    assert (tree / "devices" / VF / "driver_override").read_text() == ""


def test_a_device_that_vfio_does_not_take_is_given_back(
    machine: NamespaceMachine, tree: Path
) -> None:
    vf = tree / "devices" / VF
    (tree / "group9").mkdir()
    (vf / "iommu_group").symlink_to("../../group9")
    (vf / "driver").symlink_to("../../drivers/igbvf")
    with pytest.raises(AgentRefused, match=r"vfio-pci did not take it \(driver now: igbvf\)"):
        machine.pci.bind_vfio(VF)
    assert (vf / "driver_override").read_text() == "vfio-pci\n"
    assert (tree / "drivers" / "igbvf" / "unbind").read_text() == VF
    machine.pci.release_vfio(VF)
    assert (vf / "driver_override").read_text() == "\n"
    assert (tree / "drivers_probe").read_text() == VF


def test_a_device_that_is_not_there_is_named(machine: NamespaceMachine, tree: Path) -> None:
    with pytest.raises(AgentRefused, match=r"alpha: PCI device 0000:99:00\.0: not on this machine"):
        machine.pci.get("0000:99:00.0")


class Watched:
    """A sink that can be waited on."""

    def __init__(self) -> None:
        self.changes: list[BusMasterChange] = []
        self._more = threading.Condition()

    def __call__(self, change: BusMasterChange) -> None:
        with self._more:
            self.changes.append(change)
            self._more.notify_all()

    def wait(self, count: int) -> list[BusMasterChange]:
        deadline = Deadline(10)
        with self._more:
            while len(self.changes) < count:
                deadline.raise_if_expired("a change of the bus-master bit")
                self._more.wait(deadline.left)
            return self.changes


def test_each_change_of_the_bus_master_bit_is_reported_in_order(
    machine: NamespaceMachine, tree: Path
) -> None:
    seen = Watched()
    watch = machine.pci.watch_bus_master(VF, seen)
    assert not watch.on_at_start
    set_command(tree, VF, 0x0407)
    first = seen.wait(1)[0]
    set_command(tree, VF, 0x0403)
    second = seen.wait(2)[1]
    assert [(c.on, c.pci) for c in (first, second)] == [(True, VF), (False, VF)]
    assert first.at.t_ns + first.at.err_ns <= second.at.t_ns + second.at.err_ns
    assert first.at.err_ns > 0
    watch.stop()
    assert machine.pci.command(VF) == 0x0403


def test_what_is_to_be_done_at_a_change_is_done_before_it_is_reported(
    machine: NamespaceMachine, tree: Path
) -> None:
    machine.links.create_bridge("br0")
    machine.links.create_tap("tap0")
    machine.links.set("tap0", master="br0", up=True)
    seen = Watched()
    actions: list[Action] = [fdb_add_action("tap0", MAC, "master"), vf_mac_action("lo", 0, MAC)]
    machine.pci.watch_bus_master(VF, seen, when_on=actions)
    set_command(tree, VF, 0x0404)
    change = seen.wait(1)[0]
    assert [(done.op, done.problem) for done in change.actions] == [
        ("fdb_add", ""),
        ("vf_set_mac", f"set MAC {MAC} of VF 0 of lo: Operation not supported"),
    ]
    assert change.actions[0].done_at.t_ns > change.at.t_ns
    assert [entry.name for entry in machine.links.fdb(MAC)] == ["tap0"]


def test_a_bit_that_is_set_already_is_told_at_the_start(
    machine: NamespaceMachine, tree: Path
) -> None:
    set_command(tree, VF, 0x0004)
    assert machine.pci.watch_bus_master(VF, Watched()).on_at_start


def test_a_device_that_was_taken_from_its_driver_goes_back_to_it(
    machine: NamespaceMachine, tree: Path
) -> None:
    vf = tree / "devices" / VF
    (vf / "driver").symlink_to("../../drivers/igbvf")
    machine.pci.unbind(VF)
    assert (tree / "drivers" / "igbvf" / "unbind").read_text() == VF
    (vf / "driver").unlink()  # as the kernel does
    held = os.open(tree / "drivers_probe", os.O_RDONLY)
    machine.close()
    assert os.pread(held, 20, 0).decode() == VF
    os.close(held)


def test_a_device_that_had_no_driver_has_none_again(machine: NamespaceMachine, tree: Path) -> None:
    machine.pci.unbind(VF)
    (tree / "devices" / VF / "driver").symlink_to("../../drivers/igbvf")
    held = os.open(tree / "drivers" / "igbvf" / "unbind", os.O_RDONLY)
    machine.close()
    assert os.pread(held, 20, 0).decode() == VF
    os.close(held)


def test_a_device_for_which_there_is_no_driver_is_told_of(
    machine: NamespaceMachine, tree: Path
) -> None:
    (tree / "devices" / VF / "modalias").write_text("pci:nobody\n")
    with pytest.raises(AgentRefused, match="modprobe pci:nobody: "):
        machine.pci.probe(VF)
