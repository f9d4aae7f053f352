"""Who sends what to whom, worked out of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.case import Stream
from harness.errors import LabError
from harness.plan import make_plan
from harness.plan.model import Plan
from harness.scenario.ends import End, ends_of, specs_of
from harness.topology import load
from tests.cli.places import ROOT

FLOW = {"rate": "10/s", "size": 128}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(load(ROOT / "topologies" / "flat-two-guests.yaml"))


def stream(sender: str, receiver: str, **terms: object) -> Stream:
    given = {"udp": FLOW} if not {"icmp_echo", "tcp"} & set(terms) else {}
    return Stream.model_validate({"from": sender, "to": receiver, **given, **terms})


def test_the_ends_are_the_first_addresses_in_one_subnet(plan: Plan) -> None:
    ((spec, source, target),) = specs_of(plan, {"in": stream("client", "g1")}).values()

    assert (source.machine, source.kind, source.address) == ("client", "namespace", "10.77.0.1")
    assert target == End("g1", "guest", "net1", "52:54:00:6f:55:cc", "10.77.0.2")
    assert (str(spec.source), str(spec.destination)) == ("10.77.0.1", "10.77.0.2")
    assert (spec.source_mac, spec.destination_mac) == (source.mac, target.mac)


def test_a_stream_of_a_version_runs_between_addresses_of_it(plan: Plan) -> None:
    source, target = ends_of(plan, "up", stream("g2", "g1", ip=6))

    assert (source.interface, source.address) == ("net0", "fd77::3")
    assert (target.interface, target.address) == ("net1", "fd77::2")


def test_all_terms_reach_the_sender(plan: Plan) -> None:
    counted = stream("g1", "g2", dscp="AF41", udp={**FLOW, "count": 40})
    timed = stream("g1", "g2", icmp_echo={**FLOW, "duration": "2s"})

    specs = specs_of(plan, {"counted": counted, "timed": timed})

    assert (specs["counted"][0].dscp, specs["counted"][0].packets) == (34, 40)
    assert (specs["timed"][0].protocol, specs["timed"][0].packets) == ("icmp-echo", 20)


@pytest.mark.parametrize(
    ("version", "source", "target"),
    [(4, "198.18.12.129", "198.18.12.130"), (6, "2001:2:0:64::1", "2001:2:0:64::2")],
)
def test_a_tagged_stream_runs_between_the_addresses_in_its_vlan(
    plan: Plan, version: int, source: str, target: str
) -> None:
    tagged = stream("client", "g1", vlan=100, ip=version)

    ((spec, near, far),) = specs_of(plan, {"tagged": tagged}).values()

    assert (spec.vlan, near.address, far.address) == (100, source, target)
    assert (near.interface, far.interface) == ("eth0", "net1")


def test_streams_are_told_apart_by_numbers_and_ports_and_tcp_is_none_of_them(plan: Plan) -> None:
    streams = {
        "a": stream("client", "g1"),
        "b": stream("client", "g1", tcp={"rate": "8Mbit/s"}),
        "c": stream("g2", "g1"),
    }

    specs = specs_of(plan, streams)

    assert list(specs) == ["a", "c"]
    assert [spec.stream_id for spec, _, _ in specs.values()] == [1, 2]
    assert len({spec.destination_port for spec, _, _ in specs.values()}) == 2


def test_machines_that_share_no_subnet_cannot_send_to_each_other(plan: Plan) -> None:
    guest = plan.guests["g1"]
    nics = {name: nic.model_copy(update={"address": ()}) for name, nic in guest.nics.items()}
    without = replace(plan, guests={**plan.guests, "g1": replace(guest, nics=nics)})

    with pytest.raises(LabError, match="client and g1 have no addresses in one subnet"):
        ends_of(without, "in", stream("client", "g1"))


def test_a_tcp_stream_has_ends_too(plan: Plan) -> None:
    source, target = ends_of(plan, "t", stream("g1", "client", ip=6, tcp={"rate": "8Mbit/s"}))

    assert (source.address, target.address) == ("fd77::2", "fd77::1")
