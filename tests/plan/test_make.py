"""The plan is a pure function of the topology, and says everything that will be made."""

import json
from typing import Any

import pytest

from harness.plan import make_plan, render
from harness.plan.model import Command
from harness.plan.names import derived_mac, ifname
from harness.plan.render import as_json
from harness.topology.model import Topology

MAC = "52:54:00:6f:55:cc"


def topology(kind: str = "netns", **changes: Any) -> Topology:
    """Two hosts and one guest with a pair; ``changes`` replace top-level keys."""
    pf = {"model": "igb", "vfs": 2} if kind == "vm" else {"model": "veth"}
    mg = {"model": "virtio-net-pci" if kind == "vm" else "veth"}
    host: dict[str, Any] = {
        "kind": kind,
        "nics": {"pf": {**pf, "network": "data"}, "mg": {**mg, "network": "mgmt"}},
        "bridges": {"br0": ["pf"]},
    }
    if kind == "vm":
        host["iommu"] = "intel"
    primary: dict[str, Any] = {"failover_pair_id": "net1"}
    primary |= (
        {"model": "vfio-pci", "vf": "pf"} if kind == "vm" else {"model": "e1000e", "bridge": "br0"}
    )
    data: dict[str, Any] = {
        "networks": {"data": {}, "mgmt": {"subnet": "10.78.0.0/24", "management": True}},
        "namespaces": {"client": {"nics": {"eth0": {"network": "data"}}}},
        "hosts": {"alpha": host, "beta": host},
        "guests": {
            "g1": {
                "host": "alpha",
                "nics": {
                    "net1": {
                        "model": "virtio-net-pci",
                        "bridge": "br0",
                        "mac": MAC,
                        "failover": True,
                    },
                    "hostdev0": primary,
                },
            }
        },
    }
    return Topology.model_validate(data | changes)


def option(command: Command, *starts: str) -> list[str]:
    """The arguments of ``command`` that begin with one of ``starts``."""
    return [arg for arg in command.args if arg.startswith(starts)]


@pytest.mark.parametrize("kind", ["netns", "vm"])
def test_the_same_topology_gives_the_same_plan(kind: str) -> None:
    assert make_plan(topology(kind)) == make_plan(topology(kind))
    assert as_json(make_plan(topology(kind))) == as_json(make_plan(topology(kind)))


def test_the_pair_is_what_qemus_document_says() -> None:
    command = make_plan(topology("vm")).guests["g1"].placements["alpha"].start["tcg"]
    assert option(command, "virtio-net-pci") == [
        f"virtio-net-pci,id=net1,netdev=tap-net1,mac={MAC},bus=rp-net1,romfile=,failover=on"
    ]
    assert option(command, "vfio-pci") == [
        "vfio-pci,id=hostdev0,host=@vf:hostdev0@,bus=rp-hostdev0,failover_pair_id=net1"
    ]


def test_an_emulated_primary_takes_the_standbys_mac_and_no_option_rom() -> None:
    command = make_plan(topology()).guests["g1"].placements["alpha"].start["tcg"]
    assert option(command, "e1000e") == [
        f"e1000e,id=hostdev0,netdev=tap-hostdev0,mac={MAC},bus=rp-hostdev0,romfile=,"
        "failover_pair_id=net1"
    ]


def test_every_nic_gets_a_root_port_with_a_slot_of_its_own() -> None:
    command = make_plan(topology()).guests["g1"].placements["alpha"].start["tcg"]
    assert option(command, "pcie-root-port") == [
        "pcie-root-port,id=rp-net1,chassis=1,slot=1",
        "pcie-root-port,id=rp-hostdev0,chassis=2,slot=2",
    ]


def test_the_destination_runs_the_same_machine_and_waits() -> None:
    placements = make_plan(topology()).guests["g1"].placements
    start, incoming = placements["alpha"].start["tcg"], placements["beta"].incoming["tcg"]
    assert incoming.args == (*start.args, "-incoming", "defer")


@pytest.mark.parametrize("kind", ["netns", "vm"])
def test_a_guest_is_saved_without_its_primaries_and_is_else_the_same_machine(kind: str) -> None:
    placement = make_plan(topology(kind)).guests["g1"].placements["alpha"]
    seed, start = placement.seed["tcg"].args, placement.start["tcg"].args
    left_out = [arg for arg in start if arg not in seed]
    assert [arg.partition(",")[0] for arg in left_out] == (
        ["tap", "e1000e"] if kind == "netns" else ["vfio-pci"]
    )
    kept = [arg for arg in start if arg in seed]
    for arg in left_out:  # each comes after an option's name
        del kept[kept.index("-netdev" if arg.startswith("tap") else "-device")]
    assert sorted(kept) == sorted(seed)


