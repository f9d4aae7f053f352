"""The reports show what was found, in words that do not change by accident."""

from __future__ import annotations

import json
import pathlib
from xml.etree import ElementTree

import pytest

from harness.observe import Accelerator
from harness.record import QemuVersion, RunInfo, Versions
from harness.report import (
    JudgedRun,
    Result,
    junit,
    reasons,
    render,
    result_of,
    result_schema,
)
from harness.report.attributed import attribution_result
from harness.report.by_phase import by_phase
from harness.verdict import judge
from tests.verdict.story import Story, qmp, step
from tests.verdict.test_netdevs import WHOLE
from tests.verdict.test_stream_phases import stream
from tests.verdict.test_streams import inbound, metrics

EXPECT = WHOLE + '  streams: {inbound: {lost: "<= 2", reordered: 0}}\n'


def run(folder: pathlib.Path, *, expect: str = EXPECT) -> JudgedRun:
    story = Story(folder, expect, streams={"inbound": inbound(metrics(lost=(3, 4, 9)))})
    story.facts["accelerator"] = Accelerator(
        t_ns=0, machine="g1@alpha", accelerator="tcg", evidence="a tiny guest booted"
    )
    story.facts["migrate ends"] = step(2030, "1 migrate", "end", "done").model_copy(
        update={
            "data": {
                "query-migrate": {
                    "status": "completed",
                    "downtime": 21,
                    "total-time": 1021,
                    "setup-time": 249,
                }
            }
        }
    )
    evidence = story.evidence()
    info = RunInfo(
        claim=evidence.bound.case.claim,
        case_file="testcases/a.yaml",
        topology_file="topologies/b.yaml",
        variant="lab",
        started="2026-11-21T10:00:00+00:00",
    )
    versions = Versions(
        harness="0.1.0",
        kernels={"g1": "6.12.107"},
        qemu=(
            QemuVersion(guest="g1", host="alpha", version="10.0.13"),
            QemuVersion(guest="g1", host="beta", version="10.0.13"),
        ),
    )
    return JudgedRun(info, versions, evidence, judge(evidence))


GOLDEN = """\
FAILED: a guest keeps its traffic
  case testcases/a.yaml, topology topologies/b.yaml (lab), 2026-11-21T10:00:00+00:00
  12 passed, 1 failed

Expectations
  PASSED       at the start the failover of g1 net1 is net_failover  [case.yaml:11]
  PASSED       at the start the standby of g1 net1 is virtio_net  [case.yaml:11]
  PASSED       at the start the primary of g1 net1 is e1000e  [case.yaml:11]
  PASSED       during precopy the failover of g1 net1 is net_failover  [case.yaml:12]
  PASSED       during precopy the standby of g1 net1 is virtio_net  [case.yaml:12]
  PASSED       during precopy the primary of g1 net1 is absent  [case.yaml:12]
  PASSED       at the end the failover of g1 net1 is net_failover  [case.yaml:13]
  PASSED       at the end the standby of g1 net1 is virtio_net  [case.yaml:13]
  PASSED       at the end the primary of g1 net1 is e1000e  [case.yaml:13]
  FAILED       stream inbound: lost <= 2  [case.yaml:14]
               3 of 1000 sent (0.3%)
  PASSED       stream inbound: reordered == 0  [case.yaml:14]
  PASSED       the source's migration states follow the grammar of QEMU 10.0
  PASSED       the destination's migration states follow the grammar of QEMU 10.0

Netdevs, as the guest sees them
  guest  pair  moment   host   failover              standby                 primary
  g1     net1  start    alpha  eth0 net_failover up  eth0nsby virtio_net up  eth1 e1000e up
  g1     net1  precopy  alpha  eth0 net_failover up  eth0nsby virtio_net up  absent
  g1     net1  end      beta   eth0 net_failover up  eth0nsby virtio_net up  eth1 e1000e up

Streams
  stream   from    to  protocol   sent  received  lost  loss  longest loss  reordered  \
duplicates  interruption  by loss
  inbound  client  g1  udp        1000  997       3     0.3%  2             0          \
0           2.0ms         3.0ms
  echo     client  g1  icmp-echo  ?     ?         ?     ?     ?             ?          \
?           ?             ?
  inbound: 1000/s of 128 octets, waiting time 2s, rate tolerance 5%, largest gap between two \
sends 1.0ms
  echo: 100/s of 64 octets, waiting time 2s, rate tolerance 5%
    nothing can be told of echo: the stream left no record

By phase in which a packet was sent (N to M: within the clocks' error)
  inbound: longest interruption 2.0ms, delay variation 0.0ms (99.9th percentile), 0.0ms (largest)
    phase          sent  lost  reordered  duplicates  interruption  largest PDV
    before         1000  3     0          0           2.0ms         0.0ms
    unplug         0     0     0          0           ?             ?
    precopy        0     0     0          0           ?             ?
    stop-and-copy  0     0     0          0           ?             ?
    return         0     0     0          0           ?             ?
    after          0     0     0          0           ?             ?
    lost 2 from +0.003s to +0.004s (before)
          2  cause unknown
    lost 1 from +0.009s to +0.009s (before)
          1  cause unknown

By path through the failover pair, as captured on its taps
  inbound: path not known: nothing was captured on the taps of its pair

Migrations
  step 1 migrate: g1 from alpha to beta, downtime 21ms, total 1021ms, set-up 249ms
    source       setup wait-unplug active device completed
    destination  setup active completed

Machines
  g1@alpha: accelerator tcg (a tiny guest booted)
  g1 on alpha: QEMU 10.0.13
  g1 on beta: QEMU 10.0.13
  g1: kernel 6.12.107
  harness 0.1.0

Run directory: runs/1
"""


