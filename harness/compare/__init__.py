"""Two builds compared by the judged runs of a case. Pure: nothing here runs, reads or writes.

``Terms`` fixes endpoints, budget and looks before the first run; ``advance`` says which run is
next, or decides; ``seen_run`` takes from a run's result what counts; ``render``, ``markdown``
and ``junit`` show a ``Decision``.

Neighbours: ``harness.case`` has the declaration, ``harness.report`` the results of runs.
"""

from harness.compare.decide import Decision, GateOutcome, Terms, decide
from harness.compare.endpoints import Compared, Difference, EndpointVerdict
from harness.compare.figures import Figure, figures
from harness.compare.invariants import Standing, Violation, violations
from harness.compare.junit import junit
from harness.compare.looks import ERROR, Look, fewest, plan_looks
from harness.compare.record import Chosen, GateRecord, GateTerms, gate_schema
from harness.compare.schedule import NextRun, advance
from harness.compare.seen import Seen, Side, broken_run, measured_bounds, seen_run
from harness.compare.text import markdown, render

__all__ = [
    "ERROR",
    "Chosen",
    "Compared",
    "Decision",
    "Difference",
    "EndpointVerdict",
    "Figure",
    "GateOutcome",
    "GateRecord",
    "GateTerms",
    "Look",
    "NextRun",
    "Seen",
    "Side",
    "Standing",
    "Terms",
    "Violation",
    "advance",
    "broken_run",
    "decide",
    "fewest",
    "figures",
    "gate_schema",
    "junit",
    "markdown",
    "measured_bounds",
    "plan_looks",
    "render",
    "seen_run",
    "violations",
]
