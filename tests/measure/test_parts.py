"""Parts of a run: nothing is lost between them, nothing is put on one side of a doubt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.measure import Border, Counts, Trace, measure_stream, split
from harness.measure.parts import METRICS, Tally

RATE = 1000.0
MS = 1_000_000


@st.composite
def traces(draw: st.DrawFn) -> tuple[Trace, Trace]:
    """Sends a millisecond apart with errors; arrivals lost, doubled and out of order."""
    count = draw(st.integers(1, 40))
    errors = np.array(draw(st.lists(st.integers(0, 3 * MS), min_size=count, max_size=count)))
    seq = np.arange(count)
    came = draw(st.lists(st.integers(0, count - 1), max_size=60))
    times = [number * MS + draw(st.integers(0, 5)) * MS for number in came]
    return Trace(seq, seq * MS, errors.astype(np.int64)), Trace.of(came, times)


BORDERS = st.lists(st.tuples(st.integers(-5, 45), st.integers(0, 9)), max_size=5).map(
    lambda pairs: [
        Border(int(low) * MS, int(high) * MS)
        for low, high in zip(
            np.maximum.accumulate([low for low, _ in pairs] or [0]),
            np.maximum.accumulate([low + wide for low, wide in pairs] or [0]),
            strict=True,
        )
    ]
)


@given(traces=traces(), borders=BORDERS)
def test_parts_and_what_is_uncertain_sum_to_the_total_of_each_metric(
    traces: tuple[Trace, Trace], borders: list[Border]
) -> None:
    metrics = measure_stream(*traces, rate=RATE, tmax_ns=10 * MS)
    parted = split(metrics.matched, borders)

    parted.check(Counts(metrics.sent, metrics.lost, metrics.reordered, metrics.extra_copies))

    for name in METRICS:
        for part in range(parted.parts):
            tally = getattr(parted.counts((part,)), name)
            assert tally.certain <= tally.possible
    everything = parted.counts(range(parted.parts))
    assert everything.sent == Tally(metrics.sent, metrics.sent)
    assert everything.lost == Tally(metrics.lost, metrics.lost)


@given(traces=traces(), borders=BORDERS, where=st.floats(0, 1), shift=st.floats(-1, 1))
def test_the_truth_lies_within_the_bounds_wherever_in_their_errors_the_times_were(
    traces: tuple[Trace, Trace], borders: list[Border], where: float, shift: float
) -> None:
    sends, arrivals = traces
    metrics = measure_stream(sends, arrivals, rate=RATE, tmax_ns=10 * MS)
    parted = split(metrics.matched, borders)
    true_borders = np.array([one.lo_ns + int((one.hi_ns - one.lo_ns) * where) for one in borders])
    true_sends = sends.t_ns + (sends.errors * shift).astype(np.int64)

    true_part = np.searchsorted(np.maximum.accumulate(true_borders), true_sends, side="right")

    for part in range(parted.parts):
        sent = int(np.count_nonzero(true_part == part))
        tally = parted.counts((part,)).sent
        assert tally.certain <= sent <= tally.possible


def test_a_packet_sent_exactly_at_an_exact_border_is_behind_it() -> None:
    sends = Trace.of([0, 1, 2], [0, 10, 20])
    metrics = measure_stream(sends, sends, rate=1e8, tmax_ns=100)

    parted = split(metrics.matched, [Border(10, 10)])

    assert [parted.counts((part,)).sent for part in (0, 1)] == [Tally(1, 1), Tally(2, 2)]
    assert parted.uncertain == Counts(0, 0, 0, 0)


def test_a_packet_within_the_error_of_a_border_is_on_neither_side() -> None:
    sends = Trace.of([0, 1, 2], [0, 10, 20])
    metrics = measure_stream(sends, Trace.of([0, 2], [0, 20]), rate=1e8, tmax_ns=100)

    parted = split(metrics.matched, [Border(8, 12)])

    assert [parted.counts((part,)).lost for part in (0, 1)] == [Tally(0, 1), Tally(0, 1)]
    assert parted.uncertain == Counts(1, 1, 0, 0)


def test_what_is_uncertain_between_two_parts_is_certain_of_both_together() -> None:
    sends = Trace.of([0, 1, 2], [0, 10, 20])
    metrics = measure_stream(sends, sends, rate=1e8, tmax_ns=100)

    parted = split(metrics.matched, [Border(8, 12), Border(15, 15)])

    assert parted.counts((0, 1)).sent == Tally(2, 2)
    assert parted.counts((0, 2)).sent == Tally(2, 3)


def test_borders_out_of_order_are_refused() -> None:
    sends = Trace.of([0], [0])
    metrics = measure_stream(sends, sends, rate=1.0, tmax_ns=1)

    with pytest.raises(RecordError, match="not in order"):
        split(metrics.matched, [Border(10, 10), Border(5, 5)])


def test_a_total_that_the_parts_do_not_sum_to_is_refused() -> None:
    sends = Trace.of([0, 1], [0, 10])
    metrics = measure_stream(sends, sends, rate=1e8, tmax_ns=1)

    with pytest.raises(RecordError, match="parts' counts of lost contradict the total"):
        split(metrics.matched, []).check(Counts(2, 1, 0, 0))
