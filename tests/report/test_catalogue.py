"""The catalogue's page: every case with its source, its results, and what is no case."""

from __future__ import annotations

import pathlib

import pytest

from harness.case import BoundCase, bind, load_case
from harness.cli import main
from harness.report.catalogue import Gap, Gaps, Recorded, Results, page
from harness.verdict import Outcome
from tests.case.files import HEAD, write

ROOT = pathlib.Path(__file__).parents[2]

ABOUT = """\
group: hotplug
source: [{document: qemu, says: Both can be hotplugged, known: [A14]}]
negative_control: without the plug there is none
steps:
  - plug: {guest: g1, nic: hostdev0, refused: in use}
  - wait: {for: {guest: g1, primary: net1, state: up}, within: 5s}
expect: {steps: work, leaks: {g1: none}}
"""


def case(folder: pathlib.Path) -> BoundCase:
    return bind(load_case(write(folder, HEAD + ABOUT)))


def ran(outcome: Outcome = Outcome.PASSED, *, qemu: str = "10.0.13", failed: str = "") -> Recorded:
    return Recorded(
        case="case", variant="lab", qemu=qemu, kernel="6.12", outcome=outcome,
        failed=(failed,) if failed else (),
    )  # fmt: skip


def test_a_case_is_told_with_its_source_what_it_asserts_and_its_control(
    tmp_path: pathlib.Path,
) -> None:
    told = page([case(tmp_path)], Results(), Gaps())

    assert "## Hotplug by monitor" in told
    assert "**A guest keeps its traffic.**" in told
    assert '(A14): "Both can be hotplugged"' in told
    assert 'plug is refused: "in use"; it comes to primary of net1 up; nothing is left' in told
    assert "negative control: without the plug there is none" in told
    assert "results: none recorded" in told
    assert "## Start-up" not in told


def test_results_come_by_version_with_what_failed(tmp_path: pathlib.Path) -> None:
    results = Results().with_runs(
        [ran(), ran(Outcome.FAILED, qemu="11.1.3", failed="g1's kernel complains of nothing")]
    )

    told = page([case(tmp_path)], results, Gaps())

    assert "| lab | 10.0.13 | 6.12 | passed |" in told
    assert "| lab | 11.1.3 | 6.12 | failed: g1's kernel complains of nothing |" in told


def test_a_newer_run_takes_the_place_of_the_older_on_the_same_versions() -> None:
    results = Results().with_runs([ran(Outcome.FAILED)]).with_runs([ran()])

    assert [one.outcome for one in results.results] == [Outcome.PASSED]


def test_what_is_no_case_is_told_with_the_reason(tmp_path: pathlib.Path) -> None:
    source = case(tmp_path).about.source[0]
    gap = Gap(group="removal", behaviour="an interlock", source=source, why="QEMU has none.")

    told = page([case(tmp_path)], Results(), Gaps(gaps=(gap,)))

    assert "### No case: an interlock" in told
    assert "QEMU has none." in told


def test_the_committed_page_is_current(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)

    assert main(["catalogue"]) == 0

    committed = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == committed, "run: make docs"
