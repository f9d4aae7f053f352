"""The first case passes, and does not pass when it claims what is not so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.cli import main
from tests.cli.places import Place
from tests.end_to_end.runs import CASE, RUN_S, Passed

pytestmark = pytest.mark.lab


def test_the_first_case_passes(passed: Passed) -> None:
    assert passed.code == 0, passed.text + passed.messages
    assert passed.text.startswith("PASSED: a guest keeps its traffic through a migration\n")
    assert str(passed.run) in passed.text
    result = json.loads(passed.json.read_text(encoding="utf-8"))
    assert (result["outcome"], result["exit_code"]) == ("passed", 0)
    at = {pair["moment"]: pair for pair in result["netdevs"]}
    assert (at["start"]["host"], at["end"]["host"]) == ("alpha", "beta")
    assert [link["driver"] for link in at["start"]["primary"]] == ["e1000e"]
    assert at["precopy"]["primary"] == []
    assert [link["driver"] for link in at["end"]["primary"]] == ["e1000e"]
    assert all(stream["sent"] > 0 for stream in result["streams"])
    suites = ElementTree.parse(passed.junit).getroot()
    assert suites[0].get("failures") == suites[0].get("errors") == "0"


def test_tcp_goes_whole_through_the_migration_and_says_where_it_stood_still(
    passed: Passed,
) -> None:
    result = json.loads(passed.json.read_text(encoding="utf-8"))
    (stream,) = result["tcp"]
    assert (stream["doubt"], stream["intact"], stream["corrupt"]) == ("", True, 0)
    assert stream["received"] == stream["sent"] > 100_000
    assert stream["retransmitted"] > 0
    # What came while the new primary was enslaved and not up was dropped: it was sent again.
    longest = stream["longest_stall_s"]
    assert 0.1 < longest["at_least"] <= longest["at_most"] <= 10
    by_length = max(stream["stalls"], key=lambda stall: stall["length_s"]["at_least"])
    assert by_length["length_s"]["at_least"] == longest["at_least"]
    assert set(by_length["phases"]) <= {"unplug", "precopy", "stop-and-copy", "return", "after"}
    assert "TCP streams" in passed.text


def test_the_loss_of_each_stream_is_told_by_path_and_adds_up(passed: Passed) -> None:
    result = json.loads(passed.json.read_text(encoding="utf-8"))
    for stream in result["streams"]:
        by_path = stream["by_path"]
        assert (by_path["doubt"], by_path["primary"]) == ("", "tap")
        for metric in ("sent", "received", "lost", "reordered", "duplicates"):
            assert sum(one[metric] for one in by_path["paths"]) == stream[metric]
        taken = {one["path"]: one["received"] for one in by_path["paths"]}
        assert taken["standby"] > 0
        assert taken["primary"] > 0
        for period in stream["by_phase"]["loss_periods"]:
            assert sum(share["packets"] for share in period["paths"]) == period["packets"]
    assert not list(passed.run.glob("captures/*.pcap"))


def test_the_run_directory_holds_everything(passed: Passed) -> None:
    for name in (
        "run.json", "case.yaml", "topology.yaml", "plan.json", "versions.json", "facts.jsonl",
        "result.json", "report.txt", "junit.xml", "streams/inbound.sends",
        "streams/outbound.arrivals", "streams/download.tcp-sender.json",
        "streams/download.tcp-sink.json", "captures/client-eth0.pcapng",
        "captures/alpha-g1.1-net1-standby.pcapng", "captures/beta-g1.2-net1-primary.pcapng",
        "streams/inbound.standby@alpha.seen", "streams/echo.reply.primary@beta.seen",
    ):  # fmt: skip
        assert (passed.run / name).stat().st_size > 0, name
    assert {path.name.split(".")[0] for path in (passed.run / "logs").iterdir()} >= {"g1"}


def test_the_harness_itself_needs_less_than_300_mb(passed: Passed) -> None:
    assert 0 < passed.peak_kib * 1024 < 300_000_000


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", ""),
        ("flat: e1000e", "flat: igbvf", "its driver is e1000e"),
        ('inbound:  {lost: "<= 4000", ', "inbound:  {lost: 0, ", "lost"),
        ('download: {intact: true, stall: "<= 10s"}', 'download: {stall: "<= 100ms"}', "stall"),
        ('download: {intact: true, stall: "<= 10s"}', "download: {retransmitted: 0}", "segments"),
        ('download: {intact: true, stall: "<= 10s"}', "download: {stalls: 0}", "of more than"),
        ("precopy: standby, ", "precopy: primary, ", "received of those certainly sent in"),
        ("after: primary}", "after: standby}", "through the primary"),
        ("migration: completed", "migration: failed", "completed"),
        ("primary: absent", 'primary: "${primary_driver}"', "there is none"),
    ],
)
def test_one_run_fails_every_case_that_claims_otherwise(
    passed: Passed,
    old: str,
    new: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(passed.run, tmp_path / "run")
    text = (run / "case.yaml").read_text(encoding="utf-8")
    assert old in text
    (run / "case.yaml").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    assert main(["report", str(run)]) == (1 if old else 0)
    assert told in capsys.readouterr().out


def test_one_run_fails_the_reversed_order(
    passed: Passed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(passed.run, tmp_path / "run")
    lines = (run / "case.yaml").read_text(encoding="utf-8").splitlines()
    first = lines.index("    - - source UNPLUG_PRIMARY")
    events = [line.replace("- -", "  -") for line in lines[first : first + 6]][::-1]
    events[0] = "    - -" + events[0].partition("-")[2]
    lines[first : first + 6] = events
    (run / "case.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["report", str(run)]) == 1
    assert "FAILED       guest primary enslaved, then destination RESUME" in capsys.readouterr().out


def test_a_run_that_expects_the_wrong_driver_fails(here: Place) -> None:
    out = here.folder / "out.json"
    done = here.harness(
        *("run", CASE, "--variant", "flat", "--set", "primary_driver=igbvf"),
        *("--json", out, "--quiet"),
        timeout=RUN_S,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    failed = [one["expectation"] for one in result["findings"] if one["outcome"] == "failed"]
    assert failed == [
        "at the start the primary of g1 net1 is igbvf",
        "at the end the primary of g1 net1 is igbvf",
    ]
