"""What a lab takes of the machine follows from its topology."""

import pytest

from harness.plan import make_plan, render
from harness.plan.model import Needs
from tests.plan.test_make import topology

MIB = 1 << 20
QEMU = 128 * MIB


def test_a_guest_in_a_namespace_has_two_qemus_while_it_migrates_and_half_a_cpu() -> None:
    assert make_plan(topology()).needs == Needs(cpus=0.5, memory=2 * (256 * MIB + QEMU))


def test_a_host_vm_counts_whole_and_its_guest_is_inside_of_it() -> None:
    # The topology's hosts have the defaults: two CPUs and 2 GiB each.
    assert make_plan(topology("vm")).needs == Needs(cpus=4.0, memory=2 * (2048 * MIB + QEMU))


def test_a_guest_that_can_be_nowhere_else_has_one_qemu() -> None:
    hosts = topology().model_dump()["hosts"]
    only = topology(hosts={"alpha": hosts["alpha"]})
    assert make_plan(only).needs == Needs(cpus=0.5, memory=256 * MIB + QEMU)


def test_what_runs_on_ssh_hosts_needs_nothing_of_this_machine() -> None:
    ssh = {"kind": "ssh", "ssh": {"address": "192.0.2.1", "key": "key"}, "bridges": {"br0": ["pf"]}}
    metal = ssh | {"nics": {"pf": {"model": "igb", "ifname": "enp1s0"}}}
    guests = topology().model_dump()["guests"]
    guests["g1"]["host"] = "metal"
    needs = make_plan(topology(hosts={"metal": metal}, guests=guests)).needs
    assert needs == Needs(cpus=0.0, memory=0)


@pytest.mark.parametrize("cpus", [1, 3])
def test_every_cpu_of_a_guest_counts(cpus: int) -> None:
    guests = topology().model_dump()["guests"]
    guests["g1"]["cpus"] = cpus
    assert make_plan(topology(guests=guests)).needs.cpus == cpus / 2


def test_the_plan_says_what_the_lab_needs() -> None:
    assert "needs of this machine: 0.5 CPUs, 768 MiB of memory" in render(make_plan(topology()))
