"""The exact two-sample test of Mann and Whitney, and what follows from it. Pure arithmetic.

The statistic counts *wins*: the pairs of a run of each build in which the candidate's figure
is larger (by more than a margin). Without ties its distribution under "no difference" is known
exactly (Mann and Whitney 1947).

Ties are broken against whatever would be claimed: the chance given here is the largest of all
orders in which tied figures could stand. So the promised rate holds exactly for counts too, and
one more packet lost never makes the candidate look better. The usual way, the permutation
distribution of midranks, does not have that property: with it, 2 2 2 2 against 0 1 1 3 has a
chance of 5/70, and 3 2 2 2 against the same has 11/70.

The shift and its interval are of Hodges and Lehmann (1963): the median of all differences, and
those differences at which the test turns. The closed interval covers at least as often as
promised when figures are tied (Randles and Wolfe 1979, section 3.5; Pratt and Gibbons 1981).

Neighbours: ``looks`` says at which levels it is asked; ``endpoints`` draws the conclusions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np


@dataclass(frozen=True, slots=True)
class Interval:
    """Closed, in the figure's unit; infinite where so few runs bound nothing."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@lru_cache(maxsize=256)
def _ways(first: int, second: int) -> tuple[int, ...]:
    """In how many orders of two samples the second wins 0, 1, 2, ... of the pairs.

    The coefficients of Gauss's binomial: times (1 - q^(first + i)), over (1 - q^i), for each i
    of the second sample.
    """
    most = first * second
    ways = [1] + [0] * most
    for i in range(1, second + 1):
        for power in range(most, first + i - 1, -1):
            ways[power] -= ways[power - first - i]
        for power in range(i, most + 1):
            ways[power] += ways[power - i]
    return tuple(ways)


@lru_cache(maxsize=256)
def _tails(first: int, second: int) -> tuple[float, ...]:
    """The chance of at least 0, 1, 2, ... wins when the two samples do not differ."""
    ways, total = _ways(first, second), comb(first + second, second)
    tails, above = [0.0] * len(ways), 0
    for wins in range(len(ways) - 1, -1, -1):
        above += ways[wins]
        tails[wins] = above / total
    return tuple(tails)


def differences(baseline: Sequence[float], candidate: Sequence[float]) -> list[float]:
    """Candidate less baseline, of every pair, in order of size."""
    every = np.subtract.outer(np.asarray(candidate, float), np.asarray(baseline, float))
    found: list[float] = np.sort(every, axis=None).tolist()
    return found


def chance_above(
    baseline: Sequence[float], candidate: Sequence[float], margin: float = 0.0
) -> float:
    """The one-sided chance of so many wins by more than ``margin`` if there is no such shift.

    Small: the candidate's figures are larger by more than the margin. 1 without runs.
    """
    if not baseline or not candidate:
        return 1.0
    wins = sum(one > margin for one in differences(baseline, candidate))
    return _tails(len(baseline), len(candidate))[wins]


def shift(baseline: Sequence[float], candidate: Sequence[float]) -> float | None:
    """Hodges and Lehmann's estimate of the shift: the median of all differences."""
    every = differences(baseline, candidate)
    return float(np.median(every)) if every else None


def interval(baseline: Sequence[float], candidate: Sequence[float], level: float) -> Interval:
    """The shift's exact interval; each end is wrong with a chance of at most ``level``.

    Its lower end is above a margin exactly when ``chance_above`` of that margin is at most
    ``level``; its upper end mirrors that.
    """
    every = differences(baseline, candidate)
    needed = wins_needed(len(baseline), len(candidate), level)
    if needed is None:
        return Interval(-math.inf, math.inf)
    return Interval(every[len(every) - needed], every[needed - 1])


def wins_needed(first: int, second: int, level: float) -> int | None:
    """The least number of wins whose chance is at most ``level``; None: there is none."""
    if not first or not second:
        return None
    tails = _tails(first, second)
    return next((wins for wins, chance in enumerate(tails) if chance <= level), None)


def least_chance(runs: int) -> float:
    """The smallest chance that so many runs of each build can reach: all pairs won."""
    return 1 / comb(2 * runs, runs)


def chance_of_share(
    baseline: int, baseline_runs: int, candidate: int, candidate_runs: int
) -> float:
    """Fisher's exact test: the chance of at least so many of the candidate's runs.

    ``baseline`` and ``candidate`` count the runs that show something; under "no difference"
    they are spread over all runs at random. 1 without runs.
    """
    runs, showing = baseline_runs + candidate_runs, baseline + candidate
    ways = sum(
        comb(candidate_runs, count) * comb(baseline_runs, showing - count)
        for count in range(candidate, min(candidate_runs, showing) + 1)
    )
    return ways / comb(runs, showing)
