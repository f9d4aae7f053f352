"""A guest's stamps on the run's clock: the truth always lies within the stated error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.observe import GuestClock, QmpEvent
from harness.verdict.guest_clock import clock_map


def reading(t: int, guest: int, err: int = 0, name: str = "g1") -> GuestClock:
    return GuestClock(t_ns=t, err_ns=err, guest=name, guest_ns=guest)


@given(
    running=st.lists(st.booleans(), min_size=20, max_size=60),
    read_every=st.integers(2, 9),
    error=st.integers(0, 3),
    offsets=st.lists(st.integers(-3, 3), min_size=60, max_size=60),
)
def test_the_true_time_lies_within_the_error_however_the_guest_is_stopped(
    running: list[bool], read_every: int, error: int, offsets: list[int]
) -> None:
    """A guest's clock that counts only the ticks in which the guest runs."""
    tick = 1000
    guest_at = np.concatenate(([0], np.cumsum(np.array(running, dtype=np.int64) * tick)))
    readings = [
        reading(
            number * tick + max(-error, min(error, offsets[number % 60])),
            int(guest_at[number]),
            error,
        )
        for number in range(0, len(running), read_every)
    ]
    last = max(range(0, len(running), read_every))
    clock = clock_map("g1", readings)
    true = [number for number in range(last) if running[number]]

    mapped, errors = clock.to_run(np.array([guest_at[number] for number in true], dtype=np.int64))

    for number, told, err in zip(true, mapped.tolist(), errors.tolist(), strict=True):
        # The stamp was taken when the guest next ran: at the beginning of that tick at the
        # latest, and not before the tick in which it stopped.
        same = [n for n in range(len(running) + 1) if guest_at[n] == guest_at[number]]
        assert min(same) * tick - err <= told <= max(same) * tick + err


def test_a_guest_that_was_not_stopped_has_only_the_errors_of_the_readings() -> None:
    clock = clock_map("g1", [reading(1000, 0, 10), reading(3000, 2000, 10)])

    mapped, err = clock.to_run(np.array([0, 500, 2000], dtype=np.int64))

    assert mapped.tolist() == [1000, 1500, 3000]
    assert err.max() <= 12


def test_the_error_is_as_wide_as_the_stop() -> None:
    clock = clock_map("g1", [reading(0, 0), reading(10_000, 4_000)])

    mapped, err = clock.to_run(np.array([2000], dtype=np.int64))

    assert mapped.tolist() == [5000]
    assert 3000 <= err[0] <= 3002


def event(t: int, name: str, err: int = 0) -> QmpEvent:
    return QmpEvent(t_ns=t, err_ns=err, guest="g1", host="h", name=name, qemu_time_us=0)


@given(
    stopped_at=st.integers(200, 5000),
    stopped_for=st.integers(100, 4000),
    late_stop=st.integers(0, 50),
    early_resume=st.integers(0, 50),
    stamps=st.lists(st.integers(0, 6000), min_size=1, max_size=40),
    error=st.integers(0, 20),
)
def test_a_recorded_stop_narrows_the_error_and_the_truth_stays_within(
    stopped_at: int,
    stopped_for: int,
    late_stop: int,
    early_resume: int,
    stamps: list[int],
    error: int,
) -> None:
    """QEMU says STOP after the clock stood still and RESUME before it goes on."""
    stamps = sorted(stamps)
    resumed = stopped_at + stopped_for
    facts = [
        reading(0, 0, error),
        reading(6000 + stopped_for, 6000, error),
        event(stopped_at + late_stop, "STOP"),
        event(resumed - early_resume, "RESUME"),
    ]

    mapped, errors = clock_map("g1", facts).to_run(np.array(stamps, dtype=np.int64))
    wide = clock_map("g1", facts[:2]).to_run(np.array(stamps, dtype=np.int64))[1]

    assert (errors <= wide).all()
    for stamp, told, err in zip(stamps, mapped.tolist(), errors.tolist(), strict=True):
        true = stamp if stamp <= stopped_at else stamp + stopped_for
        assert told - err <= true <= told + err


def test_far_from_a_recorded_stop_only_the_error_of_a_reading_is_left() -> None:
    facts = [reading(0, 0), reading(10_000, 4_000), event(2000, "STOP"), event(7990, "RESUME")]

    mapped, errors = clock_map("g1", facts).to_run(np.array([1000, 3000], dtype=np.int64))

    assert mapped.tolist() == [1000, 9000]
    assert errors.max() <= 1


def test_a_clock_that_was_never_read_or_ran_backwards_is_refused() -> None:
    with pytest.raises(RecordError, match="g1's clock was never read"):
        clock_map("g1", [reading(0, 0, name="g2")])
    with pytest.raises(RecordError, match="g1's clock ran backwards"):
        clock_map("g1", [reading(0, 100), reading(10, 50)])
    with pytest.raises(RecordError, match="ran faster than time"):
        clock_map("g1", [reading(0, 0), reading(10, 1000)]).to_run(np.array([500]))
