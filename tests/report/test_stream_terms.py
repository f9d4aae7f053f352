"""A stream's record is on the terms of the case, or nothing is told of it; reports show them."""

from __future__ import annotations

import pathlib

import pytest

from harness.observe import StreamFact
from harness.record import RunDir
from harness.report import judge_run, render, result_of
from harness.verdict import Outcome
from tests.report.test_judging import lost, recorded
from tests.verdict.test_streams import FACT

PLAIN = "inbound: {from: client, to: g1, udp: {rate: 1000/s, size: 128}}"
SPECIAL = (
    "inbound: {from: client, to: g1, ip: 4, dscp: EF, vlan: 7, "
    "udp: {rate: 1000/s, size: 128, count: 1000}}"
)
KEPT = {"ip_version": 4, "dscp": 46, "vlan": 7, "count": 1000, "dscp_changed": 0}


def with_case(folder: pathlib.Path, stream: str, fact: StreamFact) -> RunDir:
    run = recorded(folder, fact)
    case = run.file(RunDir.CASE)
    text = case.read_text(encoding="utf-8")
    assert PLAIN in text
    case.write_text(text.replace(PLAIN, stream), encoding="utf-8")
    return run


def test_a_record_on_all_terms_of_the_case_is_judged(tmp_path: pathlib.Path) -> None:
    run = with_case(tmp_path, SPECIAL, FACT.model_copy(update=KEPT))

    assert lost(run) == (Outcome.PASSED, "2 of 1000 sent (0.2%)")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ip_version": 6}, "IP version 6 instead of 4"),
        ({"dscp": 0}, "DSCP 0 instead of 46"),
        ({"vlan": None}, "VLAN None instead of 7"),
        ({"count": 999}, "count 999 instead of 1000"),
        ({"duration_ns": 5}, "duration 5 instead of None"),
    ],
)
def test_a_record_on_other_terms_cannot_be_told(
    tmp_path: pathlib.Path, changes: dict[str, object], told: str
) -> None:
    run = with_case(tmp_path, SPECIAL, FACT.model_copy(update={**KEPT, **changes}))

    assert lost(run) == (
        Outcome.CANNOT_TELL,
        f"it was recorded on other terms than the case's: {told}",
    )


def test_a_record_from_before_there_were_these_terms_is_judged(tmp_path: pathlib.Path) -> None:
    assert FACT.ip_version is None

    assert lost(recorded(tmp_path))[0] is Outcome.PASSED


def test_the_report_shows_the_terms_and_what_happened_to_the_dscp(
    tmp_path: pathlib.Path,
) -> None:
    run = with_case(tmp_path, SPECIAL, FACT.model_copy(update={**KEPT, "dscp_changed": 12}))

    result = result_of(judge_run(run))
    text = render(result)

    assert "inbound: 1000/s of 128 octets, DSCP 46, VLAN 7, 1000 packets, waiting time" in text
    assert "12 packets of inbound arrived with another DSCP than 46" in text
    (stream,) = (one for one in result.streams if one.stream == "inbound")
    assert (stream.ip_version, stream.vlan, stream.dscp_changed) == (4, 7, 12)
