"""The TCP streams of a case as ``scenario`` runs them: real programs, a real labprobe, a veth.

What stands in for a lab is a namespace that plays the guest and one that plays the client.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness.case import BoundCase, bind, load_case
from harness.lab import Lab
from harness.observe import FactLog, TcpFact
from harness.observe.record import now_ns
from harness.plan import Plan, make_plan
from harness.record import RunDir
from harness.report.tcp import measured_tcp
from harness.scenario import tcp
from harness.scenario.flowing import NotFlowing
from harness.scenario.tcp import TcpTraffic
from harness.traffic.tcprecord import read_tcp_record
from harness.verdict import MeasuredTcp
from harness.verdict.tcp import doubt_about_tcp
from tests.case.files import HEAD, TOPOLOGY, write
from tests.labprobe.guests import Guest, guest
from tests.traffic.namespaces import Side, veth_pair

TWO = """\
  g2:
    host: beta
    nics: {net0: {model: virtio-net-pci, bridge: br0, address: [10.9.0.1/24, "fd00:9::1/64"]}}
"""
HERE = TOPOLOGY.replace("10.77.0.2/24", '[10.9.0.2/24, "fd00:9::2/64"]')
HERE = HERE.replace("10.77.0.1/24", '[10.9.0.1/24, "fd00:9::1/64"]')
DOWN = "down: {from: client, to: g1, after: 100ms, tcp: {rate: 800kbit/s}}"
UP = "up: {from: g1, to: client, after: 100ms, dscp: 46, tcp: {rate: 800kbit/s}}"


@dataclass(frozen=True)
class _Started:
    outer: subprocess.Popen[bytes]


@dataclass(frozen=True)
class _Sandbox:
    """Starts programs where the lab would: in the namespace of the client."""

    side: Side

    def popen(self, space: object, argv: Sequence[str], **_pipes: int) -> _Started:
        assert space == "client"
        return _Started(self.side.spawn(argv))


@dataclass(frozen=True)
class _Space:
    space: str


@dataclass(frozen=True)
class _Lab:
    """As much of a lab as TCP streams need of one."""

    plan: Plan
    sandbox: _Sandbox
    namespaces: dict[str, _Space]
    guests: dict[str, Guest]
    facts: FactLog


@dataclass(frozen=True)
class Bench:
    """A case on two namespaces that play its lab."""

    sides: tuple[Side, Side]
    one: Guest
    folder: Path
    other: Guest | None = None

    def case(self, *streams: str) -> BoundCase:
        text = HEAD + "traffic: {" + ", ".join(streams) + "}\n"
        topology = HERE.replace("  client:", "  none:").replace("10.9.0.1/24, ", "10.9.0.9/24, ")
        topology = topology.replace("fd00:9::1/64", "fd00:9::9/64") + TWO if self.other else HERE
        return bind(load_case(write(self.folder, text, topology=topology)))

    def traffic(self, bound: BoundCase) -> tuple[TcpTraffic, RunDir]:
        run = RunDir.create(self.folder / "run")
        lab = _Lab(
            make_plan(bound.topology),
            _Sandbox(self.sides[0]),
            {"client": _Space("client")},
            {"g1": self.one, **({"g2": self.other} if self.other else {})},
            self.one.log,
        )
        return TcpTraffic(cast(Lab, lab), bound.traffic, run), run

    def measured(self, bound: BoundCase, run: RunDir, name: str) -> MeasuredTcp:
        found = measured_tcp(run, name, bound.traffic[name], self.one.log.facts)
        assert doubt_about_tcp(found, bound.traffic[name]) == ""
        return found

    def drop_all(self) -> None:
        for side in self.sides:
            drop = (
                f"chain c {{ type filter hook ingress device {side.interface} priority 0; drop; }};"
            )
            side.run("nft", "-f", "-", stdin=f"table netdev t {{ {drop} }};\n")

    def let_all(self) -> None:
        for side in self.sides:
            side.run("nft", "delete", "table", "netdev", "t")


@pytest.fixture
def bench(labprobe: Path, tmp_path: Path) -> Iterator[Bench]:
    with veth_pair() as sides, guest(labprobe, sides[1], tmp_path / "port") as one:
        yield Bench(sides, one, tmp_path)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def test_both_directions_go_whole_and_leave_both_ends_records(bench: Bench) -> None:
    bound = bench.case(DOWN, UP)
    traffic, run = bench.traffic(bound)

    traffic.begin()
    traffic.prove_flow()
    pause(0.3)
    traffic.finish()

    facts = {fact.stream: fact for fact in bench.one.log.facts if isinstance(fact, TcpFact)}
    assert {name: (one.sender_clock, one.sink_clock) for name, one in facts.items()} == {
        "down": ("run", "guest"),
        "up": ("guest", "run"),
    }
    assert facts["up"].dscp == 46
    for name, fact in facts.items():
        found = bench.measured(bound, run, name)
        assert found.sender is not None
        assert found.sink is not None
        assert found.sink.totals.octets == found.sender.totals.octets >= 30_000
        assert (found.sink.totals.whole, found.sink.totals.corrupt) == (True, 0)
        assert fact.flowing_ns < found.ended_ns <= fact.t_ns


def test_guests_send_to_each_other_over_ipv6(labprobe: Path, bench: Bench, tmp_path: Path) -> None:
    with guest(labprobe, bench.sides[0], tmp_path / "other") as other:
        two = replace(bench, other=other)
        bound = two.case(
            "there: {from: g2, to: g1, ip: 6, after: 100ms, tcp: {rate: 800kbit/s}}",
            "back: {from: g1, to: g2, ip: 6, after: 100ms, tcp: {rate: 800kbit/s}}",
        )
        traffic, run = two.traffic(bound)
        traffic.begin()
        traffic.prove_flow()
        pause(0.3)
        traffic.finish()

        for name in ("there", "back"):
            found = measured_tcp(run, name, bound.traffic[name], two.one.log.facts)
            assert found.fact is not None
            assert (found.fact.ip_version, found.fact.sender_clock, found.fact.sink_clock) == (
                6, "guest", "guest",
            )  # fmt: skip
            sink = read_tcp_record(run.file(found.fact.sink_record))
            assert (sink.totals.whole, sink.totals.corrupt) == (True, 0)
            assert sink.totals.octets >= 30_000


def test_a_stream_that_ends_by_itself_is_waited_for(bench: Bench) -> None:
    bound = bench.case(
        "down: {from: client, to: g1, tcp: {rate: 800kbit/s, octets: 60000}}",
        "up: {from: g1, to: client, tcp: {rate: 800kbit/s, duration: 600ms}}",
    )
    traffic, run = bench.traffic(bound)

    traffic.begin()
    traffic.prove_flow()
    traffic.finish()

    for name in ("down", "up"):
        found = bench.measured(bound, run, name)
        assert found.sink is not None
        assert (found.sink.totals.octets, found.sink.totals.whole) == (60_000, True)


def test_streams_of_numbered_packets_are_left_alone(bench: Bench) -> None:
    bound = bench.case("in: {from: client, to: g1, udp: {rate: 10/s, size: 64}}")
    traffic, run = bench.traffic(bound)

    traffic.begin()
    traffic.prove_flow()
    traffic.finish()

    assert list(run.file(RunDir.STREAMS).iterdir()) == []


@pytest.mark.parametrize("stream", [DOWN, UP], ids=["to-guest", "from-guest"])
def test_no_step_runs_before_octets_have_come(
    bench: Bench, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "_FLOWING_S", 0.3)
    bench.drop_all()
    traffic, _ = bench.traffic(bench.case(stream))

    traffic.begin()
    with pytest.raises(NotFlowing, match=r"stream .*: nothing came to .* over TCP within 0\.3 s"):
        traffic.prove_flow()
    traffic.abort()


@pytest.mark.parametrize(("stream", "name"), [(DOWN, "down"), (UP, "up")])
def test_a_cut_is_a_stall_on_the_runs_clock(
    bench: Bench, stream: str, name: str, tmp_path: Path
) -> None:
    bound = bench.case(stream)
    traffic, run = bench.traffic(bound)
    traffic.begin()
    traffic.prove_flow()
    pause(0.3)
    cut = now_ns()
    bench.drop_all()
    began = now_ns()
    pause(0.6)
    mending = now_ns()
    bench.let_all()
    pause(2.0)  # the next retransmission is due by then

    traffic.finish()

    found = bench.measured(bound, run, name)
    longest: Any = max(found.stalls, key=lambda one: one.least_ns)
    assert found.sender is not None
    assert found.sender.totals.retransmitted > 0
    assert longest.from_lo <= began
    assert longest.from_hi >= cut - 100_000_000
    assert longest.to_hi >= mending
    assert longest.least_ns >= (mending - began) * 0.99


def test_what_does_not_come_to_its_end_is_recorded_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "_WHOLE_S", 0.3)
    bound = bench.case(UP)
    traffic, run = bench.traffic(bound)
    traffic.begin()
    traffic.prove_flow()
    pause(0.3)
    bench.drop_all()
    pause(0.3)

    traffic.finish()

    found = bench.measured(bound, run, "up")
    assert found.sink is not None
    assert found.sender is not None
    assert not found.sink.totals.whole
    assert found.sink.totals.octets < found.sender.totals.octets
    assert [row.kind for row in found.sink.stalls()] == ["silence"]