def test_the_report_for_people(tmp_path: pathlib.Path) -> None:
    text = render(result_of(run(tmp_path)), pathlib.Path("runs/1"))

    assert text.replace(f"{tmp_path}/", "") == GOLDEN


def test_a_failed_test_shows_only_what_did_not_pass(tmp_path: pathlib.Path) -> None:
    text = reasons(result_of(run(tmp_path)))

    assert text.replace(f"{tmp_path}/", "") == (
        "FAILED: a guest keeps its traffic (lab)\n"
        "  FAILED       stream inbound: lost <= 2  [case.yaml:14]\n"
        "               3 of 1000 sent (0.3%)\n"
    )


def test_the_json_reads_back_and_is_the_same_every_time(tmp_path: pathlib.Path) -> None:
    result = result_of(run(tmp_path))

    text = result.to_json()

    assert text == result_of(run(tmp_path)).to_json()
    assert Result.model_validate_json(text) == result
    told = json.loads(text)
    assert told["schema"] == 1
    assert (told["outcome"], told["exit_code"]) == ("failed", 1)
    assert told["streams"][0]["lost"] == 3
    assert told["streams"][0]["loss_ratio"] == 0.003
    assert told["streams"][1]["lost"] is None
    assert told["migrations"][0]["downtime_ms"] == 21


def test_every_key_of_the_json_is_in_its_schema(tmp_path: pathlib.Path) -> None:
    told = json.loads(result_of(run(tmp_path)).to_json())

    assert set(told) == set(result_schema()["properties"])


def test_junit_counts_what_cannot_be_told_as_an_error(tmp_path: pathlib.Path) -> None:
    result = result_of(run(tmp_path, expect="  streams: {inbound: {lost: 0}, echo: {lost: 0}}\n"))

    suite = ElementTree.fromstring(junit([result])).find("testsuite")

    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "0"}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "3 of 1000 sent (0.3%)"


@pytest.mark.parametrize("odd", ["\x00\x1b[31m", "<&\"'>", "\ud800"])
def test_junit_is_valid_xml_whatever_a_reason_says(odd: str, tmp_path: pathlib.Path) -> None:
    result = result_of(run(tmp_path))
    finding = result.findings[9].model_copy(update={"reason": f"it said {odd}"})

    text = junit([result.model_copy(update={"findings": (finding,)})])

    assert ElementTree.fromstring(text.encode()).find("testsuite/testcase/failure") is not None


def test_each_stream_has_its_figures_by_phase_and_they_add_up(tmp_path: pathlib.Path) -> None:
    told = stream(lost=tuple(range(1996, 2010)), err=5)
    story = Story(tmp_path, WHOLE, streams={"inbound": inbound(told)})

    found = attribution_result(story.evidence(), "inbound")

    assert found.uncertain is not None
    for metric, total in (("sent", 4000), ("lost", 14), ("reordered", 0), ("duplicates", 0)):
        certain = sum(getattr(phase, metric).at_least for phase in found.phases)
        assert certain + getattr(found.uncertain, metric) == total
    stopped = next(phase for phase in found.phases if phase.phase == "stop-and-copy")
    assert (stopped.lost.at_least, stopped.lost.at_most) == (5, 14)
    (period,) = found.loss_periods
    assert [(share.what, share.packets) for share in period.phases] == [
        ("uncertain", 9),
        ("stop-and-copy", 5),
    ]
    assert [share.packets for share in period.why] == [9, 5]
    text = "\n".join(by_phase([("inbound", found)]))
    assert "    stop-and-copy  10 to 30      5 to 14  " in text
    assert "    uncertain      " in text
    assert "    lost 14 from +1.996s±5.0ms to +2.009s±5.0ms (9 uncertain, 5 stop-and-copy)" in text


def test_several_migrations_have_numbered_phases_and_totals(tmp_path: pathlib.Path) -> None:
    steps = "steps:\n  - migrate: {guest: g1, to: beta}\n  - migrate: {guest: g1, to: alpha}\n"
    story = Story(
        tmp_path,
        "  migration: completed\n",
        steps=steps,
        streams={"inbound": inbound(stream(lost=(100, 2650, 3500)))},
    )
    story.facts["again"] = step(3000, "2 migrate", "begin")

    found = attribution_result(story.evidence(), "inbound")

    assert [(one.phase, one.migration) for one in found.phases[4:8]] == [
        ("return", 1),
        ("after", 1),
        ("before", 2),
        ("unplug", 2),
    ]
    before = next(one for one in found.totals if one.phase == "before")
    assert (before.migration, before.lost.at_most) == (None, 2)
    assert "before, all" in "\n".join(by_phase([("inbound", found)]))


def test_a_stream_without_figures_by_phase_says_why(tmp_path: pathlib.Path) -> None:
    story = Story(tmp_path, WHOLE, streams={"inbound": inbound(stream())})
    story.facts |= {"resume": qmp(1900, "destination", "RESUME")}
    del story.facts["negotiated"]

    found = attribution_result(story.evidence(), "inbound")

    assert by_phase([("inbound", found)])[1] == (
        "  inbound: not by phase: the record contradicts itself: the destination's RESUME before "
        "the source's STOP"
    )
