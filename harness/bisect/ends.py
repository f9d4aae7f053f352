"""Whether the two ends are what the user said of them. Pure."""

from __future__ import annotations

from harness.bisect.record import Answer, Step
from harness.bisect.text import short
from harness.errors import EXIT_CANNOT_TELL, EXIT_LAB, InputError, LabError, RecordError


def must_be(wanted: Answer, step: Step) -> None:
    """Raises the error of an end that is not what was said of it.

    InputError where that is known or where it cannot be used; LabError and RecordError (exit
    codes 3 and 4) where the lab broke or the runs cannot be told.
    """
    if step.answer is wanted:
        return
    evidence = [*step.failed[:5], *(f"run directory: {run.directory}" for run in step.runs)]
    what = f"{short(step.revision)} ({step.title})"
    if step.answer is Answer.SKIP and step.exit_code in (EXIT_LAB, EXIT_CANNOT_TELL):
        error = LabError if step.exit_code == EXIT_LAB else RecordError
        raise error(
            f"{what} cannot be called {wanted.value}: {step.reason}",
            hint="nothing was bisected; --trust goes on without trying the two ends",
            evidence=evidence,
        )
    found = {Answer.GOOD: "passes: it is not bad", Answer.BAD: "fails: it is not good"}
    raise InputError(
        f"{what} {found.get(step.answer, f'is not {wanted.value}: {step.reason}')}",
        hint="nothing was bisected",
        evidence=evidence,
    )
