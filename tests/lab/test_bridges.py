"""What is recorded of a bridge's entries, from a real bridge in a namespace."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from harness.lab.bridges import BridgeWatch, guests_by_mac, ports_of_host, ports_of_lab
from harness.observe import FactLog, HostEvent
from harness.plan import make_plan
from harness.plan.model import Plan
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.topology import load

ROOT = pathlib.Path(__file__).parents[2]
MAC = "52:54:00:6f:55:cc"
SEND = """
import socket, sys
frame = bytes.fromhex("ffffffffffff" + sys.argv[2].replace(":", "") + "88b5") + bytes(46)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
    packets.bind((sys.argv[1], 0))
    packets.send(frame)
"""


def plan_of(name: str) -> Plan:
    return make_plan(load(ROOT / "topologies" / name))


def test_the_ports_of_a_host_are_the_pairs_taps_and_the_uplink() -> None:
    assert ports_of_host(plan_of("flat-pair.yaml"), "beta", {"pf": "pf", "mg": "mg"}) == {
        "pf": "uplink",
        "t-g1-net1": "standby",
        "t-g1-hostdev0": "primary",
    }
    assert ports_of_host(plan_of("nested-vfio.yaml"), "alpha", {"pf": "eth1", "mg": "eth0"}) == {
        "eth1": "uplink",
        "t-g1-net1": "standby",
    }


def test_behind_a_port_of_a_network_is_a_machine() -> None:
    plan = plan_of("nested-vfio.yaml")

    assert ports_of_lab(plan) == {
        "p-client-eth0": "client",
        "p-alpha-pf": "alpha",
        "p-alpha-mg": "alpha",
        "p-beta-pf": "beta",
        "p-beta-mg": "beta",
    }
    assert guests_by_mac(plan) == {MAC: "g1"}


@pytest.fixture
def machine() -> Iterator[NamespaceMachine]:
    """A host with a bridge; f0 and f1 are behind its ports p0 and p1."""
    with (
        Sandbox("test") as sandbox,
        NamespaceMachine(sandbox, sandbox.namespace("alpha")) as made,
    ):
        made.links.create_bridge("br0")
        made.links.set("br0", up=True)
        for number in "01":
            made.links.create_veth(f"p{number}", f"f{number}")
            made.links.set(f"p{number}", master="br0", up=True)
            made.links.set(f"f{number}", up=True)
        yield made


def test_each_change_is_a_fact_that_says_what_is_behind_the_ports(
    machine: NamespaceMachine,
) -> None:
    facts = FactLog(None)
    ports = {"p0": "standby", "p1": "primary"}
    watch = BridgeWatch("alpha", machine, ports, {MAC: "g1"}, facts.add)
    watch.begin()
    for name in ("f0", "f1"):
        machine.run(["python3", "-c", SEND, name, MAC])
    machine.links.delete_fdb("p1", MAC)
    removed = lambda fact: isinstance(fact, HostEvent) and fact.event == "fdb-removed"  # noqa: E731
    assert facts.wait(removed, timeout=10)
    watch.end()
    machine.run(["python3", "-c", SEND, "f0", MAC])

    found = [fact for fact in facts.facts if isinstance(fact, HostEvent)]
    assert [(one.event, one.device, one.guest, one.host) for one in found] == [
        ("fdb-learned", "p0", "g1", "alpha"),
        ("fdb-moved", "p1", "g1", "alpha"),
        ("fdb-removed", "p1", "g1", "alpha"),
    ]
    there = {"mac": MAC, "bridge": "br0"}
    assert [one.data for one in found] == [
        {**there, "behind": "standby"},
        {**there, "behind": "primary", "from": "p0", "from_behind": "standby"},
        {**there, "behind": "primary"},
    ]


def test_a_machine_that_is_gone_does_not_fail_the_end_of_the_watch(
    machine: NamespaceMachine,
) -> None:
    facts = FactLog(None)
    watch = BridgeWatch("alpha", machine, {}, {MAC: "g1"}, facts.add)
    watch.begin()
    machine.close()

    watch.end()

    assert [fact.kind for fact in facts.facts] == ["note"]
