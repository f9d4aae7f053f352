"""Runs of a gate made by hand: a figure or two each, and findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.case import Endpoint
from harness.compare import Decision, Figure, NextRun, Seen, Side, Terms, advance
from harness.verdict import Outcome

LOST = Endpoint("inbound", "lost", "packets", 5)
STALL = Endpoint("down", "stall", "ms", 20)
B, C = Side.BASELINE, Side.CANDIDATE


def run(
    number: int, side: Side, *, failed: Sequence[str] = (), trouble: str = "", **values: float
) -> Seen:
    """A run; ``inbound_lost=3`` is a figure, ``failed`` are findings that failed."""
    figures = {name.replace("_", ".", 1): value for name, value in values.items()}
    return Seen(
        number=number,
        side=side,
        trouble=trouble,
        findings={"steps[0]": Outcome.PASSED} | dict.fromkeys(failed, Outcome.FAILED),
        figures={name: Figure(unit="packets", value=value) for name, value in figures.items()},
    )


def runs_of(baseline: Sequence[float], candidate: Sequence[float]) -> list[Seen]:
    """As many runs as there are losses."""
    sides = [(B, lost) for lost in baseline] + [(C, lost) for lost in candidate]
    return [run(n, side, inbound_lost=lost) for n, (side, lost) in enumerate(sides, 1)]


def drive(
    terms: Terms, made: Callable[[NextRun], Seen], *, minutes_each: float = 0.0
) -> tuple[Decision, list[Seen]]:
    """A gate from its first run to its decision; ``made`` is the lab."""
    runs: list[Seen] = []
    while True:
        step = advance(terms, runs, minutes=minutes_each * len(runs))
        if isinstance(step, Decision):
            return step, runs
        runs.append(made(step).model_copy(update={"confirming": step.confirming}))
