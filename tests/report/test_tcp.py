"""TCP streams in the reports: table, result.json, JUnit, timeline; from the directory alone."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any
from xml.etree import ElementTree

from harness.observe import FactLog
from harness.record import QemuVersion, RunDir, RunInfo, Versions
from harness.report import JudgedRun, judge_run, junit, render, result_of, timeline
from harness.report.tcp_result import tcp_table
from harness.verdict import Outcome
from tests.verdict.tcp_story import FACT, TcpStory, account

EXPECT = "{down: {intact: true, stall: {total: '<= 501ms', precopy: '<= 249ms'}, stalls: 0}}"


def recorded(folder: pathlib.Path, **changes: Any) -> RunDir:
    """A run directory as a run with a TCP stream leaves it."""
    story = TcpStory(folder, EXPECT, **changes)
    evidence = story.evidence()
    run = story.run
    run.write(RunDir.CASE, (folder / "case.yaml").read_bytes())
    run.write(RunDir.TOPOLOGY, (folder / "lab.yaml").read_bytes())
    run.write_info(
        RunInfo(
            claim=evidence.bound.case.claim,
            case_file="cases/case.yaml",
            topology_file="cases/lab.yaml",
            variant="lab",
            started="2026-11-21T10:00:00+00:00",
        )
    )
    versions = tuple(
        QemuVersion(guest="g1", host=host, version="10.0.13") for host in ("alpha", "beta")
    )
    run.write_versions(Versions(harness="0.1.0", qemu=versions))
    log = FactLog(run.facts_path)
    for fact in evidence.facts:
        log.add(fact)
    log.close()
    return run


def stalled(folder: pathlib.Path) -> JudgedRun:
    sink = account("sink", stalls=[(1100, 1600)])
    return judge_run(recorded(folder, sink=sink, sender=account("sender", segments=3)))


def test_a_run_is_judged_from_its_directory_alone(tmp_path: pathlib.Path) -> None:
    run = stalled(tmp_path)

    told = {one.expectation: one.outcome for one in run.verdict.findings}
    assert told["stream down: intact"] is Outcome.PASSED
    assert told["stream down: stall <= 501ms"] is Outcome.PASSED
    assert told["stream down: stall in precopy <= 249ms"] is Outcome.FAILED
    assert told["stream down: stalls == 0"] is Outcome.FAILED


def test_the_text_is_the_same_wherever_the_run_is(tmp_path: pathlib.Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    before = render(result_of(stalled(here)))
    shutil.move(here / "run", tmp_path / "there")
    shutil.rmtree(here)

    assert render(result_of(judge_run(RunDir.open(tmp_path / "there")))) == before


GOLDEN = """\
TCP streams (octets; stalls: more than 100 ms without a receipt)
  stream  from    to  sent     received  intact  corrupt at  stalls  longest           retransmitted
  down    client  g1  2990000  2990000   yes     -           1       400.0 to 500.0ms  3
  down: 8Mbit/s offered
    stalled 400.0 to 500.0ms from +1.100s to +1.600s (unplug, precopy)
"""


def test_the_table_says_what_came_and_where_it_stood_still(tmp_path: pathlib.Path) -> None:
    assert GOLDEN in render(result_of(stalled(tmp_path)))


def test_the_table_says_where_an_octet_is_wrong_and_that_a_silence_has_no_end(
    tmp_path: pathlib.Path,
) -> None:
    sink = account("sink", silent=1500, octets=1_000_000, corrupt=2, first_corrupt=77_777)
    lines = tcp_table(result_of(judge_run(recorded(tmp_path, sink=sink))).tcp)

    assert lines[2].split()[3:9] == ["2990000", "1000000", "no", "77777", "1", "at"]
    assert lines[-1] == (
        "    stalled at least 1400.0ms from +1.500s to the end (precopy, stop-and-copy, return, "
        "after)"
    )


def test_a_stream_without_records_is_shown_with_the_reason(tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path)
    run.file(FACT.sink_record).unlink()
    result = result_of(judge_run(run))

    assert (result.tcp[0].sent, result.tcp[0].intact) == (None, None)
    assert "  down    client  g1  ?     ?         ?       ?" in render(result)
    reason = f"{FACT.sink_record}: the record is missing"
    assert f"    nothing can be told of down: {reason}" in render(result)


def test_the_json_holds_each_stall_with_its_bounds_and_phases(tmp_path: pathlib.Path) -> None:
    result = json.loads(result_of(stalled(tmp_path)).to_json())

    (stream,) = result["tcp"]
    (stall,) = stream["stalls"]
    assert result["streams"] == []
    assert stream["rate_bit_s"] == 8_000_000
    assert (stream["sent"], stream["received"], stream["intact"]) == (2990000, 2990000, True)
    assert (stream["retransmitted"], stream["corrupt"], stream["corrupt_at"]) == (3, 0, None)
    assert stall["phases"] == ["unplug", "precopy"]
    assert stall["measured"] is True
    assert stall["length_s"] == {"at_least": 0.4, "at_most": 0.500001}
    phases = {one["phase"]: one["stall_s"] for one in stream["phases"]}
    assert phases["unplug"] == {"at_least": 0.05, "at_most": 0.150001}
    assert phases["after"] == {"at_least": 0.0, "at_most": 0.1}


def test_junit_counts_what_failed_and_what_cannot_be_told(tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path)
    run.file(FACT.sender_record).unlink()

    (suite,) = ElementTree.fromstring(junit([result_of(judge_run(run))]))

    names = [case.get("name") for case in suite if case.find("error") is not None]
    assert names == [
        "stream down: intact (expect.streams.down.intact)",
        "stream down: stall <= 501ms (expect.streams.down.stall.total)",
        "stream down: stall in precopy <= 249ms (expect.streams.down.stall.precopy)",
        "stream down: stalls == 0 (expect.streams.down.stalls)",
    ]


def test_the_timeline_has_each_stall_where_it_began(tmp_path: pathlib.Path) -> None:
    lines = timeline(stalled(tmp_path).evidence).splitlines()

    (at,) = [place for place, line in enumerate(lines) if "stream down" in line and "stal" in line]
    assert lines[at].lstrip().startswith("+1.100")
    assert "stalled 400.0 to 500.0ms from +1.100s to +1.600s (unplug, precopy)" in lines[at]
    assert "UNPLUG_PRIMARY" in "\n".join(lines[:at])
    assert "active" in "\n".join(lines[at:])
