"""What a gate does next, from the runs it has: another run, or its decision. Pure.

The builds take turns in blocks of A B B A, so that a machine that drifts is as kind to one as to
the other. A run whose figures do not count is made up for before the next look. Between looks
nothing is claimed, with one exception: a finding that only the candidate shows, and shows again.

There is no state besides the list of runs, so a gate that was interrupted goes on from its
record.

Neighbours: ``looks`` has the looks, ``decide`` the decision; whoever runs labs asks ``advance``
after each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.decide import Decision, GateOutcome, Terms, decide
from harness.compare.endpoints import EndpointVerdict
from harness.compare.invariants import Standing, of, violations
from harness.compare.seen import Seen, Side, good

_BLOCK = (Side.BASELINE, Side.CANDIDATE, Side.CANDIDATE, Side.BASELINE)


@dataclass(frozen=True, slots=True)
class NextRun:
    """A run to make now; ``number`` is its place among all runs of the gate."""

    number: int
    side: Side
    confirming: bool
    why: str


def advance(terms: Terms, runs: Sequence[Seen], *, minutes: float = 0.0) -> NextRun | Decision:
    """The next run, or the decision. ``minutes`` are those spent so far."""
    regular = [run for run in runs if not run.confirming]
    counts = {side: len(good(regular, side)) for side in Side}
    look = next((one for one in terms.looks if set(counts.values()) == {one.runs}), None)
    if sum(bool(run.trouble) for run in runs) > terms.trouble_allowed:
        return decide(terms, runs, look, "too many runs did not count")
    found = violations(runs)
    if of(found, Standing.CONFIRMED):
        return decide(terms, runs, look, "a finding was confirmed")
    spent = terms.minutes is not None and minutes >= terms.minutes
    if look is not None:
        last = look is terms.looks[-1]
        decision = decide(terms, runs, look, "the budget of runs is spent" if last else "decided")
        pending = of(found, Standing.PENDING)
        if decision.outcome is GateOutcome.WORSE:
            return decision
        if pending and not spent and (last or _within_margins(decision)):
            return NextRun(
                len(runs) + 1, Side.CANDIDATE, True, f"to see again: {pending[0].finding}"
            )
        if last or decision.outcome is not GateOutcome.INCONCLUSIVE:
            return decision
    if spent:
        return decide(terms, runs, look, "the minutes are spent")
    upto = next(one.runs for one in terms.looks if one.runs > min(counts.values()))
    side = _BLOCK[len(regular) % len(_BLOCK)]
    if counts[side] == upto:
        side = Side.CANDIDATE if side is Side.BASELINE else Side.BASELINE
    why = f"{counts[side] + 1} of {upto} until the next look"
    return NextRun(len(runs) + 1, side, False, why)


def _within_margins(decision: Decision) -> bool:
    return all(one.verdict in (None, EndpointVerdict.NO_WORSE) for one in decision.endpoints)
