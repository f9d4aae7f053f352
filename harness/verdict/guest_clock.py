"""A guest's clock on the run's clock, with the error that this has.

The guest's CLOCK_MONOTONIC stops while the guest is stopped and never runs faster than
time. So a guest time g between two readings (g0 at t0, g1 at t1) lies between
``t0 + (g - g0)``, had the guest been stopped after g only, and ``t1 - (g1 - g)``, had it
been stopped before g only: the interval is as wide as the guest was stopped in between,
plus the errors of the readings. Before the first and after the last reading one of the two
bounds is missing, and the nearest reading alone decides.

Where QEMU's STOP and RESUME lie between two readings, they say when the guest was stopped at
least, and most stamps can be told to be from before or from behind that: their interval is
then as wide as the error of one reading.

Neighbours: ``harness.report.streams`` maps the stamps of a guest's packets with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.errors import RecordError
from harness.measure.trace import Bools, Ints
from harness.observe import Fact, GuestClock, QmpEvent

DRIFT = 500e-6
"""How much two clocks may differ in rate: 500 ppm, what NTP may slew a clock at most."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A time in which the guest was stopped: certainly from ``from_ns`` to ``to_ns``, and at
    most from ``earliest_ns`` to ``latest_ns`` (its QEMUs' STOP and RESUME, with their errors)."""

    from_ns: int
    to_ns: int
    earliest_ns: int
    latest_ns: int


@dataclass(frozen=True, slots=True)
class ClockMap:
    """Readings of one guest's clock, in the order of the guest's time, and its stops."""

    guest: str
    guest_ns: Ints
    t_ns: Ints
    err_ns: Ints
    stops: tuple[Stop, ...] = ()

    def to_run(self, stamps: Ints) -> tuple[Ints, Ints]:
        """Guest times on the run's clock, and their errors (half-widths), in ns."""
        if stamps.size == 0:
            return stamps, stamps
        last = self.guest_ns.size - 1
        after = np.searchsorted(self.guest_ns, stamps, side="right")
        left, right = np.maximum(after - 1, 0), np.minimum(after, last)
        since, until = stamps - self.guest_ns[left], self.guest_ns[right] - stamps
        err_left = self.err_ns[left] + (np.abs(since) * DRIFT).astype(np.int64)
        err_right = self.err_ns[right] + (np.abs(until) * DRIFT).astype(np.int64)
        from_left, from_right = self.t_ns[left] + since, self.t_ns[right] - until
        low, high = from_left - err_left, from_right + err_right
        high = np.where(left == right, from_left + err_left, high)
        if np.any(high < low):
            raise RecordError(
                f"{self.guest}'s clock ran faster than time between two readings",
                hint="its stamps cannot be put on the run's clock",
            )
        for stop, at in self._stops_between():
            self._around(
                stop, left == at, (from_left, err_left), (from_right, err_right), low, high
            )
        middle = low + (high - low) // 2
        return middle.astype(np.int64), (high - middle).astype(np.int64)

    def _stops_between(self) -> list[tuple[Stop, int]]:
        """The stops with the reading before each, where a pair of readings has just one."""
        found = []
        for number in range(self.guest_ns.size - 1):
            begin = int(self.t_ns[number] - self.err_ns[number])
            end = int(self.t_ns[number + 1] + self.err_ns[number + 1])
            inside = [one for one in self.stops if one.from_ns > begin and one.to_ns < end]
            touching = [one for one in self.stops if one.to_ns >= begin and one.from_ns <= end]
            if len(inside) == 1 == len(touching):
                found.append((inside[0], number))
        return found

    @staticmethod
    def _around(
        stop: Stop,
        here: Bools,
        from_left: tuple[Ints, Ints],
        from_right: tuple[Ints, Ints],
        low: Ints,
        high: Ints,
    ) -> None:
        """Narrow ``low`` and ``high`` of the stamps ``here``, around the one stop there.

        The clock stood still once, from a moment not after ``stop.from_ns`` to one not before
        ``stop.to_ns``. So a stamp is from before the stop, and counted from the reading on
        the left, or from behind it, and counted from the reading on the right. Often only
        one of the two is possible.
        """
        before = here & (from_left[0] - from_left[1] <= stop.from_ns)
        behind = here & (from_right[0] + from_right[1] >= stop.to_ns)
        only = before & ~behind
        high[only] = np.minimum(from_left[0] + from_left[1], stop.from_ns)[only]
        only = behind & ~before
        low[only] = np.maximum(from_right[0] - from_right[1], stop.to_ns)[only]


def stops_of(guest: str, facts: Iterable[Fact]) -> tuple[Stop, ...]:
    """Each STOP of the guest's QEMUs with the RESUME that followed."""
    events = sorted(
        (
            fact
            for fact in facts
            if isinstance(fact, QmpEvent)
            and fact.guest == guest
            and fact.name in ("STOP", "RESUME")
        ),
        key=lambda fact: fact.t_ns,
    )
    found = []
    for early, late in pairwise(events):
        if (early.name, late.name) == ("STOP", "RESUME"):
            stop = Stop(
                from_ns=early.t_ns + early.err_ns,
                to_ns=late.t_ns - late.err_ns,
                earliest_ns=early.t_ns - early.err_ns,
                latest_ns=late.t_ns + late.err_ns,
            )
            if stop.from_ns < stop.to_ns:
                found.append(stop)
    return tuple(found)


def clock_map(guest: str, facts: Iterable[Fact]) -> ClockMap:
    """The readings of a guest's clock; RecordError if there are none or they run backwards."""
    every = tuple(facts)
    readings = [fact for fact in every if isinstance(fact, GuestClock) and fact.guest == guest]
    if not readings:
        raise RecordError(f"{guest}'s clock was never read, so its stamps have no time")
    readings.sort(key=lambda fact: fact.t_ns)
    clock = ClockMap(
        guest,
        np.array([fact.guest_ns for fact in readings], dtype=np.int64),
        np.array([fact.t_ns for fact in readings], dtype=np.int64),
        np.array([fact.err_ns for fact in readings], dtype=np.int64),
        stops_of(guest, every),
    )
    if np.any(np.diff(clock.guest_ns) < 0):
        raise RecordError(
            f"{guest}'s clock ran backwards", hint="did the guest reboot during the run?"
        )
    return clock
