"""What a run is worth in its cell, and what the tables say of it.

The runs are the recorded one of ``tests/cli/data/run``, and what its judging could have given.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import EXIT_CANNOT_TELL, EXIT_FAILED, InputError, LabError
from harness.matrix import (
    CellOutcome,
    CellResult,
    Matrix,
    MatrixResult,
    broken_cell,
    judged_cell,
    load_matrix,
    markdown,
    matrix_junit,
    render,
)
from harness.matrix.cells import Known
from harness.record import RunDir
from harness.report import Result, judge_run, result_of
from harness.verdict import Outcome

RUN = Path(__file__).parents[1] / "cli" / "data" / "run"
MATRIX = """\
axes: {machine: [q35, pc-q35-9.2, pc-q35-9.1], accelerator: [tcg]}
exclude: [{machine: pc-q35-9.1, reason: too old | by far}]
"""


@pytest.fixture(scope="module")
def passed() -> Result:
    return result_of(judge_run(RunDir.open(RUN)))


def turned(result: Result, path: str, outcome: Outcome, code: int) -> Result:
    """The result, had the expectation at ``path`` not passed."""
    findings = tuple(
        one.model_copy(update={"outcome": outcome, "reason": "it was otherwise"})
        if one.path == path
        else one
        for one in result.findings
    )
    assert findings != result.findings, [one.path for one in result.findings]
    return result.model_copy(update={"findings": findings, "outcome": outcome, "exit_code": code})


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    path = tmp_path / "m.yaml"
    path.write_text(MATRIX, encoding="utf-8")
    return load_matrix(path, {})


START = "expect.netdevs.start.g1.net1.primary"


@pytest.mark.parametrize(
    ("outcome", "known", "cell", "code"),
    [
        (Outcome.PASSED, None, CellOutcome.PASSED, 0),
        (Outcome.FAILED, None, CellOutcome.FAILED, 1),
        (Outcome.CANNOT_TELL, None, CellOutcome.CANNOT_TELL, 4),
        (Outcome.PASSED, Known("so it is", None), CellOutcome.PASSED_UNEXPECTEDLY, 1),
        (Outcome.FAILED, Known("so it is", None), CellOutcome.FAILED_AS_KNOWN, 0),
        (Outcome.FAILED, Known("so it is", "expect.netdevs.start"), CellOutcome.FAILED_AS_KNOWN, 0),
        (Outcome.FAILED, Known("so it is", "expect.netdevs.st"), CellOutcome.FAILED, 1),
        (Outcome.FAILED, Known("so it is", "expect.streams"), CellOutcome.FAILED, 1),
        # A failure that cannot be told is not the known one.
        (Outcome.CANNOT_TELL, Known("so it is", None), CellOutcome.CANNOT_TELL, 4),
    ],
)
def test_a_cell_is_judged_by_its_run_and_by_what_is_known(
    passed: Result,
    matrix: Matrix,
    outcome: Outcome,
    known: Known | None,
    cell: CellOutcome,
    code: int,
) -> None:
    result = passed
    if outcome is not Outcome.PASSED:
        exit_code = EXIT_FAILED if outcome is Outcome.FAILED else EXIT_CANNOT_TELL
        path = next(
            one.path for one in passed.findings if one.path.startswith(START.rpartition(".")[0])
        )
        result = turned(passed, path, outcome, exit_code)
    made = judged_cell(matrix.cells[0], "flat", known, result, duration_s=1.25, run="r")
    assert (made.outcome, made.exit_code) == (cell, code)
    if cell is CellOutcome.PASSED_UNEXPECTEDLY:
        assert (
            made.reason == "was to fail (so it is) and passes: take it out of the matrix's `expect`"
        )
    if cell is CellOutcome.FAILED and known:
        assert made.reason.startswith(f"is known to fail with {known.finding}, and this is another")


def everything(passed: Result, matrix: Matrix) -> MatrixResult:
    """One cell of each kind."""
    first, second = matrix.cells
    path = passed.findings[0].path
    failed = turned(passed, path, Outcome.FAILED, EXIT_FAILED)
    done: list[CellResult] = [
        judged_cell(first, "flat", None, passed, duration_s=13.52, run="runs/1"),
        judged_cell(second, "flat", None, failed, duration_s=9, run="runs/2"),
        judged_cell(first, "nested", Known("so it is", None), failed, duration_s=8, run="runs/3"),
        broken_cell(
            second,
            "nested",
            None,
            LabError("alpha: gone", evidence=["dmesg"]),
            duration_s=2,
            run="runs/4",
        ),
    ]
    return MatrixResult.of("a claim", "case.yaml", matrix, done)


def test_the_worst_cell_gives_the_exit_code(passed: Result, matrix: Matrix) -> None:
    whole = everything(passed, matrix)
    assert whole.exit_code == 3
    wrong = broken_cell(matrix.cells[0], "flat", None, InputError("no"), duration_s=0, run="r")
    assert (wrong.outcome, wrong.exit_code) == (CellOutcome.WRONG_INPUT, 2)
    worse = MatrixResult.of("a", "c", matrix, [*whole.cells, wrong])
    assert worse.exit_code == 2
    assert MatrixResult.of("a", "c", matrix, whole.cells[:3]).exit_code == 1
    assert MatrixResult.of("a", "c", matrix, whole.cells[::2][:2]).exit_code == 0


def test_the_table_has_a_row_for_every_cell_run_or_not(passed: Result, matrix: Matrix) -> None:
    text = render(everything(passed, matrix))
    rows = text.splitlines()
    assert rows[0] == (
        "a claim: 4 cells: 1 passed, 1 failed, 1 lab broke, 1 failed as known, 1 excluded"
    )
    assert rows[3].split() == (
        [
            "cell",
            "ran",
            "outcome",
            "lost",
            "interruption",
            "duration",
            "first",
            "failed",
            "expectation",
        ]
    )
    version = passed.versions.qemu[0].version
    assert rows[4].startswith(f"  flat[q35+tcg]           QEMU {version}, Linux ")
    assert " passed " in rows[4]
    assert rows[4].endswith("13.5 s")
    assert rows[5].startswith("  flat[pc-q35-9.2+tcg] ")
    assert rows[5].endswith(passed.findings[0].expectation)
    assert " failed as known " in rows[6]
    assert rows[7].split()[:4] == ["nested[pc-q35-9.2+tcg]", "?", "lab", "broke"]
    assert rows[7].endswith("alpha: gone")
    assert rows[8].split() == [
        "*[pc-q35-9.1+tcg]",
        "excluded",
        "not",
        "run:",
        "too",
        "old",
        "|",
        "by",
        "far",
    ]
    assert "  it was otherwise\n  run directory: runs/2\n" in text
    assert "nested[q35+tcg]: failed as known: so it is\n" in text
    assert "    dmesg\n" in text


def test_the_markdown_table_has_the_same_rows(passed: Result, matrix: Matrix) -> None:
    whole = everything(passed, matrix)
    lines = markdown(whole).splitlines()
    assert lines[2].startswith("| cell | ran | outcome | lost | ")
    assert set(lines[3]) == {"|", " ", "-"}
    assert len(lines) == 4 + len(whole.cells) + 1
    assert {line.replace("\\|", "").count("|") for line in lines[2:]} == {8}
    assert lines[-1].endswith("| not run: too old \\| by far |")


def test_the_largest_loss_and_interruption_are_named_with_their_stream(
    passed: Result, matrix: Matrix
) -> None:
    lost = max((one.lost or 0, one.stream) for one in passed.streams)
    text = render(everything(passed, matrix))
    assert f" {lost[0]} ({lost[1]}) " in text
    longest = max((one.interruption_by_time_s or 0, one.stream) for one in passed.streams)
    assert f" {longest[0] * 1e3:.0f} ms ({longest[1]}) " in text


def test_junit_has_a_test_case_for_every_cell(passed: Result, matrix: Matrix) -> None:
    suite = ElementTree.fromstring(matrix_junit(everything(passed, matrix))).find("testsuite")
    assert suite is not None
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "5", "failures": "1", "errors": "1", "skipped": "2", "time": "32.5"}
    told = {case.get("name"): [child.tag for child in case] for case in suite}
    assert told == {
        "flat[q35+tcg]": [],
        "flat[pc-q35-9.2+tcg]": ["failure"],
        "nested[q35+tcg]": ["skipped"],
        "nested[pc-q35-9.2+tcg]": ["error"],
        "*[pc-q35-9.1+tcg]": ["skipped"],
    }


def test_the_json_holds_every_cell_with_its_whole_result(passed: Result, matrix: Matrix) -> None:
    whole = everything(passed, matrix)
    data = json.loads(whole.to_json())
    assert data["schema"] == 1
    assert [cell["outcome"] for cell in data["cells"]] == [
        *("passed", "failed", "failed as known", "lab broke")
    ]
    assert data["cells"][0]["choices"] == {"machine": "q35", "accelerator": "tcg"}
    assert data["cells"][0]["result"] == json.loads(passed.to_json())
    assert data["cells"][3]["result"] is None
    assert MatrixResult.model_validate(data) == whole
