"""A NIC that somebody uses is not touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import EXIT_INPUT, InputError
from harness.nicprobe.walk import must_be_free
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox

PF, VF = "0000:01:00.0", "0000:01:10.0"


@pytest.fixture
def machine() -> Iterator[NamespaceMachine]:
    """A machine with ``eth1``, for which a sysfs made by hand has an SR-IOV device."""
    with (
        Sandbox("test") as sandbox,
        NamespaceMachine(sandbox, sandbox.namespace("metal")) as made,
    ):
        made.links.create_veth("eth1", "eth2")
        made.run(["mount", "-t", "tmpfs", "tmpfs", "/sys/bus"])
        made.run(["mount", "-t", "tmpfs", "tmpfs", "/sys/class"])
        device = made.space.path(f"/sys/bus/pci/devices/{PF}")
        device.mkdir(parents=True)
        (device / "sriov_totalvfs").write_text("7\n")
        for name in ("eth1", "eth2"):
            made.space.path(f"/sys/class/net/{name}").mkdir(parents=True)
        made.space.path("/sys/class/net/eth1/device").symlink_to(f"/sys/bus/pci/devices/{PF}")
        yield made


def function(machine: NamespaceMachine, driver: str) -> None:
    """The NIC's owner has enabled a virtual function and given it to ``driver``."""
    devices = machine.space.path("/sys/bus/pci/devices")
    (devices / VF).mkdir()
    (devices / PF / "virtfn0").symlink_to(f"../{VF}")
    (devices / VF / "driver").symlink_to(f"../../drivers/{driver}")


def test_a_free_nic_is_taken(machine: NamespaceMachine) -> None:
    assert must_be_free(machine, "eth1", 0, anyway=False).pci == PF


def test_a_nic_with_an_address_is_refused_unless_it_may_be_taken(machine: NamespaceMachine) -> None:
    machine.links.add_address("eth1", "10.9.0.1/24")
    with pytest.raises(
        InputError, match=r"metal: eth1 is in use: address 10\.9\.0\.1/24"
    ) as caught:
        must_be_free(machine, "eth1", 0, anyway=False)
    assert caught.value.exit_code == EXIT_INPUT
    assert "--yes" in caught.value.hint
    assert must_be_free(machine, "eth1", 0, anyway=True).name == "eth1"


def test_functions_that_are_enabled_are_a_use(machine: NamespaceMachine) -> None:
    function(machine, "igbvf")
    with pytest.raises(InputError, match="eth1 is in use: 1 virtual functions are enabled"):
        must_be_free(machine, "eth1", 0, anyway=False)
    must_be_free(machine, "eth1", 0, anyway=True)


def test_a_function_of_vfio_is_never_taken(machine: NamespaceMachine) -> None:
    function(machine, "vfio-pci")
    with pytest.raises(InputError, match=rf"VF 0 of eth1 \({VF}\) is in the hands of vfio-pci"):
        must_be_free(machine, "eth1", 0, anyway=True)
    must_be_free(machine, "eth1", 1, anyway=True)


def test_a_netdev_without_functions_is_refused(machine: NamespaceMachine) -> None:
    with pytest.raises(InputError, match="metal: eth2 has no virtual functions"):
        must_be_free(machine, "eth2", 0, anyway=True)
    with pytest.raises(InputError, match="metal: no netdev 'eth3'"):
        must_be_free(machine, "eth3", 0, anyway=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["lo"], "this machine: lo has no virtual functions"),
        ([], "probe-nic: name a PF"),
        (["--topology", "TOPOLOGY", "--host", "alpha"], "--topology goes with --host and --nic"),
        (["--topology", "TOPOLOGY", "--host", "gamma", "--nic", "pf"], "no host 'gamma'"),
        (["--topology", "TOPOLOGY", "--host", "alpha", "--nic", "eth9"], "'eth9' is no NIC"),
        (["metal:eth1"], "metal: give the ssh key with --key FILE"),
        (["a:eth1", "--ssh", "b", "--key", "k"], "--ssh b and a:eth1 name a machine each"),
        (["eth1", "--ssh", "b c", "--key", "k"], r"'b c' is no [USER@]HOST[:PORT]"),
        (["eth1", "--vlan", "4094"], "--vlan 4094: has to be from 1 to 4093"),
        (["eth1", "--frames", "0"], "--frames has to be 1 or more"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_done(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topology = Path(__file__).parents[2] / "topologies" / "nested-vfio.yaml"
    argv = [str(topology) if word == "TOPOLOGY" else word for word in argv]
    assert main(["probe-nic", *argv]) == EXIT_INPUT
    assert message in capsys.readouterr().err
