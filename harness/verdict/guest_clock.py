"""A guest's clock on the run's clock, with the error that this has.

The guest's CLOCK_MONOTONIC stops while the guest is stopped and never runs faster than
time. So a guest time g between two readings (g0 at t0, g1 at t1) lies between
``t0 + (g - g0)``, had the guest been stopped after g only, and ``t1 - (g1 - g)``, had it
been stopped before g only: the interval is as wide as the guest was stopped in between,
plus the errors of the readings. Before the first and after the last reading one of the two
bounds is missing, and the nearest reading alone decides.

Neighbours: ``harness.report.streams`` maps the stamps of a guest's packets with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.errors import RecordError
from harness.measure.trace import Ints
from harness.observe import Fact, GuestClock

DRIFT = 500e-6
"""How much two clocks may differ in rate: 500 ppm, what NTP may slew a clock at most."""


@dataclass(frozen=True, slots=True)
class ClockMap:
    """Readings of one guest's clock, in the order of the guest's time."""

    guest: str
    guest_ns: Ints
    t_ns: Ints
    err_ns: Ints

    def to_run(self, stamps: Ints) -> tuple[Ints, int]:
        """Guest times on the run's clock, and the largest error among them, in ns."""
        if stamps.size == 0:
            return stamps, 0
        last = self.guest_ns.size - 1
        after = np.searchsorted(self.guest_ns, stamps, side="right")
        left, right = np.maximum(after - 1, 0), np.minimum(after, last)
        since, until = stamps - self.guest_ns[left], self.guest_ns[right] - stamps
        drift_left = (np.abs(since) * DRIFT).astype(np.int64)
        drift_right = (np.abs(until) * DRIFT).astype(np.int64)
        low = self.t_ns[left] + since - self.err_ns[left] - drift_left
        high = self.t_ns[right] - until + self.err_ns[right] + drift_right
        outside = left == right
        low = np.where(outside, self.t_ns[left] + since - self.err_ns[left] - drift_left, low)
        high = np.where(outside, self.t_ns[left] + since + self.err_ns[left] + drift_left, high)
        if np.any(high < low):
            raise RecordError(
                f"{self.guest}'s clock ran faster than time between two readings",
                hint="its stamps cannot be put on the run's clock",
            )
        middle = low + (high - low) // 2
        return middle.astype(np.int64), int(np.max(high - middle))


def clock_map(guest: str, facts: Iterable[Fact]) -> ClockMap:
    """The readings of a guest's clock; RecordError if there are none or they run backwards."""
    readings = [fact for fact in facts if isinstance(fact, GuestClock) and fact.guest == guest]
    if not readings:
        raise RecordError(f"{guest}'s clock was never read, so its stamps have no time")
    readings.sort(key=lambda fact: fact.t_ns)
    clock = ClockMap(
        guest,
        np.array([fact.guest_ns for fact in readings], dtype=np.int64),
        np.array([fact.t_ns for fact in readings], dtype=np.int64),
        np.array([fact.err_ns for fact in readings], dtype=np.int64),
    )
    if np.any(np.diff(clock.guest_ns) < 0):
        raise RecordError(
            f"{guest}'s clock ran backwards", hint="did the guest reboot during the run?"
        )
    return clock
