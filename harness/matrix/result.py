"""What became of the cells of a matrix, as data; every table is made from this.

A cell's outcome is that of its run, but for cells in which the case is known to fail: there
the known failure is in order, and a pass is told.

Neighbours: ``harness.report`` judges each run; ``text`` and ``junit`` render.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import (
    EXIT_CANNOT_TELL,
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_LAB,
    EXIT_PASSED,
    WORST_FIRST,
    HarnessError,
)
from harness.matrix.cells import Cell, Known, Matrix
from harness.report import Result
from harness.report.result import FindingResult
from harness.verdict import Outcome


class CellOutcome(StrEnum):
    """What became of a cell."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot tell"
    LAB_BROKE = "lab broke"
    WRONG_INPUT = "wrong input"
    FAILED_AS_KNOWN = "failed as known"
    PASSED_UNEXPECTEDLY = "passed unexpectedly"


_OF_CODE = {
    EXIT_PASSED: CellOutcome.PASSED,
    EXIT_FAILED: CellOutcome.FAILED,
    EXIT_CANNOT_TELL: CellOutcome.CANNOT_TELL,
    EXIT_INPUT: CellOutcome.WRONG_INPUT,
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CellResult(_Part):
    """One cell of a matrix. ``result`` is null where the lab broke before it could be judged."""

    cell: str
    variant: str
    choices: dict[str, str | dict[str, str]]
    outcome: CellOutcome
    exit_code: int
    first: str = Field(description="the first expectation that did not pass, or the error")
    reason: str = Field(description="why it did not; empty when it passed")
    known: str = Field("", description="why the case is known to fail here; empty when it is not")
    duration_s: float = Field(description="from lab up to lab down")
    run_directory: str
    result: Result | None = None

    @property
    def id(self) -> str:
        """``flat[qemu-11+kernel-7]``."""
        return f"{self.variant}[{self.cell}]"


class ExcludedResult(_Part):
    """A cell that was not run."""

    cell: str
    variant: str = Field(description="empty where it stands for every topology of the case")
    reason: str


class MatrixResult(_Part):
    """A whole matrix, run."""

    schema_version: Literal[1] = Field(1, alias="schema")
    claim: str
    case_file: str
    matrix_file: str
    exit_code: int
    cells: tuple[CellResult, ...]
    excluded: tuple[ExcludedResult, ...]
    not_run: tuple[str, ...] = Field(
        (), description="cells that were not reached: the matrix was interrupted"
    )

    def to_json(self) -> str:
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    @classmethod
    def of(
        cls,
        claim: str,
        case_file: str,
        matrix: Matrix,
        cells: Sequence[CellResult],
        *,
        not_run: Sequence[str] = (),
    ) -> MatrixResult:
        """The result of the ``cells`` that were run; the exit code is that of the worst.

        ``not_run`` names those that an interruption has left out; then it is that one's.
        """
        worst = min((cell.exit_code for cell in cells), key=WORST_FIRST.index)
        return cls(
            schema_version=1,
            claim=claim,
            case_file=case_file,
            matrix_file=str(matrix.path),
            exit_code=EXIT_INTERRUPTED if not_run else worst,
            cells=tuple(cells),
            not_run=tuple(not_run),
            excluded=tuple(
                ExcludedResult(cell=one.cell.id, variant=one.cell.variant or "", reason=one.reason)
                for one in matrix.excluded
            ),
        )


def known_failure(result: Result, known: Known) -> str:
    """Empty if ``result`` is the known failure; else what is different about it."""
    if result.outcome is Outcome.PASSED:
        return f"was to fail ({known.reason}) and passes: take it out of the matrix's `expect`"
    failed = [one for one in result.findings if one.outcome is Outcome.FAILED]
    wanted = known.finding
    for one in failed:
        if wanted is not None and one.path != wanted and not one.path.startswith(f"{wanted}."):
            return f"is known to fail with {wanted}, and this is another one: {one.reason}"
    return ""


def judged_cell(
    cell: Cell, variant: str, known: Known | None, result: Result, *, duration_s: float, run: str
) -> CellResult:
    """The result of a cell whose run was judged."""
    worst = _first_not_passed(result)
    outcome, code = _OF_CODE[result.exit_code], result.exit_code
    first, reason = (worst.expectation, worst.reason) if worst else ("", "")
    if known is not None and result.outcome is not Outcome.CANNOT_TELL:
        different = known_failure(result, known)
        if not different:
            outcome, code = CellOutcome.FAILED_AS_KNOWN, EXIT_PASSED
        elif result.outcome is Outcome.PASSED:
            outcome, code, reason = CellOutcome.PASSED_UNEXPECTEDLY, EXIT_FAILED, different
        else:
            reason = different
    return CellResult(
        cell=cell.id,
        variant=variant,
        choices=cell.choices.given(),
        outcome=outcome,
        exit_code=code,
        first=first,
        reason=reason,
        known=known.reason if known else "",
        duration_s=round(duration_s, 1),
        run_directory=run,
        result=result,
    )


def _first_not_passed(result: Result) -> FindingResult | None:
    """The first finding that made the outcome what it is."""
    return (
        next((one for one in result.findings if one.outcome is result.outcome), None)
        if (result.outcome is not Outcome.PASSED)
        else None
    )


def broken_cell(
    cell: Cell,
    variant: str,
    known: Known | None,
    error: HarnessError,
    *,
    duration_s: float,
    run: str,
) -> CellResult:
    """The result of a cell whose run came to no verdict."""
    return CellResult(
        cell=cell.id,
        variant=variant,
        choices=cell.choices.given(),
        outcome=_OF_CODE.get(error.exit_code, CellOutcome.LAB_BROKE),
        exit_code=error.exit_code if error.exit_code in _OF_CODE else EXIT_LAB,
        first=error.message.splitlines()[0],
        reason=str(error),
        known=known.reason if known else "",
        duration_s=round(duration_s, 1),
        run_directory=run,
    )
