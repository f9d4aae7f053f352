"""The exact two-sample arithmetic against hand-worked examples and scipy's exact results."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.compare.ranks import (
    Interval,
    chance_above,
    chance_of_share,
    interval,
    least_chance,
    shift,
    wins_needed,
)

FEW = st.lists(st.integers(0, 6), min_size=2, max_size=5)
SOME = st.lists(st.integers(0, 30), min_size=1, max_size=8)
MARGIN = st.integers(0, 4)
LEVEL = st.sampled_from([0.005, 0.0125, 0.025, 0.05])


def test_four_against_four_that_all_win_have_one_order_of_seventy() -> None:
    # 8 runs, 4 of them the candidate's: 8!/(4! 4!) = 70 orders, in one of which it has the top 4.
    assert chance_above([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(1 / 70)
    assert least_chance(4) == pytest.approx(1 / 70)


def test_a_chance_is_worked_out_by_hand() -> None:
    # Baseline 1 3, candidate 2 4. Wins: 2 > 1, 4 > 1, 4 > 3: 3 of 4. The 6 orders of the
    # ranks {1,2,3,4} give the candidate 0, 1, 2, 2, 3, 4 wins: at least 3 in 2 of 6.
    assert chance_above([1, 3], [2, 4]) == pytest.approx(2 / 6)


def test_a_margin_asks_whether_the_wins_are_by_more_than_it() -> None:
    # By more than 2: 4 - 1 = 3 only, so 1 win of 4: at least 1 in 5 of 6 orders.
    assert chance_above([1, 3], [2, 4], 2) == pytest.approx(5 / 6)


def test_the_shift_is_the_median_of_all_differences() -> None:
    # 5-1 5-2 9-1 9-2 -> 4 3 8 7, sorted 3 4 7 8: the median is 5.5.
    assert shift([1, 2], [5, 9]) == 5.5


def test_an_interval_is_worked_out_by_hand() -> None:
    # 4 against 4, level 1/70: only all 16 wins are rare enough, so it reaches from the smallest
    # difference (5 - 4) to the largest (8 - 1).
    assert interval([1, 2, 3, 4], [5, 6, 7, 8], 1 / 70) == Interval(1, 7)
    # Level 2/70: 15 wins are too (one order each has 16 and 15), so one is cut off at each end.
    # Differences: 1, 2 2, 3 3 3, 4 4 4 4, 5 5 5, 6 6, 7.
    assert interval([1, 2, 3, 4], [5, 6, 7, 8], 2 / 70) == Interval(2, 6)


def test_too_few_runs_bound_nothing() -> None:
    assert interval([0, 0, 0], [9, 9, 9], 0.025) == Interval(-math.inf, math.inf)


def test_figures_that_are_all_zero_have_no_shift_and_an_interval_of_zero() -> None:
    assert shift([0] * 6, [0] * 6) == 0
    assert interval([0] * 6, [0] * 6, 0.01) == Interval(0, 0)


def test_without_runs_nothing_is_told() -> None:
    assert chance_above([], [1.0]) == 1
    assert shift([], [1.0]) is None
    assert wins_needed(0, 3, 0.05) is None


@given(st.permutations(range(14)), st.integers(2, 12))
def test_without_ties_the_chance_is_that_of_scipys_mann_whitney(
    order: list[int], baseline: int
) -> None:
    one, other = order[:baseline], order[baseline:]

    theirs = stats.mannwhitneyu(other, one, alternative="greater", method="exact")

    assert chance_above(one, other) == pytest.approx(theirs.pvalue)


@given(st.permutations(range(8)), st.integers(2, 6))
def test_without_ties_the_chance_is_that_of_scipys_permutations(
    order: list[int], baseline: int
) -> None:
    one, other = order[:baseline], order[baseline:]

    def wins(theirs: list[float], ours: list[float]) -> float:
        return sum(float(b > a) for a in theirs for b in ours)

    theirs = stats.permutation_test(
        (one, other), wins, alternative="greater", n_resamples=math.inf, vectorized=False
    )

    assert chance_above(one, other) == pytest.approx(theirs.pvalue)


@given(FEW, FEW)
def test_with_ties_the_chance_is_the_largest_of_all_ways_to_break_them(
    baseline: list[int], candidate: list[int]
) -> None:
    pooled = [(value, "b") for value in baseline] + [(value, "c") for value in candidate]
    largest = 0.0
    # Ties matter only between the builds, so each value may have either build's runs first.
    values = sorted(set(baseline) & set(candidate))
    for first in itertools.product("bc", repeat=len(values)):
        goes_first = dict(zip(values, first, strict=True))
        order = sorted(pooled, key=lambda one: (one[0], one[1] != goes_first.get(one[0])))
        one = [place for place, (_, whose) in enumerate(order) if whose == "b"]
        other = [place for place, (_, whose) in enumerate(order) if whose == "c"]
        theirs = stats.mannwhitneyu(other, one, alternative="greater", method="exact")
        largest = max(largest, theirs.pvalue)

    assert chance_above(baseline, candidate) == pytest.approx(largest)


def test_the_midrank_test_would_reward_a_loss_and_this_one_does_not() -> None:
    baseline, before, after = [0, 1, 1, 3], [2, 2, 2, 2], [3, 2, 2, 2]

    def midranks(candidate: list[int]) -> float:
        result = stats.permutation_test(
            (baseline, candidate),
            lambda b, c: stats.mannwhitneyu(c, b).statistic,
            alternative="greater",
            n_resamples=math.inf,
            vectorized=False,
        )
        return float(result.pvalue)

    assert midranks(before) == pytest.approx(5 / 70)
    assert midranks(after) == pytest.approx(11 / 70)
    assert chance_above(baseline, after) == chance_above(baseline, before)


@given(SOME, SOME, MARGIN, st.data())
def test_one_more_lost_by_the_candidate_never_looks_better(
    baseline: list[int], candidate: list[int], margin: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(candidate) - 1))
    more = list(candidate)
    more[place] += data.draw(st.integers(1, 9))

    assert chance_above(baseline, more, margin) <= chance_above(baseline, candidate, margin)
    for level in (0.01, 0.05, 0.2):
        before, after = interval(baseline, candidate, level), interval(baseline, more, level)
        assert before.low <= after.low
        assert before.high <= after.high


@given(SOME, SOME, LEVEL)
def test_swapping_the_builds_turns_shift_and_interval_around(
    baseline: list[int], candidate: list[int], level: float
) -> None:
    there, back = interval(baseline, candidate, level), interval(candidate, baseline, level)

    assert (there.low, there.high) == (-back.high, -back.low)
    assert shift(baseline, candidate) == -(shift(candidate, baseline) or 0)


@given(SOME, SOME, MARGIN, LEVEL)
def test_the_interval_lies_above_a_margin_exactly_when_the_chance_is_small(
    baseline: list[int], candidate: list[int], margin: int, level: float
) -> None:
    above = interval(baseline, candidate, level).low > margin

    assert above == (chance_above(baseline, candidate, margin) <= level)


@given(st.permutations(range(12)), LEVEL)
def test_the_interval_covers_no_shift_as_often_as_promised(order: list[int], level: float) -> None:
    # Every order of 4 + 4 without ties is as likely as any other when nothing differs.
    missed_low = missed_high = 0
    for chosen in itertools.combinations(range(8), 4):
        other = [order[place] for place in range(8) if place not in chosen]
        within = interval([order[place] for place in chosen], other, level)
        missed_low += within.low > 0
        missed_high += within.high < 0

    assert missed_low / 70 <= level
    assert missed_high == missed_low


@given(st.integers(0, 6), st.integers(0, 6))
def test_the_chance_of_a_share_is_fishers(baseline: int, candidate: int) -> None:
    table = [[candidate, 6 - candidate], [baseline, 6 - baseline]]

    theirs = stats.fisher_exact(table, alternative="greater")

    assert chance_of_share(baseline, 6, candidate, 6) == pytest.approx(theirs.pvalue)
