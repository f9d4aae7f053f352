"""The promised error rates, kept on runs whose losses come in bursts; and the power.

Simulated with a fixed seed. A rate is held against what chance may make of the promise: a count
that would come up in one of a thousand simulations at most fails.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from harness.case import Endpoint
from harness.compare import ERROR, Figure, GateOutcome, NextRun, Seen, Terms
from harness.compare.ranks import chance_above
from tests.compare.runs import C, drive

GATES = 500


def bursty(rng: np.random.Generator, more: float = 0.0) -> Callable[[NextRun], Seen]:
    """Runs that lose a few packets, and in three of ten a burst, which interrupts and reorders.

    The candidate's lose and are interrupted by ``more``.
    """

    def made(step: NextRun) -> Seen:
        burst = float(rng.geometric(1 / 40)) if rng.random() < 0.3 else 0.0
        extra = more if step.side is C else 0.0
        values = {
            "in.lost": float(rng.poisson(4)) + burst + extra,
            "in.interruption": round(float(rng.lognormal(3, 0.4)) + burst, 3) + extra,
            "in.reordered": float(rng.poisson(burst / 10)),
        }
        figures = {name: Figure(unit="packets", value=value) for name, value in values.items()}
        return Seen(number=step.number, side=step.side, figures=figures)

    return made


def terms(margin: float, runs: int = 10) -> Terms:
    names = ("lost", "interruption", "reordered")
    return Terms(tuple(Endpoint("in", name, "packets", margin) for name in names), runs=runs)


def count(made: Callable[[], Callable[[NextRun], Seen]], wanted: GateOutcome, on: Terms) -> int:
    return sum(drive(on, made())[0].outcome is wanted for _ in range(GATES))


def at_most(rate: float) -> int:
    return int(stats.binom.ppf(0.999, GATES, rate))


def test_a_build_against_itself_is_called_worse_no_more_often_than_promised() -> None:
    rng = np.random.default_rng(1)

    # A margin of 0 is the hardest: any other makes a false alarm rarer.
    alarms = count(lambda: bursty(rng), GateOutcome.WORSE, terms(0))

    assert alarms <= at_most(ERROR)


def test_a_build_that_is_worse_by_the_margin_is_passed_no_more_often_than_promised() -> None:
    rng = np.random.default_rng(2)

    passed = count(lambda: bursty(rng, more=10.001), GateOutcome.NO_WORSE, terms(10))

    assert passed <= at_most(ERROR)


def test_a_worse_build_is_found_and_the_same_build_passes() -> None:
    rng = np.random.default_rng(3)

    found = count(lambda: bursty(rng, more=80), GateOutcome.WORSE, terms(20))
    passed = count(lambda: bursty(rng), GateOutcome.NO_WORSE, terms(60))

    assert found > 0.9 * GATES
    assert passed > 0.9 * GATES


def test_looking_after_every_run_without_a_rule_would_break_the_promise() -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(GATES):
        one, other = rng.random(20).tolist(), rng.random(20).tolist()
        alarms += any(chance_above(one[:n], other[:n]) <= ERROR for n in range(4, 21))

    assert alarms > at_most(ERROR)
