"""``harness`` whose runs are stood in for: what the build made says how the run of it ends.

Everything else is real: the command, git, the build, the records. Started as a script, also
by git for each step.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from harness.bisect import BisectPlan, RunOnce, Version
from harness.case import BoundCase, Scalar
from harness.cli import bisect_step, bisect_versions, bisecting, main
from harness.errors import ImageError, InputError, LabError
from harness.record import RunDir
from harness.report import Result, judge_run, result_of
from harness.report.result import FindingResult
from harness.verdict import Outcome

RECORDED = Path(__file__).parents[1] / "cli" / "data" / "run"
LOST, MIGRATION = "expect.streams.inbound.lost", "expect.migration"


def result(**outcomes: Outcome) -> Result:
    """A result with these two findings, which pass unless something else is said."""
    findings = tuple(
        FindingResult(
            expectation=text, path=path, place="case.yaml:9", reason=f"because of {name}",
            outcome=outcomes.get(name, Outcome.PASSED),
        )
        for name, path, text in (
            ("lost", LOST, "stream inbound: lost <= 4000"),
            ("migration", MIGRATION, "every migration is completed"),
        )
    )  # fmt: skip
    found = {one.outcome for one in findings}
    worst = next(one for one in (Outcome.FAILED, Outcome.CANNOT_TELL, Outcome.PASSED)
                 if one in found)  # fmt: skip
    code = {Outcome.FAILED: 1, Outcome.CANNOT_TELL: 4, Outcome.PASSED: 0}[worst]
    recorded = result_of(judge_run(RunDir.open(RECORDED)))
    return recorded.model_copy(update={"findings": findings, "outcome": worst, "exit_code": code})


def ending(word: str, place: Path) -> Result:
    """A run that ends as ``word`` says; its directory is made, as a real run does."""
    place.mkdir()
    if word == "broken" or (word == "broken-once" and place.name == "run-1"):
        raise LabError("alpha: the host is gone")
    if word == "wrong-input":
        raise InputError("topology.yaml: no such bridge")
    if word == "waits":
        (place / "is-running").touch()
        threading.Event().wait(60)
    return result(
        lost=Outcome.FAILED if word in ("bad", "both") else
        Outcome.CANNOT_TELL if word == "dark" else Outcome.PASSED,
        migration=Outcome.FAILED if word in ("other", "both") else Outcome.PASSED,
    )  # fmt: skip


def prepare(plan: BisectPlan, bound: BoundCase) -> RunOnce:
    word = Path(plan.result, "word").read_text(encoding="utf-8").strip()
    if word == "unusable":
        raise ImageError("toolchain: does not run here")
    assert bound.choices.qemu == plan.reference
    return lambda place: ending(word, place)


VERSIONS = {"qemu-7.2": "good", "qemu-10.0": "good", "qemu-11": "bad"}


def prepare_version(
    _axis: str, version: Version, _bound: BoundCase, _settings: dict[str, Scalar], _case: str
) -> RunOnce:
    return lambda place: ending(VERSIONS[version.name], place)


if __name__ == "__main__":
    bisect_step.PREPARE = prepare
    bisect_versions.PREPARE = prepare_version
    bisecting.COMMAND = (sys.executable, "-P", *sys.argv[:1])
    sys.exit(main())