def test_a_guest_with_a_vf_that_is_no_primary_cannot_be_saved() -> None:
    data = topology("vm").model_dump(mode="json", exclude_none=True)
    data["guests"]["g1"]["nics"]["alone"] = {"model": "vfio-pci", "vf": "pf"}
    placement = make_plan(Topology.model_validate(data)).guests["g1"].placements["alpha"]
    assert placement.start
    assert not placement.seed


@pytest.mark.parametrize("key", [{"unchecked": True}, {"orchestration": "management"}])
def test_a_guest_whose_primaries_nothing_plugs_after_a_load_is_not_saved(
    key: dict[str, object],
) -> None:
    data = topology().model_dump(mode="json", exclude_none=True)
    data["guests"]["g1"] |= key
    for placement in make_plan(Topology.model_validate(data)).guests["g1"].placements.values():
        assert placement.start
        assert not placement.seed


def test_auto_plans_both_accelerators_and_a_fixed_one_only_itself() -> None:
    plan = make_plan(topology())
    assert set(plan.guests["g1"].placements["alpha"].start) == {"kvm", "tcg"}
    fixed = topology().model_dump(mode="json", exclude_none=True)
    fixed["guests"]["g1"]["accelerator"] = "tcg"
    plan = make_plan(Topology.model_validate(fixed))
    assert set(plan.guests["g1"].placements["alpha"].start) == {"tcg"}


def test_a_host_without_the_guests_bridge_is_an_obstacle_not_an_error() -> None:
    data = topology().model_dump(mode="json", exclude_none=True)
    data["hosts"]["beta"]["bridges"] = {}
    placement = make_plan(Topology.model_validate(data)).guests["g1"].placements["beta"]
    assert placement.obstacle == "no bridge 'br0' there"
    assert not placement.start


def test_guests_never_share_a_virtual_function() -> None:
    data = topology("vm").model_dump(mode="json", exclude_none=True)
    second = json.loads(json.dumps(data["guests"]["g1"]).replace(MAC, "52:54:00:6f:55:dd"))
    data["guests"]["g2"] = second
    guests = make_plan(Topology.model_validate(data)).guests
    indices = [guests[g].placements["beta"].vfs[0].index for g in ("g1", "g2")]
    assert indices == [0, 1]


def test_a_vf_asked_for_by_number_keeps_it_and_the_others_go_round() -> None:
    data = topology("vm").model_dump(mode="json", exclude_none=True)
    second = json.loads(json.dumps(data["guests"]["g1"]).replace(MAC, "52:54:00:6f:55:dd"))
    second["nics"]["hostdev0"]["vf"] = "pf/0"
    data["guests"]["g2"] = second
    guests = make_plan(Topology.model_validate(data)).guests
    indices = [guests[g].placements["alpha"].vfs[0].index for g in ("g1", "g2")]
    assert indices == [1, 0]


def test_the_iommu_comes_before_the_devices_it_translates_for() -> None:
    args = make_plan(topology("vm")).hosts["alpha"].boot["tcg"].args
    devices = [args[i + 1].split(",")[0] for i, arg in enumerate(args) if arg == "-device"]
    assert devices[0] == "intel-iommu"
    assert devices.index("pcie-root-port") < devices.index("igb")


def test_hosts_that_differ_in_names_and_addresses_only_have_one_command() -> None:
    plan = make_plan(topology("vm"))
    alpha, beta = plan.hosts["alpha"], plan.hosts["beta"]
    assert alpha.boot == beta.boot
    told = " ".join(alpha.boot["tcg"].args)
    for host in (alpha, beta):
        for link in host.links:
            assert not any(word in told for word in (link.mac, link.port, *link.addresses))


def test_another_amount_of_memory_is_another_command() -> None:
    data = topology("vm").model_dump(mode="json", exclude_none=True)
    data["hosts"]["beta"]["memory"] = "3G"
    hosts = make_plan(Topology.model_validate(data)).hosts
    assert hosts["alpha"].boot["tcg"] != hosts["beta"].boot["tcg"]


def test_the_nics_of_a_host_vm_have_addresses_of_their_own_until_it_is_told_its_own() -> None:
    links = make_plan(topology("vm")).hosts["alpha"].links
    boot_macs = [link.boot_mac or "" for link in links]
    assert len(set(boot_macs)) == len(links)
    assert not set(boot_macs) & {link.mac for link in links}
    assert all(int(mac[:2], 16) & 0b11 == 0b10 for mac in boot_macs)  # local, and of one NIC


def test_management_addresses_are_given_out_in_the_files_order() -> None:
    plan = make_plan(topology())
    assert {n.name: n.address for n in plan.networks} == {"data": None, "mgmt": "10.78.0.1/24"}
    assert plan.hosts["alpha"].management_address == "10.78.0.2"
    assert plan.hosts["beta"].management_address == "10.78.0.3"


