"""What the runs of a revision say of it: good, bad, or that it cannot be said. Pure.

Only a verdict answers. A lab that broke and a run that cannot be told are tried again, and
are then a revision to skip: neither is ever good or bad.

Neighbours: the CLI hands the function that runs; ``record`` keeps what comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.bisect.record import Answer, RunOfStep
from harness.errors import (
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_PASSED,
    HarnessError,
    InputError,
    Interrupted,
)
from harness.report import Result
from harness.report.result import FindingResult
from harness.verdict import Outcome

RunOnce = Callable[[Path], Result]
"""Runs the case, with its record in that directory, which it makes; raises as a run does."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The answer, why, the expectations that failed, and the runs that it follows from.

    ``exit_code`` is the harness's for what became of the revision: that of the last run, and
    2 (the input is wrong) where it fails, but not by what was asked for.
    """

    answer: Answer
    reason: str
    failed: tuple[str, ...]
    runs: tuple[RunOfStep, ...]
    exit_code: int


def try_revision(run_once: RunOnce, directory: Path, *, repeat: int, expect: str | None) -> Tried:
    """Run until a run answers, at most ``repeat`` times; run directories below ``directory``.

    With ``expect`` (an expectation's text, its path, or the beginning of that) a revision is
    bad only when that one failed. One that fails otherwise is skipped: what else is broken
    there may hide the defect as well as show it.

    Wrong input is the answer STOP. Raises Interrupted.
    """
    runs: list[RunOfStep] = []
    for number in range(1, repeat + 1):
        place = directory / f"run-{number}"
        try:
            result = run_once(place)
        except Interrupted:
            raise
        except InputError as error:
            runs.append(_ended(place, "wrong input", error.message))
            return Tried(Answer.STOP, str(error), (), tuple(runs), EXIT_INPUT)
        except HarnessError as error:
            runs.append(_ended(place, "lab broke", error.message))
            code = error.exit_code
            continue
        code = result.exit_code
        if result.outcome is not Outcome.CANNOT_TELL:
            return _answered(result, place, tuple(runs), expect)
        reasons = [one.reason for one in result.findings if one.outcome is Outcome.CANNOT_TELL]
        runs.append(_ended(place, result.outcome.value, "; ".join(dict.fromkeys(reasons))))
    last = runs[-1]
    times = f"{repeat} times, the last time" if repeat > 1 else "once"
    return Tried(
        Answer.SKIP, f"tried {times}: {last.outcome}: {last.reason}", (), tuple(runs), code
    )


def _answered(
    result: Result, place: Path, before: tuple[RunOfStep, ...], expect: str | None
) -> Tried:
    failed = [one for one in result.findings if one.outcome is Outcome.FAILED]
    told = tuple(f"{one.expectation} ({one.path}): {one.reason}" for one in failed)
    runs = (*before, _ended(place, result.outcome.value, told[0] if told else ""))
    if not failed:
        return Tried(Answer.GOOD, "passed", (), runs, EXIT_PASSED)
    meant = [one for one in failed if expect is None or is_meant(one, expect)]
    if meant:
        # The one that was asked for is told first, whatever else it brought with it.
        first = tuple(told[failed.index(one)] for one in meant)
        others = tuple(text for text in told if text not in first)
        return Tried(Answer.BAD, first[0], (*first, *others), runs, EXIT_FAILED)
    reason = f"fails, and not by {expect!r}: {'; '.join(told)}"
    return Tried(Answer.SKIP, reason, told, runs, EXIT_INPUT)


def is_meant(finding: FindingResult, expect: str) -> bool:
    """Whether ``expect`` names this finding: its text, its path, or the path's beginning."""
    path = finding.path
    return expect in (finding.expectation, path) or path.startswith((f"{expect}.", f"{expect}["))


def _ended(place: Path, outcome: str, reason: str) -> RunOfStep:
    return RunOfStep(directory=str(place), outcome=outcome, reason=reason)
