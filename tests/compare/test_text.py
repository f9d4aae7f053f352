"""A decision as a table, as Markdown, as JSON and as JUnit."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from harness.case import Endpoint
from harness.compare import (
    Decision,
    NextRun,
    Seen,
    Terms,
    advance,
    broken_run,
    junit,
    markdown,
    render,
)
from tests.compare.runs import LOST, C, drive, run

REORDERED = Endpoint("inbound", "reordered", "packets", 9)
TERMS = Terms((LOST, REORDERED), runs=10)


@pytest.fixture(scope="module")
def decision() -> Decision:
    """Fewer lost, more reordered; a crash once; one run did not count."""

    def made(step: NextRun) -> Seen:
        if step.number == 3:
            return broken_run(step.number, step.side, "no space left")
        ours = step.side is C
        return run(
            step.number,
            step.side,
            inbound_lost=10 if ours else 12,
            inbound_reordered=40 if ours else 20,
            inbound_late=step.number,
            failed=["expect.order[0]"] if step.number == 2 else (),
        )

    return drive(TERMS, made)[0]


TABLE = """\
a | b: worse
  inbound.reordered: +20 packets, shown to be more than the margin of 9 packets
  a trade: less: inbound.lost -2 packets; more: inbound.reordered +20 packets

  endpoint           runs   baseline  candidate  shift  interval    margin  unit     verdict
  inbound.lost       6 + 6  12        10         -2     -2 to -2    5       packets  no worse (less)
  inbound.reordered  6 + 6  20        40         +20    +20 to +20  9       packets  worse (more)

  shown only    runs   baseline  candidate  shift  largest  unit
  inbound.late  6 + 6  6.5       8.5        +2     12, 13   packets

  finding          baseline failed  candidate failed  runs  stands
  expect.order[0]  0 of 6           1 of 6            2     candidate only, not seen again

6 runs of the baseline, 6 of the candidate; stopped: decided
runs that did not count: 1 candidate
baseline and candidate are the medians of their runs; the shift is of two runs
each interval covers at least 98.2% at this look; in the whole gate each wrong claim has a chance \
of at most 2.5%
"""


def test_the_table_is_for_reading(decision: Decision) -> None:
    assert render(decision, "a | b") == TABLE


def test_markdown_has_the_same_rows(decision: Decision) -> None:
    lines = markdown(decision, "a | b").splitlines()

    assert lines[0] == "**a \\| b: worse**"
    assert (
        "| inbound.reordered | 6 + 6 | 20 | 40 | +20 | +20 to +20 | 9 | packets | worse (more) |"
    ) in lines
    assert "| expect.order[0] | 0 of 6 | 1 of 6 | 2 | candidate only, not seen again |" in lines
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4 + 3 + 3


def test_json_can_be_read_by_anything(decision: Decision) -> None:
    data = json.loads(decision.to_json())

    assert (data["schema"], data["outcome"], data["exit_code"]) == (1, "worse", 1)
    assert data["endpoints"][0]["name"] == "inbound.lost"
    assert data["trouble"] == {"baseline": 0, "candidate": 1}


def test_junit_says_which_endpoint_is_worse(decision: Decision) -> None:
    suite = ElementTree.fromstring(junit([("a <b>\x00", decision)]))[0]

    assert suite.get("name") == "a <b>\ufffd"
    told = {case.get("name"): [child.tag for child in case] for case in suite}
    assert told == {
        "gate": ["failure"],
        "inbound.lost": [],
        "inbound.reordered": ["failure"],
        "expect.order[0]": ["skipped"],
    }
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == [
        "4", "2", "0", "1",
    ]  # fmt: skip


def test_what_is_not_shown_is_an_error_in_junit_and_not_a_pass() -> None:
    runs = [run(1, C, inbound_lost=1)]
    terms = Terms((LOST,), runs=10, minutes=1)

    open_ = advance(terms, runs, minutes=2)

    assert isinstance(open_, Decision)
    suite = ElementTree.fromstring(junit([("x", open_)]))[0]
    assert [child.tag for case in suite for child in case] == ["error", "error"]
    assert "?" in render(open_, "x")
