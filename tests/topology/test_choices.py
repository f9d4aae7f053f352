"""What an option chooses is in the topology and its plan, or is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.plan import make_plan
from harness.topology import Choices, Topology, choose, load, parse_choices

ROOT = Path(__file__).parents[2]
FLAT = load(ROOT / "topologies" / "flat-pair.yaml")
NESTED = load(ROOT / "topologies" / "nested-vfio.yaml")
PINNED = "pc-q35-10.0"


def chosen(choices: Choices, topology: Topology = FLAT) -> Topology:
    return choose(topology, choices, "flat.yaml")


def test_nothing_chosen_leaves_the_topology_as_it_is() -> None:
    assert not parse_choices()
    assert chosen(parse_choices()) is FLAT


def test_every_choice_is_in_the_commands_of_the_guests() -> None:
    made = chosen(
        parse_choices(qemu=["qemu-11"], guest_kernel="kernel-7", machine=PINNED, accelerator="tcg")
    )
    (guest,) = make_plan(made).guests.values()
    for placement in guest.placements.values():
        assert list(placement.start) == ["tcg"]
        command = placement.start["tcg"]
        assert command.qemu == "qemu-11"
        assert f"-machine {PINNED} " in " ".join(command.args)
        assert "@kernel:kernel-7@/vmlinux" in command.args
        assert "@guest:guest:kernel-7@/initramfs" in command.args


def test_each_host_can_have_a_qemu_of_its_own_and_carries_that_one_only() -> None:
    made = chosen(parse_choices(qemu=["qemu-10.0", "beta=qemu-11"], machine=PINNED), NESTED)
    plan = make_plan(made)
    (guest,) = plan.guests.values()
    for host, qemu in {"alpha": "qemu-10.0", "beta": "qemu-11"}.items():
        assert guest.placements[host].incoming["tcg"].qemu == qemu
        assert [ref.name for ref in plan.hosts[host].carried if ref.kind == "qemu"] == [qemu]
    # The QEMU that runs the host itself is another matter.
    assert {command.qemu for command in plan.hosts["beta"].boot.values()} == {"qemu"}


def test_a_choice_for_one_host_leaves_the_others_with_the_topologys_own() -> None:
    made = chosen(parse_choices(qemu=["beta=qemu-11"], machine=PINNED))
    assert made.guests["g1"].qemu == {"alpha": "qemu", "beta": "qemu-11"}
    same = chosen(parse_choices(qemu=["beta=qemu"]))
    assert same.guests["g1"].qemu == "qemu"


def test_the_kernel_of_hosts_is_chosen_for_those_that_are_booted() -> None:
    made = chosen(parse_choices(host_kernel="kernel-7"), NESTED)
    assert {host.kernel for host in made.hosts.values()} == {"kernel-7"}
    assert {guest.kernel for guest in made.guests.values()} == {"kernel"}


def test_choices_come_back_from_their_record_and_read_as_options() -> None:
    choices = parse_choices(
        qemu=["qemu", "beta=path:/a=b"], host_kernel="kernel", accelerator="kvm"
    )
    assert Choices.model_validate(choices.given()) == choices
    assert choices.options() == (
        *("--qemu", "qemu", "--qemu", "beta=path:/a=b"),
        *("--host-kernel", "kernel", "--accelerator", "kvm"),
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"qemu": ["a", "b"]}, "--qemu b: every host has 'a' already"),
        ({"qemu": ["beta=a", "beta=b"]}, "--qemu beta=b: host beta has 'a' already"),
        ({"qemu": ["beta="]}, "--qemu beta=: wanted a name, found nothing"),
        ({"machine": " "}, "--machine: wanted a name, found nothing"),
        ({"accelerator": "xen"}, "--accelerator xen: wanted 'kvm' or 'tcg'"),
        ({"accelerator": "auto"}, "--accelerator auto: wanted 'kvm' or 'tcg'"),
    ],
)
def test_options_that_say_nothing_or_two_things_are_refused(
    words: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError) as refused:
        parse_choices(**words)  # type: ignore[arg-type]
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (
            parse_choices(qemu=["betta=qemu-11"]),
            "--qemu betta=qemu-11: 'betta' is not a host of flat.yaml\n"
            "  hint: did you mean 'beta'?",
        ),
        (
            parse_choices(host_kernel="kernel-7"),
            "--host-kernel kernel-7: flat.yaml has no host of kind vm",
        ),
        (
            parse_choices(qemu=["beta=qemu-11"]),
            "flat.yaml with --qemu beta=qemu-11: guests.g1.machine: 'q35' is another machine "
            "to each QEMU, and guest 'g1' has several of them\n"
            "  hint: name a version that all of them know, as in 'pc-q35-9.2'",
        ),
        (
            parse_choices(machine="pc"),
            "flat.yaml with --machine pc: guests.g1.machine: 'pc' has no PCIe root ports",
        ),
    ],
)
def test_choices_that_do_not_fit_the_topology_are_refused(choices: Choices, told: str) -> None:
    with pytest.raises(InputError) as refused:
        chosen(choices)
    assert told in str(refused.value)
