"""A guest's clock on the run's clock, with bounds that hold across a migration.

A guest's CLOCK_MONOTONIC stands still while the guest is stopped, so its distance to the
run's clock never shrinks, except by drift. Each reading bounds that distance; a reading
before a guest time bounds it from below there, one after it from above. Between readings
around a stop the bounds are as far apart as the stop was long; nothing is guessed.

Neighbours: ``harness.traffic.guestlink`` dates link events by it; whoever reads records
on a guest's clock maps them by the run's ``GuestClock`` facts (``from_facts``).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.errors import RecordError
from harness.measure.trace import Ints
from harness.observe import Fact, GuestClock

_DRIFT_PPM = 500
"""The most that a kernel slews a clock; what two clocks part by, at most."""
_NONE = 1 << 62
"""A bound that bounds nothing."""


class GuestClockMap:
    """Readings of one guest's clock, and the mapping that follows from them."""

    def __init__(self) -> None:
        self._readings: list[tuple[int, int, int]] = []
        self._bounds: tuple[Ints, Ints, Ints] | None = None

    @classmethod
    def from_facts(cls, facts: Iterable[Fact], guest: str) -> GuestClockMap:
        """The mapping that a run's record allows."""
        made = cls()
        for fact in facts:
            if isinstance(fact, GuestClock) and fact.guest == guest:
                made.add(fact.guest_ns, fact.t_ns - fact.err_ns, fact.t_ns + fact.err_ns)
        return made

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, guest_ns: int, earliest_ns: int | None, latest_ns: int) -> None:
        """The guest's clock read ``guest_ns`` at a run time from earliest to latest.

        ``earliest_ns`` None: only the latest is known (a line that the guest sent unasked).
        """
        low = -_NONE if earliest_ns is None else earliest_ns - guest_ns
        self._readings.append((guest_ns, low, latest_ns - guest_ns))
        self._bounds = None

    def to_run(self, guest_ns: Ints) -> tuple[Ints, Ints]:
        """Run times and their errors (half-widths, ns) of guest times.

        Before the first reading and after the last one the distance is bounded on one side
        only; the widest bound of all readings serves on the other, as if the guest had not
        been stopped there. Raises RecordError when there is no reading with both bounds.
        """
        floors = [low for _, low, _ in self._readings if low > -_NONE]
        if not floors:
            raise RecordError(
                "the guest's clock was never read, so its times cannot be dated",
                hint="the guest's probe did not answer; see the log of its port",
            )
        at, low_line, high_line = self._lines()
        slope = guest_ns * _DRIFT_PPM // 1_000_000
        before = np.searchsorted(at, guest_ns, side="right") - 1
        after = np.searchsorted(at, guest_ns, side="left")
        last = at.size - 1
        low = np.where(before >= 0, low_line[np.maximum(before, 0)] - slope, -_NONE)
        low = np.where(low > -_NONE // 2, low, min(floors))
        ceiling = max(high for _, _, high in self._readings)
        high = np.where(after <= last, high_line[np.minimum(after, last)] - slope, ceiling)
        low, high = np.minimum(low, high), np.maximum(low, high)
        return guest_ns + (low + high) // 2, (high - low + 1) // 2

    def _lines(self) -> tuple[Ints, Ints, Ints]:
        """Guest times of the readings, and the bounds as lines that fall with the drift."""
        if self._bounds is None:
            rows = np.array(sorted(self._readings), dtype=np.int64)
            at, low, high = rows[:, 0], rows[:, 1], rows[:, 2]
            slope = at * _DRIFT_PPM // 1_000_000
            self._bounds = (
                at,
                np.maximum.accumulate(low + slope),
                np.minimum.accumulate((high + slope)[::-1])[::-1],
            )
        return self._bounds
