"""The decision of a gate over the runs that it has: pure, and the same for the same runs.

In this order: a lab that breaks too often says nothing of a build; a finding that only the
candidate shows, and shows again, needs no statistics; then the endpoints.

Neighbours: ``schedule`` says when to decide; ``text`` and ``junit`` show the decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import Literal

from pydantic import Field

from harness.case import Endpoint
from harness.compare.endpoints import Compared, Difference, EndpointVerdict, compare
from harness.compare.figures import Part
from harness.compare.invariants import Standing, Violation, of, violations
from harness.compare.looks import ERROR, Look, plan_looks
from harness.compare.seen import Seen, Side, good
from harness.errors import EXIT_CANNOT_TELL, EXIT_FAILED, EXIT_LAB, EXIT_PASSED, InputError

_LEAST_TROUBLE = 3
_TROUBLE = 0.25


class GateOutcome(StrEnum):
    """What a gate says of the candidate."""

    NO_WORSE = "no worse"
    WORSE = "worse"
    LAB_BROKE = "lab broke"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> int:
        """0 no worse, 1 worse, 3 the lab broke, 4 inconclusive."""
        return {
            GateOutcome.NO_WORSE: EXIT_PASSED,
            GateOutcome.WORSE: EXIT_FAILED,
            GateOutcome.LAB_BROKE: EXIT_LAB,
            GateOutcome.INCONCLUSIVE: EXIT_CANNOT_TELL,
        }[self]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is fixed before the first run.

    ``runs`` is the budget of each build, ``minutes`` that of time (None: no limit), ``error`` the
    promised chance of each wrong claim in the whole gate. Raises InputError for terms with which
    nothing could be decided.
    """

    endpoints: tuple[Endpoint, ...]
    runs: int = 10
    minutes: float | None = None
    error: float = ERROR
    looks: tuple[Look, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise InputError(
                "a gate compares the endpoints that the case declares, and it declares none",
                hint='add to the case: gate: {streams: {NAME: {lost: "5 packets"}}}',
            )
        looks = plan_looks(self.runs, len(self.endpoints), error=self.error)
        object.__setattr__(self, "looks", looks)

    @property
    def trouble_allowed(self) -> int:
        """How many runs may be in trouble: a quarter of the budget, and three in any case."""
        return max(_LEAST_TROUBLE, ceil(_TROUBLE * 2 * self.runs))


class Decision(Part):
    """What a gate decided, and all that it follows from."""

    schema_version: Literal[1] = Field(1, alias="schema")
    outcome: GateOutcome
    exit_code: int
    reasons: tuple[str, ...]
    stopped: str = Field(description="why no further run was made")
    trades: tuple[str, ...] = Field(description="more of one endpoint for less of another")
    endpoints: tuple[Compared, ...] = Field(description="declared ones first")
    violations: tuple[Violation, ...]
    baseline_runs: int = Field(description="whose figures count")
    candidate_runs: int
    trouble: dict[str, int] = Field(description="runs whose figures do not count, by side")
    level: float | None = Field(description="one-sided, of the look; null between looks")
    error: float = Field(description="promised for the whole gate, of each wrong claim")

    def to_json(self) -> str:
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def decide(terms: Terms, runs: Sequence[Seen], look: Look | None, stopped: str) -> Decision:
    """The decision at a look, or without one (then nothing is claimed of an endpoint)."""
    compared = compare(terms.endpoints, runs, look)
    found = violations(runs)
    trouble = {side.value: sum(bool(r.trouble) and r.side is side for r in runs) for side in Side}
    outcome, reasons = _outcome(terms, compared, found, trouble)
    return Decision(
        schema_version=1,
        outcome=outcome,
        exit_code=outcome.exit_code,
        reasons=tuple(reasons),
        stopped=stopped,
        trades=_trades(compared),
        endpoints=compared,
        violations=found,
        baseline_runs=len(good(runs, Side.BASELINE)),
        candidate_runs=len(good(runs, Side.CANDIDATE)),
        trouble=trouble,
        level=look.level if look else None,
        error=terms.error,
    )


def _outcome(
    terms: Terms,
    compared: Sequence[Compared],
    found: Sequence[Violation],
    trouble: dict[str, int],
) -> tuple[GateOutcome, list[str]]:
    if confirmed := of(found, Standing.CONFIRMED):
        return GateOutcome.WORSE, [_told(one) for one in confirmed]
    if (total := sum(trouble.values())) > terms.trouble_allowed:
        by_side = ", ".join(f"{count} of the {side}" for side, count in trouble.items() if count)
        reasons = [f"{total} runs did not count ({by_side}); {terms.trouble_allowed} are allowed"]
        if not trouble[Side.BASELINE]:
            reasons.append("only runs of the candidate: it may be the candidate that breaks them")
        return GateOutcome.LAB_BROKE, reasons
    judged = [one for one in compared if one.verdict is not None]
    worse = [one for one in judged if one.verdict is EndpointVerdict.WORSE]
    if worse:
        return GateOutcome.WORSE, [
            f"{one.name}: {_signed(one.shift)} {one.unit}, shown to be more than the margin of "
            f"{one.margin:g} {one.unit}"
            for one in worse
        ]
    held = [_told(one) for one in of(found, Standing.MORE_OFTEN, Standing.UNTOLD, Standing.PENDING)]
    open_ = [one for one in judged if one.verdict is not EndpointVerdict.NO_WORSE]
    held += [f"{one.name}: {one.note or 'more runs are needed'}" for one in open_]
    if held:
        return GateOutcome.INCONCLUSIVE, held
    return GateOutcome.NO_WORSE, ["every endpoint is shown to be within its margin"]


def _told(one: Violation) -> str:
    return (
        f"{one.finding}: {one.standing}: failed in {one.candidate_failed} of "
        f"{one.candidate_runs} runs of the candidate, {one.baseline_failed} of "
        f"{one.baseline_runs} of the baseline"
    )


def _trades(compared: Sequence[Compared]) -> tuple[str, ...]:
    """Endpoints that got better beside others that got worse; a reader has to weigh them."""
    less = [one for one in compared if one.difference is Difference.LESS]
    more = [one for one in compared if one.difference is Difference.MORE]
    if not less or not more:
        return ()

    def words(several: Sequence[Compared]) -> str:
        return ", ".join(f"{one.name} {_signed(one.shift)} {one.unit}" for one in several)

    return (f"less: {words(less)}; more: {words(more)}",)


def _signed(value: float | None) -> str:
    return "?" if value is None else f"{value:+g}"
