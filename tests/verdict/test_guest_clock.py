"""A guest's stamps on the run's clock: the truth always lies within the stated error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.observe import GuestClock
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

    mapped, err = clock.to_run(np.array([guest_at[number] for number in true], dtype=np.int64))

    for number, told in zip(true, mapped.tolist(), strict=True):
        # The stamp was taken when the guest next ran: at the beginning of that tick at the
        # latest, and not before the tick in which it stopped.
        same = [n for n in range(len(running) + 1) if guest_at[n] == guest_at[number]]
        assert min(same) * tick - err <= told <= max(same) * tick + err


def test_a_guest_that_was_not_stopped_has_only_the_errors_of_the_readings() -> None:
    clock = clock_map("g1", [reading(1000, 0, 10), reading(3000, 2000, 10)])

    mapped, err = clock.to_run(np.array([0, 500, 2000], dtype=np.int64))

    assert mapped.tolist() == [1000, 1500, 3000]
    assert err <= 12


def test_the_error_is_as_wide_as_the_stop() -> None:
    clock = clock_map("g1", [reading(0, 0), reading(10_000, 4_000)])

    mapped, err = clock.to_run(np.array([2000], dtype=np.int64))

    assert mapped.tolist() == [5000]
    assert 3000 <= err <= 3002


def test_a_clock_that_was_never_read_or_ran_backwards_is_refused() -> None:
    with pytest.raises(RecordError, match="g1's clock was never read"):
        clock_map("g1", [reading(0, 0, name="g2")])
    with pytest.raises(RecordError, match="g1's clock ran backwards"):
        clock_map("g1", [reading(0, 100), reading(10, 50)])
    with pytest.raises(RecordError, match="ran faster than time"):
        clock_map("g1", [reading(0, 0), reading(10, 1000)]).to_run(np.array([500]))
