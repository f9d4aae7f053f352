"""The mapping of a machine's clocks, against clocks whose truth is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.reach.clock import MachineClock, Reading

SECOND = 1_000_000_000
OFFSET = 77 * SECOND


def clock_of(readings: list[Reading]) -> MachineClock:
    waiting = iter(readings)
    clock = MachineClock(lambda: next(waiting))
    for _ in readings:
        clock.sample(attempts=1)
    return clock


def test_of_several_attempts_the_shortest_round_trip_is_kept() -> None:
    attempts = iter([Reading(100, 50, 10, 0), Reading(200, 3, 110, 0), Reading(300, 9, 210, 0)])
    clock = MachineClock(lambda: next(attempts))
    assert clock.sample(attempts=3).err_ns == 3


def test_the_nearest_reading_counts() -> None:
    clock = clock_of([Reading(1000, 5, 0, 0), Reading(9000, 7, 7990, 0)])
    assert clock.stamp("monotonic", 7990).t_ns == 9000
    assert clock.stamp("monotonic", 1).t_ns == 1001


def test_an_offset_that_moved_between_readings_is_in_the_error() -> None:
    clock = clock_of([Reading(1000, 5, 0, 0), Reading(9000, 7, 7900, 0)])
    assert clock.stamp("monotonic", 3000).err_ns == 5 + 100


@given(
    ppm=st.integers(-400, 400),
    asymmetry=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    at=st.integers(0, 12 * SECOND),
)
def test_the_true_time_lies_within_the_stated_error(
    ppm: int, asymmetry: list[float], at: int
) -> None:
    def remote(here: int) -> int:
        return here + OFFSET + here * ppm // 1_000_000

    half = 400_000  # round trip 0.8 ms, split between the ways in whatever manner
    readings = []
    for number, share in enumerate(asymmetry):
        middle = number * 2 * SECOND
        truth = middle + round((share - 0.5) * 2 * half)
        readings.append(Reading(middle, half, remote(truth), 0))
    stamp = clock_of(readings).stamp("monotonic", remote(at))
    assert abs(stamp.t_ns - at) <= stamp.err_ns + 1