def test_all_steps_have_their_needs_before_them() -> None:
    for kind in ("netns", "vm"):
        seen: set[str] = set()
        for step in make_plan(topology(kind)).steps:
            assert set(step.needs) <= seen
            seen.add(step.id)
        assert "ready g1" in seen


def test_no_two_derived_mac_addresses_are_equal() -> None:
    plan = make_plan(topology("vm"))
    macs = [link.mac for host in plan.hosts.values() for link in host.links]
    macs += [link.mac for ns in plan.namespaces for link in ns.links]
    assert len(set(macs)) == len(macs)


def test_a_taken_mac_is_not_derived_again() -> None:
    first = derived_mac((), "host", "alpha")
    assert derived_mac({first}, "host", "alpha") != first


@pytest.mark.parametrize(
    ("parts", "name"),
    [(("g1", "net1"), "t-g1-net1"), (("a-long-guest-name", "net1"), "t-a-long-.060d6")],
)
def test_interface_names_fit_the_kernels_limit(parts: tuple[str, ...], name: str) -> None:
    assert ifname("t", *parts) == name
    assert len(name) <= 15


def test_tokens_are_replaced_wherever_they_stand() -> None:
    command = Command("qemu", ("-device", "vfio-pci,host=@vf:hostdev0@", "@run@/qmp.sock"))
    assert command.resolved({"vf:hostdev0": "0000:01:10.0", "run": "/r"}) == (
        "-device",
        "vfio-pci,host=0000:01:10.0",
        "/r/qmp.sock",
    )


@pytest.mark.parametrize("kind", ["netns", "vm"])
def test_the_text_names_every_part(kind: str) -> None:
    plan = make_plan(topology(kind))
    text = render(plan)
    for word in ("network data", "namespace client", "host beta", "guest g1", "t-g1-net1", MAC):
        assert word in text
    for placement in plan.guests["g1"].placements.values():
        for command in (*placement.start.values(), *placement.incoming.values()):
            assert all(arg in text for arg in command.args if " " not in arg)


def guest_with(**changes: Any) -> Topology:
    """The topology with other keys of its guest; those of a NIC by ``NIC: {...}``."""
    data = topology().model_dump(mode="python", exclude_unset=True)
    guest = data["guests"]["g1"]
    for nic in ("net1", "hostdev0"):
        guest["nics"][nic] |= changes.pop(nic, {})
    return Topology.model_validate(data | {"guests": {"g1": guest | changes}})


def test_a_nic_that_is_not_plugged_is_in_the_plan_and_not_on_the_command_line() -> None:
    placement = make_plan(guest_with(hostdev0={"plugged": False})).guests["g1"].placements["alpha"]
    command = placement.start["tcg"]

    assert option(command, "e1000e", "tap,id=tap-hostdev0") == []
    assert [tap.nic for tap in placement.taps] == ["net1", "hostdev0"]
    assert "pcie-root-port,id=rp-hostdev0,chassis=2,slot=2" in command.args
    device = placement.devices["hostdev0"]
    assert device.netdev["ifname"] == "t-g1-hostdev0"
    assert device.device["failover_pair_id"] == "net1"


def test_in_json_a_device_has_the_same_properties_as_in_the_classic_syntax() -> None:
    classic = make_plan(guest_with()).guests["g1"].placements["alpha"]
    as_json_ = make_plan(guest_with(device_syntax="json")).guests["g1"].placements["alpha"]

    (standby,) = (
        json.loads(arg) for arg in as_json_.start["tcg"].args if '"virtio-net-pci"' in arg
    )
    assert standby == dict(classic.devices["net1"].device)
    assert standby["failover"] is True
    (port, _) = option(as_json_.start["tcg"], '{"driver": "pcie-root-port"')
    assert json.loads(port)["slot"] == 1
    assert option(as_json_.start["tcg"], "pcie-root-port", "virtio-net-pci") == []


def test_native_hotplug_switches_acpis_off() -> None:
    switched = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"

    assert switched in start_of(guest_with(acpi_hotplug=False)).args
    assert switched not in start_of(guest_with()).args


def start_of(made: Topology) -> Command:
    return make_plan(made).guests["g1"].placements["alpha"].start["tcg"]


def test_a_guest_that_is_not_started_has_a_plan_and_no_steps() -> None:
    plan = make_plan(guest_with(started=False))

    assert not plan.guests["g1"].started
    assert [step.id for step in plan.steps if step.id.endswith(" g1")] == []
    assert start_of(guest_with(started=False)) == start_of(guest_with())


def test_an_unchecked_pair_without_a_mac_gets_none_from_the_plan_but_knows_qemus() -> None:
    given = guest_with(unchecked=True, net1={"mac": None})
    plan = make_plan(given).guests["g1"]

    assert "mac" not in plan.placements["alpha"].devices["net1"].device
    assert plan.pairs[0].mac == "52:54:00:12:34:56"
