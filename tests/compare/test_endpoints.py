"""The verdict on an endpoint against its margin, and the corrections for several."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.case import Endpoint
from harness.compare import Compared, Difference, EndpointVerdict, Look
from harness.compare.endpoints import compare, holm
from tests.compare.runs import LOST, B, C, run, runs_of

LOOK = Look(10, 0.016)
ORDER = [EndpointVerdict.NO_WORSE, EndpointVerdict.INCONCLUSIVE, EndpointVerdict.WORSE]


def judged(baseline: Sequence[float], candidate: Sequence[float], margin: float = 5) -> Compared:
    endpoint = Endpoint("inbound", "lost", "packets", margin)
    return compare([endpoint], runs_of(baseline, candidate), LOOK)[0]


def test_holm_is_worked_out_by_hand() -> None:
    # Sorted 0.01 0.02 0.04: times 3, 2, 1 = 0.03 0.04 0.04.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    # A smaller one that is corrected more keeps the later ones from passing it: 0.03, then 0.022
    # is lifted to it.
    assert holm([0.01, 0.011, 0.9]) == pytest.approx([0.03, 0.03, 0.9])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_more_than_the_margin_is_worse() -> None:
    found = judged([1, 2, 3, 4, 5, 6], [21, 22, 23, 24, 25, 26])

    assert found.verdict is EndpointVerdict.WORSE
    assert found.difference is Difference.MORE
    assert found.shift == 20
    # All 36 pairs are won by more than 5: 1 of the 924 orders of 6 + 6.
    assert found.chance_worse == pytest.approx(1 / 924)


def test_a_little_more_within_the_margin_is_no_worse_and_is_told() -> None:
    found = judged([0] * 6, [2] * 6)

    assert (found.verdict, found.difference) == (EndpointVerdict.NO_WORSE, Difference.MORE)


def test_less_is_no_worse_and_told_as_less() -> None:
    found = judged([50, 51, 52, 53, 54, 55], [1, 2, 3, 4, 5, 6])

    assert (found.verdict, found.difference) == (EndpointVerdict.NO_WORSE, Difference.LESS)


def test_a_wide_interval_is_inconclusive_and_not_no_worse() -> None:
    found = judged([0, 10, 20, 30, 40, 50], [1, 11, 21, 31, 41, 51])

    assert (found.verdict, found.difference) == (EndpointVerdict.INCONCLUSIVE, Difference.NONE)


def test_figures_that_are_all_zero_are_no_worse_with_any_margin() -> None:
    for margin in (0, 5):
        found = judged([0] * 6, [0] * 6, margin)
        assert found.verdict is EndpointVerdict.NO_WORSE
        assert (found.shift, found.low, found.high) == (0, 0, 0)
        assert found.difference is Difference.NONE


def test_losses_in_five_of_twenty_runs_are_not_called_no_worse() -> None:
    found = judged([0] * 20, [0] * 15 + [90] * 5)

    # The usual run is as before, and the interval says so; but that all five runs are the
    # candidate's has a chance of 20*19*18*17*16 / (40*39*38*37*36) = 0.024.
    assert (found.low, found.high) == (0, 0)
    assert found.verdict is EndpointVerdict.INCONCLUSIVE
    assert found.note == "5 of 20 runs beyond all of the baseline's and the margin"


def test_one_bad_run_of_ten_on_either_side_changes_nothing() -> None:
    assert judged([0] * 10, [0] * 9 + [90]).verdict is EndpointVerdict.NO_WORSE
    assert judged([0] * 9 + [90], [0] * 10).verdict is EndpointVerdict.NO_WORSE


def test_what_chance_may_do_to_one_of_many_endpoints_is_not_called_worse() -> None:
    # 5 + 5 that are all won: 1/252 = 0.004; of one endpoint rare enough, not of ten.
    few = [run(n, B, inbound_lost=n) for n in range(1, 6)]
    few += [run(n, C, inbound_lost=n + 90) for n in range(6, 11)]
    quiet = [Endpoint("inbound", f"m{n}", "packets", 5) for n in range(9)]

    alone, among = compare([LOST], few, LOOK)[0], compare([LOST, *quiet], few, LOOK)[0]

    assert alone.verdict is EndpointVerdict.WORSE
    assert among.verdict is EndpointVerdict.INCONCLUSIVE
    assert among.note == "above the margin, but not for so many endpoints"


def test_three_against_three_never_claims_anything() -> None:
    for candidate in ([900, 901, 902], [0, 0, 0], [50, 51, 52]):
        found = judged([50, 51, 52], [float(one) for one in candidate])
        assert (found.verdict, found.difference) == (EndpointVerdict.INCONCLUSIVE, Difference.NONE)


def test_between_looks_nothing_is_claimed() -> None:
    found = compare([LOST], runs_of([0] * 9, [900] * 9), None)[0]

    assert (found.verdict, found.difference) == (EndpointVerdict.INCONCLUSIVE, Difference.NONE)
    assert (found.low, found.high, found.chance_worse) == (None, None, None)
    assert found.shift == 900


def test_what_is_not_declared_is_shown_and_not_judged() -> None:
    runs = [run(1, B, inbound_lost=1, inbound_late=7), run(2, C, inbound_lost=1, inbound_late=9)]

    declared, shown = compare([LOST], runs, LOOK)

    assert declared.verdict is not None
    assert (shown.name, shown.verdict, shown.shift, shown.margin) == ("inbound.late", None, 2, None)


SIX = st.lists(st.integers(0, 40), min_size=6, max_size=6)


@given(SIX, SIX)
def test_swapping_the_builds_swaps_what_is_shown(one: list[int], other: list[int]) -> None:
    there, back = judged([*one], [*other], 0), judged([*other], [*one], 0)
    swapped = {Difference.MORE: Difference.LESS, Difference.LESS: Difference.MORE}

    assert back.difference is swapped.get(there.difference, Difference.NONE)
    assert there.shift == -(back.shift or 0)
    assert (there.low, there.high) == (-(back.high or 0), -(back.low or 0))
    # With a margin of 0, worse is what more is.
    assert (there.verdict is EndpointVerdict.WORSE) == (there.difference is Difference.MORE)
    assert (back.verdict is EndpointVerdict.WORSE) == (there.difference is Difference.LESS)


@given(SIX, SIX, st.integers(0, 9), st.data())
def test_more_loss_never_improves_the_verdict(
    baseline: list[int], candidate: list[int], margin: int, data: st.DataObject
) -> None:
    more = [one + data.draw(st.integers(0, 20)) for one in candidate]

    before = judged([*baseline], [*candidate], margin)
    after = judged([*baseline], [*more], margin)

    assert before.verdict is not None
    assert after.verdict is not None
    assert ORDER.index(after.verdict) >= ORDER.index(before.verdict)
