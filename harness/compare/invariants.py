"""Findings of both builds beside each other: what one of them shows and the other does not.

A finding that failed in a run of the candidate and in none of the baseline is *confirmed* when
it fails in another run of the candidate. A bound on a measured figure, which is crossed now and
then, stands out only when chance would put so many of the crossings on the candidate's side
in 1 of 20 gates at most (Fisher's exact test).

Neighbours: ``seen`` has the runs; ``decide`` weighs this first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import Field

from harness.compare.figures import Part
from harness.compare.ranks import chance_of_share
from harness.compare.seen import Seen, Side, judged
from harness.verdict import Outcome

CHANCE = 0.05
"""Below it, something that no endpoint names is no accident: it keeps a gate from passing."""

_BEFORE_FAILING = 2
_AGAIN = 2


class Standing(StrEnum):
    """How a finding stands between two builds."""

    CONFIRMED = "candidate only, confirmed"
    ONCE = "candidate only, not seen again"
    PENDING = "candidate only, to be seen again"
    BASELINE_ONLY = "baseline only"
    BOTH = "both"
    MORE_OFTEN = "more often with the candidate"
    UNTOLD = "not told with the candidate"


class Violation(Part):
    """A finding that failed in some run, or that the candidate's runs never tell."""

    finding: str
    measured: bool = Field(description="a bound on a measured figure, not an invariant")
    standing: Standing
    baseline_failed: int
    baseline_runs: int
    candidate_failed: int
    candidate_runs: int
    in_runs: tuple[int, ...] = Field(description="the runs in which it failed")


def violations(runs: Iterable[Seen]) -> tuple[Violation, ...]:
    """Every finding that failed in a run that was judged, in the order of the case."""
    counted = judged(runs)
    names: dict[str, bool] = {}
    for run in counted:
        names |= dict.fromkeys(run.findings, False) | dict.fromkeys(run.bounds, True)
    found = (_violation(name, measured, counted) for name, measured in names.items())
    return tuple(one for one in found if one is not None)


def of(found: Iterable[Violation], *standings: Standing) -> tuple[Violation, ...]:
    """The violations that stand so."""
    return tuple(one for one in found if one.standing in standings)


def _violation(name: str, measured: bool, runs: Sequence[Seen]) -> Violation | None:
    baseline, candidate = (judged(runs, side) for side in Side)
    failed = [run for run in runs if run.failed(name)]
    ours = [run for run in candidate if run.failed(name)]
    standing = _standing(name, measured, baseline, candidate)
    if standing is None:
        return None
    return Violation(
        finding=name,
        measured=measured,
        standing=standing,
        baseline_failed=len(failed) - len(ours),
        baseline_runs=len(baseline),
        candidate_failed=len(ours),
        candidate_runs=len(candidate),
        in_runs=tuple(run.number for run in failed),
    )


def _standing(
    name: str, measured: bool, baseline: Sequence[Seen], candidate: Sequence[Seen]
) -> Standing | None:
    theirs = sum(run.failed(name) for run in baseline)
    ours = sum(run.failed(name) for run in candidate)
    if not theirs and not ours:
        return Standing.UNTOLD if _untold(name, baseline, candidate) else None
    if measured:
        chance = chance_of_share(theirs, len(baseline), ours, len(candidate))
        if chance <= CHANCE:
            return Standing.MORE_OFTEN
    if not ours:
        return Standing.BASELINE_ONLY
    if theirs:
        return Standing.BOTH
    if measured:
        return Standing.ONCE
    if ours > 1:
        return Standing.CONFIRMED if len(baseline) >= _BEFORE_FAILING else Standing.PENDING
    first = next(place for place, run in enumerate(candidate) if run.failed(name))
    return Standing.PENDING if len(candidate) - first - 1 < _AGAIN else Standing.ONCE


def _untold(name: str, baseline: Sequence[Seen], candidate: Sequence[Seen]) -> bool:
    """The baseline's runs tell it, and not one of the candidate's does."""

    def told(run: Seen) -> bool:
        return Outcome.PASSED in (run.findings.get(name), run.bounds.get(name))

    return any(map(told, baseline)) and bool(candidate) and not any(map(told, candidate))
