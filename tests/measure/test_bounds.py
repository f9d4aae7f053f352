"""Interruption and delay variation with errors: the true figure is always within."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.measure import TimeRange, Trace, delays, gaps, match

MS = 1_000_000


def matched(arrivals: dict[int, float], *, sent: int = 20, err: float = 0) -> object:
    """Sends a millisecond apart; which packet arrived when (ms)."""
    seq = np.arange(sent)
    times = np.array([int(at * MS) for at in arrivals.values()], dtype=np.int64)
    errors = np.full(times.size, int(err * MS), dtype=np.int64)
    came = Trace(np.array(list(arrivals), dtype=np.int64), times, errors)
    return match(Trace(seq, seq * MS), came, tmax_ns=1000 * MS, clock_err_ns=int(err * MS))


def interruption(arrivals: dict[int, float], **more: float) -> TimeRange | None:
    return gaps(matched(arrivals, **more), rate=1000.0).longest()  # type: ignore[arg-type]


def on_time(*lost: int, sent: int = 20) -> dict[int, float]:
    return {number: number + 0.5 for number in range(sent) if number not in lost}


def test_without_errors_the_longest_gap_less_a_period_is_exact() -> None:
    assert interruption(on_time(7, 8, 9)) == TimeRange(3 * MS, 3 * MS)
    assert interruption(on_time()) == TimeRange(0, 0)


def test_an_error_of_the_clock_widens_it_on_both_sides() -> None:
    assert interruption(on_time(7, 8, 9), err=0.1) == TimeRange(2_800_000, 3_200_000)


def test_lost_first_packets_interrupt_from_the_first_send_to_the_first_arrival() -> None:
    assert interruption(on_time(0, 1, 2)) == TimeRange(2_500_000, 2_500_000)


def test_lost_last_packets_interrupt_without_an_end() -> None:
    found = interruption(on_time(15, 16, 17, 18, 19))

    assert found == TimeRange(3_500_000, None)


def test_without_arrivals_there_is_nothing_to_tell() -> None:
    assert interruption({}) is None
    none = matched({})
    assert delays(none).variation(0.999) is None  # type: ignore[arg-type]


def test_one_delay_has_no_variation() -> None:
    assert delays(matched({3: 3.5})).variation(1.0) is None  # type: ignore[arg-type]


def test_the_part_of_a_gap_that_lies_between_two_borders_counts() -> None:
    found = gaps(matched(on_time(7, 8, 9)), rate=1000.0)  # type: ignore[arg-type]
    at = 8 * MS  # the gap goes from 6.5 to 10.5 ms

    assert found.longest_within((at, at), (20 * MS, 20 * MS)) == TimeRange(1_500_000, 1_500_000)
    assert found.longest_within((0, 0), (at, at)) == TimeRange(500_000, 500_000)
    assert found.longest_within((at, at + MS), (20 * MS, 20 * MS)) == TimeRange(500_000, 1_500_000)


def test_where_no_arrival_brackets_a_part_nothing_is_told() -> None:
    found = gaps(matched(on_time()), rate=1000.0)  # type: ignore[arg-type]

    assert found.longest_within((100 * MS, 100 * MS), (200 * MS, 200 * MS)) is None


@given(
    delay=st.lists(st.integers(0, 6 * MS), min_size=2, max_size=30),
    error=st.lists(st.integers(0, 2 * MS), min_size=30, max_size=30),
    shift=st.lists(st.floats(-1, 1), min_size=30, max_size=30),
)
def test_the_true_figures_lie_within_wherever_in_its_error_each_arrival_was(
    delay: list[int], error: list[int], shift: list[float]
) -> None:
    count = len(delay)
    seq = np.arange(count)
    true = seq * MS + np.array(delay, dtype=np.int64)
    errors = np.array(error[:count], dtype=np.int64)
    told = true + (errors * np.array(shift[:count])).astype(np.int64)
    order = np.argsort(told, kind="stable")
    came = Trace(seq[order], told[order], errors[order])
    found = match(Trace(seq, seq * MS), came, tmax_ns=1000 * MS, clock_err_ns=2 * MS)

    longest = gaps(found, rate=1000.0).longest()
    largest = delays(found).variation(1.0)

    assert longest is not None
    assert longest.high_ns is not None
    assert longest.low_ns <= max(0, int(np.diff(np.sort(true)).max()) - MS) <= longest.high_ns
    assert largest is not None
    assert largest.high_ns is not None
    assert largest.low_ns <= max(delay) - min(delay) <= largest.high_ns
