"""The key of a guest's state changes with everything that the state depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.images import GuestImage, Kernel, StateKey, Toolchain
from harness.lab.statekey import emulation, guest_key
from harness.plan import make_plan
from harness.plan.model import GuestPlan, ImageRef
from harness.topology.model import Topology

NOWHERE = Path("/nowhere")
MADE: Mapping[str, Toolchain | Kernel | GuestImage] = {
    "qemu": Toolchain("qemu", "a" * 64, "10.0.13", NOWHERE, (), (), frozenset()),
    "kernel": Kernel("kernel", "b" * 64, "6.12.1", "6.12", NOWHERE, NOWHERE, NOWHERE),
    "guest": GuestImage("guest", "c" * 64, "6.12.1", NOWHERE),
}
CPU = (
    "processor : 0\nvendor_id : V\nmodel name : M\nflags : fpu {more}\ncpu MHz : {mhz}\n\nprocessor"
)


class _Terms:
    kernel = "6.1.0"


class _Machine:
    """Tells of a processor."""

    name = "alpha"
    terms = _Terms()

    def __init__(self, cpu: str) -> None:
        self.cpu = cpu

    def read_text(self, path: str) -> str:
        assert path == "/proc/cpuinfo"
        return self.cpu


class _Host:
    name = "alpha"

    def __init__(self, cpu: str = CPU.format(more="svm", mhz=1000)) -> None:
        self.machine = _Machine(cpu)


class _Images:
    def __init__(self, **other: str) -> None:
        self._other = other

    def get(self, ref: ImageRef) -> Toolchain | Kernel | GuestImage:
        made = MADE[ref.kind]
        return replace(made, digest=self._other.get(ref.kind, made.digest))


def guest(**changes: Any) -> GuestPlan:
    nic: dict[str, Any] = {
        "model": "virtio-net-pci", "bridge": "br0", "mac": "52:54:00:6f:55:cc", "failover": True,
        "address": "10.0.0.2/24",
    }  # fmt: skip
    nic |= changes.pop("standby", {})
    primary = {"model": "e1000e", "bridge": "br0", "failover_pair_id": "net1"}
    primary |= changes.pop("primary", {})
    plan = make_plan(
        Topology.model_validate(
            {
                "networks": {"data": {}},
                "hosts": {
                    "alpha": {
                        "kind": "netns",
                        "nics": {"pf": {"model": "veth", "network": "data"}},
                        "bridges": {"br0": ["pf"]},
                    }
                },
                "guests": {
                    "g1": {"host": "alpha", "nics": {"net1": nic, "dev0": primary}} | changes
                },
            }
        )
    )
    return plan.guests["g1"]


def key(
    plan: GuestPlan | None = None,
    *,
    host: Any = None,
    accelerator: str = "tcg",
    emulated_by: str = "",
    **images: str,
) -> StateKey:
    made: Any = _Images(**images)
    return guest_key(plan or guest(), host or _Host(), made, accelerator, emulated_by)


def test_the_same_guest_has_the_same_key() -> None:
    assert key().digest == key().digest


@pytest.mark.parametrize("image", MADE)
def test_another_image_gives_another_key(image: str) -> None:
    assert key(**{image: "d" * 64}).digest != key().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": "512M"},
        {"machine": "pc-q35-9.2"},
        {"cpus": 2},
        {"cpu": "max"},
        {"kernel_args": ["debug"]},
        {"standby": {"mac": "52:54:00:6f:55:dd"}},
        {"standby": {"address": "10.0.0.3/24"}},
        {"standby": {"mtu": 1400}},
        {"standby": {"vhost": True}},
        {"standby": {"queues": 2}},
        {"primary": {"bus": "rp9"}},
        {"root_ports": {"spare": {}}},
    ],
    ids=str,
)
def test_every_argument_of_the_machine_counts(changes: dict[str, Any]) -> None:
    assert key(guest(**changes)).digest != key().digest


def test_the_accelerator_counts() -> None:
    assert key(accelerator="kvm").digest != key(accelerator="tcg").digest


def test_under_kvm_the_processor_counts_and_its_clock_does_not() -> None:
    def on(more: str, mhz: int) -> str:
        return key(host=_Host(CPU.format(more=more, mhz=mhz)), accelerator="kvm").digest

    assert on("svm", 1000) == on("svm", 2000)
    assert on("svm", 1000) != on("svm avx", 1000)


def test_emulated_by_qemu_a_guest_does_not_depend_on_the_processor() -> None:
    assert key(host=_Host(CPU.format(more="avx", mhz=1))).digest == key().digest


def test_what_emulates_a_host_vm_counts() -> None:
    command = ("qemu", "-accel", "tcg", "-cpu", "max", "-name", "alpha", "-m", "1G")
    one = emulation(command, "10.0.13 aaaa", "6.12")
    assert one == "10.0.13 aaaa -accel tcg -cpu max 6.12"
    assert key(emulated_by=one).digest != key().digest


def test_the_name_of_an_images_recipe_does_not_count() -> None:
    assert key(guest(qemu="other", kernel="other", image="other")).digest == key().digest


def test_a_state_goes_with_the_images_that_it_was_made_from() -> None:
    assert set(key().needs) == {made.digest for made in MADE.values()}
