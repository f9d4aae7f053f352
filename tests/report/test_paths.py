"""Paths in the reports: from the run directory alone, adding up, and damage is never a pass."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from harness.observe import FactLog, PathFact
from harness.record import RunDir
from harness.report import judge_run, render, result_of, write_reports
from harness.report.timeline import timeline
from harness.traffic.records import Records, write_records
from harness.verdict import Outcome
from tests.report.test_judging import recorded
from tests.verdict.story import MS

EXPECT = (
    "expect:\n  streams:\n    inbound: {path: {before: primary >= 99%, total: primary >= 50%}}\n"
)
SEEN: dict[tuple[str, str], range] = {
    ("standby", "alpha"): range(600, 1000),
    ("primary", "alpha"): range(600),
    ("standby", "beta"): range(0),
    ("primary", "beta"): range(0),
}


def add(run: RunDir, role: str, host: str, **changes: object) -> PathFact:
    """One more fact of a path, and its record."""
    fact = PathFact.model_validate(
        {
            "t_ns": 4000 * MS, "stream": "inbound", "guest": "g1", "standby": "net1",
            "role": role, "host": host, "leg": "packet",
            "records": f"streams/inbound.{role}@{host}.seen", "complete": True, **changes,
        }
    )  # fmt: skip
    log = FactLog(run.facts_path)
    log.add(fact)
    log.close()
    if fact.records:
        numbers = np.array(SEEN[role, host], dtype=np.int64)
        write_records(run.file(fact.records), Records(1, "run", numbers * MS + MS, numbers))
    return fact


@pytest.fixture
def run(tmp_path: pathlib.Path) -> RunDir:
    """The run of ``test_judging``: 1000 packets, sent until `unplug` begins at 1002 ms; 5 and 6
    were lost."""
    made = recorded(tmp_path)
    case = made.file(RunDir.CASE)
    text = case.read_text(encoding="utf-8").partition("expect:\n")[0]
    case.write_text(text + EXPECT, encoding="utf-8")
    for role, host in SEEN:
        add(made, role, host)
    return made


def paths(run: RunDir) -> list[tuple[Outcome, str]]:
    found = judge_run(run).verdict.findings
    return [(one.outcome, one.reason) for one in found if ".path." in one.path]


def test_the_same_paths_are_told_from_the_directory_alone_elsewhere(
    run: RunDir, tmp_path: pathlib.Path
) -> None:
    write_reports(run, result_of(judge_run(run)))
    elsewhere = tmp_path / "other" / "place"
    shutil.copytree(run.path, elsewhere)
    shutil.rmtree(run.path)

    result = result_of(judge_run(RunDir.open(elsewhere)))

    assert result.to_json() == (elsewhere / RunDir.RESULT).read_text()
    assert render(result) == (elsewhere / RunDir.REPORT).read_text()
    total, before = paths(RunDir.open(elsewhere))
    shares = "400 through the standby, 598 through the primary"
    assert total == (Outcome.PASSED, f"998 received: {shares}")
    assert (before[0], before[1].endswith(shares)) == (Outcome.FAILED, True)


def test_the_report_has_a_table_by_path_and_the_place_of_every_loss(run: RunDir) -> None:
    text = render(result_of(judge_run(run)))

    assert "By path through the failover pair, as captured on its taps" in text
    assert "standby  400   400       0" in text
    assert "primary  600   598       2" in text
    assert "seen: 2 on the primary's tap" in text
    assert "path not known" not in text


def test_the_counts_in_the_result_add_up_by_path_and_by_phase(run: RunDir) -> None:
    data = json.loads(result_of(judge_run(run)).to_json())
    (stream,) = [one for one in data["streams"] if one["stream"] == "inbound"]
    by_path = stream["by_path"]

    for metric in ("sent", "received", "lost", "reordered", "duplicates"):
        assert sum(one[metric] for one in by_path["paths"]) == stream[metric]
    for one in by_path["paths"]:
        for metric in ("sent", "lost", "reordered", "duplicates"):
            certain = sum(
                phase[metric]["at_least"]
                for phase in by_path["phases"]
                if phase["path"] == one["path"]
            )
            unsure = sum(
                left[metric] for left in by_path["uncertain"] if left["path"] == one["path"]
            )
            assert certain + unsure == one[metric]
    for period in stream["by_phase"]["loss_periods"]:
        assert sum(share["packets"] for share in period["paths"]) == period["packets"]


def test_the_timeline_tells_what_was_captured(run: RunDir) -> None:
    told = timeline(judge_run(run).evidence)
    assert "stream inbound (packets) at the taps of g1's standby on alpha, complete" in told


def cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "streams/inbound.standby@alpha.seen: cut off"),
        (flip, "streams/inbound.standby@alpha.seen: damaged"),
        (pathlib.Path.unlink, "streams/inbound.standby@alpha.seen: the record is missing"),
    ],
)
def test_a_damaged_record_of_what_was_seen_tells_no_path(
    run: RunDir, damage: object, told: str
) -> None:
    assert callable(damage)
    damage(run.file("streams/inbound.standby@alpha.seen"))

    found = paths(run)

    assert {outcome for outcome, _ in found} == {Outcome.CANNOT_TELL}
    assert all(told in reason and str(run.path) not in reason for _, reason in found)
    assert told in render(result_of(judge_run(run)))


def test_a_fact_that_names_a_file_outside_of_the_run_tells_no_path(run: RunDir) -> None:
    facts = run.facts_path.read_text(encoding="utf-8")
    run.facts_path.write_text(
        facts.replace("streams/inbound.standby@alpha.seen", "../inbound.seen"), encoding="utf-8"
    )
    assert {outcome for outcome, _ in paths(run)} == {Outcome.CANNOT_TELL}


def test_a_run_that_captured_nothing_on_its_taps_tells_no_path(run: RunDir) -> None:
    lines = run.facts_path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if '"kind":"path"' not in line]
    run.facts_path.write_text("".join(kept), encoding="utf-8")

    assert {outcome for outcome, _ in paths(run)} == {Outcome.CANNOT_TELL}
    assert "inbound: path not known: nothing was captured" in render(result_of(judge_run(run)))


def test_a_host_without_a_capture_is_named_in_the_report(run: RunDir) -> None:
    lines = run.facts_path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if '"role":"standby","host":"beta"' not in line]
    run.facts_path.write_text("".join(kept), encoding="utf-8")
    add(run, "standby", "beta", records="", complete=False, problem="no tcpdump on beta")

    assert "inbound: path not known: no tcpdump on beta" in render(result_of(judge_run(run)))
