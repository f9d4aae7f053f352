"""What a verdict is: one outcome, and for every expectation a finding with its reason.

Passed, failed and cannot tell are never mixed: a case without a judged expectation, a
record that is cut off or two facts closer than their errors cannot be told, and never pass.

Neighbours: made by ``judge``; ``harness.report`` shows these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from harness.errors import EXIT_CANNOT_TELL, EXIT_FAILED, EXIT_PASSED


class Outcome(StrEnum):
    """What became of one expectation, or of a case."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot-tell"


@dataclass(frozen=True, slots=True)
class Judged:
    """An outcome and its reason: what was found, when, and who says so."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation and what became of it.

    ``path`` is its path in the case (``expect.streams.inbound.lost``), or starts with
    ``invariants.`` for what is checked although no case says it. ``place`` is ``file:line``
    of the case, empty for an invariant.
    """

    expectation: str
    path: str
    place: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a case and the findings that it follows from."""

    outcome: Outcome
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 4 cannot tell."""
        return {
            Outcome.PASSED: EXIT_PASSED,
            Outcome.FAILED: EXIT_FAILED,
            Outcome.CANNOT_TELL: EXIT_CANNOT_TELL,
        }[self.outcome]

    def of(self, outcome: Outcome) -> tuple[Finding, ...]:
        """The findings with that outcome, in the order of the case."""
        return tuple(finding for finding in self.findings if finding.outcome is outcome)


def worst(judged: Iterable[Judged], *, passed: str = "") -> Judged:
    """One judgement out of several: failed before cannot-tell before passed.

    The reasons of the worst outcome are joined; nothing judged cannot be told.
    """
    every = tuple(judged)
    for outcome in (Outcome.FAILED, Outcome.CANNOT_TELL):
        reasons = [one.reason for one in every if one.outcome is outcome]
        if reasons:
            return Judged(outcome, "; ".join(dict.fromkeys(reasons)))
    if not every:
        return Judged(Outcome.CANNOT_TELL, "nothing was recorded that this could be judged by")
    reasons = [passed] if passed else list(dict.fromkeys(one.reason for one in every))
    return Judged(Outcome.PASSED, "; ".join(reason for reason in reasons if reason))


def conclude(findings: Iterable[Finding]) -> Verdict:
    """The verdict that follows from the findings.

    Failed if any failed; else cannot tell if any cannot be told, or if no expectation of
    the case itself was judged; else passed.
    """
    every = list(findings)
    if not any(finding.path.startswith("expect.") for finding in every):
        every.append(
            Finding(
                expectation="the case expects something",
                path="expect",
                place="",
                outcome=Outcome.CANNOT_TELL,
                reason="it states no expectation, so the run shows nothing",
            )
        )
    outcomes = {finding.outcome for finding in every}
    for outcome in (Outcome.FAILED, Outcome.CANNOT_TELL):
        if outcome in outcomes:
            return Verdict(outcome, tuple(every))
    return Verdict(Outcome.PASSED, tuple(every))
