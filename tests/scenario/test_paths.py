"""Captures on taps become records of which number was seen where, or say why they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.lab.taps import TapCapture
from harness.observe import PathFact
from harness.reach.local import NamespaceMachine
from harness.record import RunDir
from harness.scenario.ends import End
from harness.scenario.paths import PathKeeper
from harness.traffic.pcapng import PcapngFile
from harness.traffic.records import read_records
from harness.traffic.stream import StreamSpec
from tests.lab.test_taps import MAC, OTHER, SPEC, machine, speak, watch

__all__ = ["machine"]  # the fixture

CLIENT = End("client", "namespace", "eth0", OTHER, "10.9.0.1")
GUEST = End("g1", "guest", "net1", MAC, "10.9.0.2")
PLAIN = replace(GUEST, machine="g2", interface="net0")
PAIRS = {("g1", "net1")}
IN = {"in": (SPEC, CLIENT, GUEST)}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run")


def captured(
    machine: NamespaceMachine, run: RunDir, count: int, *, number: int = 2
) -> tuple[TapCapture, ...]:
    """A guest at the standby's tap sends the numbers up to ``count``, and is sent those from 1000
    on, as many."""
    taps = watch(machine, number=number)
    taps.begin()
    taps.wait_listening()
    speak(machine, count)
    taps.end()
    return taps.fetch(run.file(RunDir.CAPTURES))


def kept(
    machine: NamespaceMachine,
    run: RunDir,
    specs: dict[str, tuple[StreamSpec, End, End]],
    *captures: TapCapture,
) -> dict[str, PathFact]:
    """The facts by the names of their records."""
    keeper = PathKeeper(run, specs, PAIRS)
    for capture in captures:
        keeper.take(machine, capture)
    return {fact.records: fact for fact in keeper.facts()}


def numbers(run: RunDir, name: str) -> list[int]:
    return read_records(run.file(name)).seq.tolist()


def test_what_was_seen_the_streams_way_is_recorded_for_each_role(
    machine: NamespaceMachine, run: RunDir
) -> None:
    specs = IN | {"out": (SPEC, GUEST, CLIENT), "beside": (SPEC, CLIENT, PLAIN)}

    facts = kept(machine, run, specs, *captured(machine, run, 30))

    assert {(fact.stream, fact.role, fact.complete, fact.problem) for fact in facts.values()} == {
        (stream, role, True, "") for stream in ("in", "out") for role in ("standby", "primary")
    }
    assert numbers(run, "streams/in.standby@alpha.seen") == list(range(1000, 1030))
    assert numbers(run, "streams/out.standby@alpha.seen") == list(range(30))
    assert numbers(run, "streams/in.primary@alpha.seen") == []
    names = sorted(path.name for path in run.file(RunDir.CAPTURES).iterdir())
    assert names == ["alpha-g1.2-net1-primary.pcapng", "alpha-g1.2-net1-standby.pcapng"]


def test_both_legs_of_an_echo_have_their_own_records(
    machine: NamespaceMachine, run: RunDir
) -> None:
    spec = replace(SPEC, protocol="icmp-echo", source_port=0, destination_port=0)

    facts = kept(machine, run, {"echo": (spec, CLIENT, GUEST)}, *captured(machine, run, 1))

    assert set(facts) == {
        f"streams/echo.{leg}.{role}@alpha.seen"
        for leg in ("request", "reply")
        for role in ("standby", "primary")
    }


def test_a_guest_that_comes_back_to_a_host_has_one_record_of_both_times(
    machine: NamespaceMachine, run: RunDir
) -> None:
    first, again = captured(machine, run, 3, number=1), captured(machine, run, 2, number=3)

    facts = kept(machine, run, IN, *first, *again)

    assert [fact.role for fact in facts.values()] == ["standby", "primary"]
    assert all(fact.complete for fact in facts.values())
    assert numbers(run, "streams/in.standby@alpha.seen") == [1000, 1001, 1002, 1000, 1001]
    assert run.file("captures/alpha-g1.1-net1-standby.pcapng").exists()
    assert run.file("captures/alpha-g1.3-net1-standby.pcapng").exists()


def test_one_bad_capture_of_two_makes_the_record_incomplete(
    machine: NamespaceMachine, run: RunDir
) -> None:
    standby, _ = captured(machine, run, 3)
    lost = replace(standby, number=1, from_guest=None, to_guest=None, problem="no tcpdump on alpha")

    facts = kept(machine, run, IN, lost, standby)

    (fact,) = facts.values()
    assert (fact.complete, fact.problem) == (False, "no tcpdump on alpha")
    assert len(numbers(run, fact.records)) == 3


def test_a_pcap_cut_off_after_tcpdump_had_counted_is_not_whole(
    machine: NamespaceMachine, run: RunDir
) -> None:
    standby, _ = captured(machine, run, 4)
    assert standby.to_guest is not None
    path = standby.to_guest.path
    path.write_bytes(path.read_bytes()[: -(16 + 94)])

    (fact,) = kept(machine, run, IN, standby).values()

    assert not fact.complete
    assert "has 3 frames of one direction, and tcpdump wrote 4" in fact.problem
    assert str(run.path) not in fact.problem
    assert path.exists()  # what there is of it is evidence


def test_a_corrupt_pcap_is_a_problem_and_no_error(machine: NamespaceMachine, run: RunDir) -> None:
    standby, _ = captured(machine, run, 4)
    assert standby.from_guest is not None
    standby.from_guest.path.write_bytes(b"nonsense" * 99)

    (fact,) = kept(machine, run, IN, standby).values()

    assert (fact.complete, fact.records) == (False, "")
    assert "not a capture by tcpdump" in fact.problem


def test_a_capture_that_lost_frames_keeps_them_counted_in_its_file(
    machine: NamespaceMachine, run: RunDir
) -> None:
    standby, _ = captured(machine, run, 4)
    dropped = replace(standby, dropped=7, problem="the kernel of alpha dropped 7 frames")

    (fact,) = kept(machine, run, IN, dropped).values()

    assert not fact.complete
    with PcapngFile(run.file("captures/alpha-g1.2-net1-standby.pcapng")) as capture:
        assert sum(1 for _ in capture.frames()) == 8
        assert capture.dropped == 7
