"""Worked examples, and records that contradict themselves."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.measure import GuestClockMap, StreamMetrics, Trace, measure_stream, sender_quality
from harness.observe import GuestClock

MS = 1_000_000


def stream(
    arrived: list[int], *, count: int = 10, delay: int = MS, tmax_ns: int = 1000 * MS
) -> StreamMetrics:
    """``count`` packets at 1,000/s; those in ``arrived``, in that order, after ``delay``."""
    sends = Trace.of(range(count), [k * MS for k in range(count)])
    at = max((k * MS for k in range(count)), default=0) + delay
    arrivals = Trace.of(arrived, [at + i for i in range(len(arrived))])
    return measure_stream(sends, arrivals, rate=1000, tmax_ns=tmax_ns)


def test_a_baseline_has_zeros_everywhere() -> None:
    found = stream(list(range(10)))
    assert (found.lost, found.reordered, found.extra_copies, found.late) == (0, 0, 0, 0)
    assert (found.loss_ratio, found.order.ratio, found.copies.ratio) == (0.0, 0.0, 0.0)
    assert found.interruption.impaired_ns == 0


def test_without_data_nothing_is_zero_but_counts() -> None:
    found = stream([], count=0)
    assert (found.loss_ratio, found.order.ratio, found.copies.ratio) == (None, None, None)
    assert (found.send_rate, found.largest_send_gap_ns, found.sender.late_share) == (None,) * 3
    assert (found.first_send_ns, found.last_arrival_ns, found.delay.pdv_max_ns) == (None,) * 3


def test_nothing_that_arrived_is_total_loss_and_no_order() -> None:
    found = stream([])
    assert (found.lost, found.loss_ratio, found.order.ratio) == (10, 1.0, None)
    assert found.interruption.by_time_ns is None
    assert found.interruption.unbracketed == 10


def test_a_duplicate_does_not_offset_a_loss() -> None:
    found = stream([0, 1, 2, 2, 4, 5, 6, 7, 8, 9])
    assert (found.sent, found.arrivals, found.lost, found.extra_copies) == (10, 10, 1, 1)


def test_a_lost_tail_is_loss() -> None:
    found = stream([0, 1, 2, 3, 4])
    assert found.lost == 5
    assert found.loss.longest is not None
    assert (found.loss.longest.seq, found.loss.longest.length) == (5, 5)


def test_the_example_of_rfc_4737_with_one_packet_overtaken() -> None:
    # section 7: 1 2 3 7 8 9 10 4 5 6 (one-based): 4, 5, 6 are reordered
    found = stream([0, 1, 2, 6, 7, 8, 9, 3, 4, 5])
    assert found.order.seq.tolist() == [3, 4, 5]
    assert found.order.extents.tolist() == [4, 5, 6]
    # all four before 3 are larger; 4 comes after 3, which is smaller
    assert found.order.degrees.tolist() == [4, 0, 0]
    assert found.order.n_reordered(3) == 1


def test_a_packet_after_its_waiting_time_is_lost_and_late() -> None:
    found = stream(list(range(10)), delay=0, tmax_ns=5 * MS + 100)
    assert (found.lost, found.late) == (4, 4)
    assert found.loss.late == 4


def test_a_spike_without_loss_shows_only_where_it_should() -> None:
    sends = Trace.of(range(100), [k * MS for k in range(100)])
    held = [max(k * MS, 60 * MS) if k >= 10 else k * MS for k in range(100)]
    found = measure_stream(
        sends, Trace.of(range(100), held), rate=1000, tmax_ns=1000 * MS, pdv_bound_ns=10 * MS
    )
    assert found.interruption.by_loss_ns == 0
    assert found.interruption.by_time_ns == 50 * MS
    assert found.interruption.impaired_ns == 39 * MS  # from packet 10 to 49


def test_a_stalled_sender_is_seen_as_such() -> None:
    times = np.array([0, 1, 2, 50, 51], dtype=np.int64) * MS
    quality = sender_quality(times, rate=1000)
    assert (quality.largest_gap_ns, quality.largest_gap_at_ns) == (48 * MS, 2 * MS)
    assert (quality.late, quality.late_share) == (1, 0.25)
    assert quality.rate == pytest.approx(4 / 0.051)


def test_sends_out_of_number_are_a_damaged_record() -> None:
    with pytest.raises(RecordError, match="not numbered upwards: 5 is followed by 4"):
        measure_stream(
            Trace.of([5, 4], [0, MS]), Trace.of([], []), rate=1000, tmax_ns=MS
        )  # fmt: skip


def test_an_arrival_before_its_send_is_a_contradiction_beyond_the_clocks_error() -> None:
    sends, arrivals = Trace.of([0], [10 * MS]), Trace.of([0], [9 * MS])
    with pytest.raises(RecordError, match="packet 0 arrived 1000000 ns before it was sent"):
        measure_stream(sends, arrivals, rate=1000, tmax_ns=MS)
    kept = measure_stream(sends, arrivals, rate=1000, tmax_ns=MS, clock_err_ns=MS)
    assert kept.lost == 0


def test_a_long_stream_takes_seconds_at_most() -> None:
    count = 300_000
    numbers = np.arange(count)
    mixed = numbers.reshape(-1, 10)[:, ::-1].reshape(-1)  # every packet but each tenth reordered
    begin = time.process_time()
    found = measure_stream(
        Trace.of(numbers, numbers * MS), Trace.of(mixed, mixed * MS + 20 * MS), rate=1000,
        tmax_ns=1000 * MS,
    )  # fmt: skip
    assert found.reordered == 270_000
    # quadratic code would take hours; the bound is far off on purpose
    assert time.process_time() - begin < 20


class TestGuestClocks:
    """The map of a guest's clock never claims more than its readings allow."""

    @given(
        stops=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 300)), max_size=3),
        readings=st.lists(
            st.tuples(st.integers(0, 500), st.integers(0, 5), st.integers(0, 5)), min_size=1
        ),
        asked=st.lists(st.integers(0, 500), min_size=1),
    )
    def test_the_true_time_lies_within_the_error(
        self, stops: list[tuple[int, int]], readings: list[tuple[int, int, int]], asked: list[int]
    ) -> None:
        def run_time(guest_ms: int) -> int:
            """When the guest's clock first read that: it stood still at each stop."""
            stopped = sum(length for at, length in stops if at < guest_ms)
            return (guest_ms + stopped + 7) * MS

        clock = GuestClockMap()
        for at, before, after in readings:
            clock.add(at * MS, run_time(at) - before * MS, run_time(at) + after * MS)
        first, last = min(r[0] for r in readings), max(r[0] for r in readings)
        inside = [one for one in asked if first <= one <= last]
        times, errors = clock.to_run(np.array(inside, dtype=np.int64) * MS)
        for guest_ms, middle, error in zip(inside, times, errors, strict=True):
            assert middle - error <= run_time(guest_ms) <= middle + error

    def test_between_close_readings_the_error_is_theirs(self) -> None:
        facts = [
            GuestClock(t_ns=t * MS, err_ns=MS // 10, guest="g1", guest_ns=(t - 50) * MS)
            for t in range(100, 200, 10)
        ]
        clock = GuestClockMap.from_facts(facts, "g1")
        times, errors = clock.to_run(np.array([75 * MS], dtype=np.int64))
        assert abs(int(times[0]) - 125 * MS) <= errors[0] <= MS // 5

    def test_across_a_stop_the_error_is_half_of_it(self) -> None:
        clock = GuestClockMap()
        clock.add(100 * MS, 100 * MS, 100 * MS)
        clock.add(110 * MS, 160 * MS, 160 * MS)  # stopped for 50 ms somewhere between
        times, errors = clock.to_run(np.array([105 * MS], dtype=np.int64))
        assert int(times[0]) == pytest.approx(130 * MS, abs=MS)
        assert int(errors[0]) == pytest.approx(25 * MS, abs=MS)

    def test_a_line_sent_unasked_bounds_from_above_only(self) -> None:
        clock = GuestClockMap()
        clock.add(100 * MS, None, 101 * MS)
        with pytest.raises(RecordError, match="never read"):
            clock.to_run(np.array([100 * MS], dtype=np.int64))
        clock.add(90 * MS, 80 * MS, 95 * MS)
        times, errors = clock.to_run(np.array([100 * MS], dtype=np.int64))
        assert int(times[0]) + int(errors[0]) == pytest.approx(101 * MS, abs=MS // 10)

    def test_another_guests_readings_are_not_taken(self) -> None:
        fact = GuestClock(t_ns=5, guest="g2", guest_ns=5)
        assert len(GuestClockMap.from_facts([fact], "g1")) == 0


def test_a_guest_that_was_stopped_has_not_missed_its_rate() -> None:
    own = np.arange(100) * 10_000_000
    stopped = own + np.where(np.arange(100) >= 50, 2_000_000_000, 0)
    sends, seen = Trace(np.arange(100), stopped), Trace(np.arange(100), stopped + 1000)
    missed = measure_stream(sends, seen, rate=100, tmax_ns=10**9)
    kept = measure_stream(
        sends, seen, rate=100, tmax_ns=10**9, own_sends=Trace(np.arange(100), own)
    )
    assert missed.send_rate is not None
    assert missed.send_rate < 50
    assert kept.send_rate == 100
    assert kept.largest_send_gap_ns == 10_000_000
