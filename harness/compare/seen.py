"""What a gate takes from one run, and how its expectations count. Pure.

An expectation that says *always* or *never* needs no statistics: one failure means something.
A bound on a measured figure (``lost: "<= 200"``) is crossed by chance now and then; it is
counted, and decides only where chance is not the reason.

Neighbours: ``figures`` has the numbers; ``invariants`` compares findings; ``schedule`` orders
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import Field

from harness.case import BoundCase, Endpoint, PathBound, StreamBound, TcpBound, TimeBound
from harness.compare.figures import Figure, Part, figures, trouble_with
from harness.document import dotted
from harness.report import Result
from harness.report.result import FindingResult
from harness.verdict import Outcome

_OF_STREAMS = "expect.streams."


class Side(StrEnum):
    """Which of the two builds a run was of."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


class Seen(Part):
    """One run of a gate. With ``trouble`` its figures do not count, and it is done again.

    What was found in it counts all the same, if it came so far as to be judged.
    """

    number: int = Field(description="from 1, in the order of running")
    side: Side
    confirming: bool = Field(False, description="made only to see a finding again")
    trouble: str = Field("", description="why its figures do not count; empty when they do")
    findings: dict[str, Outcome] = Field(default_factory=dict)
    bounds: dict[str, Outcome] = Field(
        default_factory=dict, description="findings on a measured figure"
    )
    figures: dict[str, Figure] = Field(default_factory=dict)
    run_directory: str = ""

    @property
    def judged(self) -> bool:
        return bool(self.findings or self.bounds)

    def failed(self, name: str) -> bool:
        return Outcome.FAILED in (self.findings.get(name), self.bounds.get(name))


def seen_run(
    number: int,
    side: Side,
    result: Result,
    endpoints: Sequence[Endpoint],
    measured: frozenset[str],
    *,
    confirming: bool = False,
    run_directory: str = "",
) -> Seen:
    """A judged run. ``measured`` are the paths of bounds on figures (``measured_bounds``).

    A run that does not give a declared endpoint is in trouble.
    """
    findings: dict[str, Outcome] = {}
    bounds: dict[str, Outcome] = {}
    for one in result.findings:
        of = bounds if one.path in measured else findings
        of[name_of(one)] = one.outcome
    found = figures(result)
    reasons = [why for why in (trouble_with(one, found) for one in endpoints) if why]
    return Seen(
        number=number,
        side=side,
        confirming=confirming,
        trouble="; ".join(reasons),
        findings=findings,
        bounds=bounds,
        figures=found,
        run_directory=run_directory,
    )


def broken_run(
    number: int, side: Side, why: str, *, confirming: bool = False, run_directory: str = ""
) -> Seen:
    """A run that came to no verdict: its lab broke."""
    return Seen(
        number=number,
        side=side,
        confirming=confirming,
        trouble=why,
        run_directory=run_directory,
    )


def name_of(finding: FindingResult) -> str:
    """A finding's name, the same in the runs of both builds.

    The words of an invariant name the version of QEMU, so its path alone is its name; a bound
    on ``*`` is one finding for each stream, which its words tell apart.
    """
    if finding.path.startswith(_OF_STREAMS):
        return f"{finding.path} ({finding.expectation})"
    return finding.path


def measured_bounds(bound: BoundCase) -> frozenset[str]:
    """The paths of a case's bounds that chance can cross: those that do not say "never"."""
    found: set[str] = set()
    for stream, bounds in bound.expect.streams.items():
        every: list[StreamBound | TcpBound | PathBound]
        every = [*bounds.bounds(), *bounds.tcp_bounds(), *bounds.path_bounds()]
        found |= {dotted(("expect", "streams", stream, *b.path)) for b in every if _by_chance(b)}
    return frozenset(found)


def _by_chance(one: StreamBound | TcpBound | PathBound) -> bool:
    if isinstance(one, PathBound):
        return one.taken.share.value < 1  # not "all of them"
    limit = one.bound
    if limit is None:
        return False
    if isinstance(limit, TimeBound):
        return True
    return not (limit.op in ("==", "<=") and limit.value == 0)


def good(runs: Iterable[Seen], side: Side | None = None) -> list[Seen]:
    """The runs whose figures count, of one side or of both."""
    return [one for one in runs if not one.trouble and side in (None, one.side)]


def judged(runs: Iterable[Seen], side: Side | None = None) -> list[Seen]:
    """The runs whose findings count, of one side or of both."""
    return [one for one in runs if one.judged and side in (None, one.side)]
