"""A bound against a figure that is only known to lie in an interval.

Passed where every value in the interval is within the bound, failed where none is; else
cannot tell.

Neighbours: ``streams`` judges with it; ``harness.measure`` makes the intervals.
"""

from __future__ import annotations

import math

from harness.case import Bound, TimeBound
from harness.measure import Tally, TimeRange
from harness.verdict.model import Outcome


def judge_tally(bound: Bound, tally: Tally) -> Outcome:
    """A count of at least ``certain`` and at most ``possible``."""
    return _between(bound, tally.certain, tally.possible)


def judge_share(bound: Bound, tally: Tally, sent: Tally) -> Outcome:
    """The share of a count in the packets sent (some certainly), both with their bounds.

    Smallest when all that is uncertain was sent here and nothing of it counts, largest the
    other way round; the truth lies within, not always at these ends.
    """
    return _between(bound, tally.certain / sent.possible, tally.possible / sent.certain)


def judge_time(bound: TimeBound, length: TimeRange) -> Outcome:
    """A length of time; one without a known end may be as long as it likes."""
    high = math.inf if length.high_ns is None else length.high_ns
    return _told(bound.holds(length.low_ns), bound.holds(high))


def _between(bound: Bound, low: float, high: float) -> Outcome:
    if bound.op == "==":
        if low == high == bound.value:
            return Outcome.PASSED
        return Outcome.CANNOT_TELL if low <= bound.value <= high else Outcome.FAILED
    return _told(bound.meets(low), bound.meets(high))


def _told(low: bool, high: bool) -> Outcome:
    """Of a comparison that turns at most once, the ends say all."""
    if low and high:
        return Outcome.PASSED
    return Outcome.CANNOT_TELL if low or high else Outcome.FAILED
