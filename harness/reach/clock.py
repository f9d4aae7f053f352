"""What a machine's clocks read, on the run's clock, and how far that can be wrong.

A reading taken on the machine between two readings here lies between them: the middle is
the estimate, half the distance its error (RFC 5905, section 8, uses the same bound). Of
several attempts the one with the shortest round trip is kept.

Neighbours: ``machine`` feeds it; ``vm`` maps QEMU's timestamps by it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.errors import DeadlineExceeded, ReachError

ClockName = Literal["monotonic", "realtime"]

_DRIFT_PPM = 500
"""The most that adjtimex() lets a kernel slew a clock; what two clocks part by, at most."""
_KEPT = 3600


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time on the run's clock: the true time lies in t_ns +- err_ns."""

    t_ns: int
    err_ns: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine's clocks read these at some time within ``here_ns`` +- ``err_ns``."""

    here_ns: int
    err_ns: int
    monotonic_ns: int
    realtime_ns: int


class MachineClock:
    """Maps a machine's clocks to the run's clock, by readings taken all along the run.

    ``read`` takes one reading. ``local`` says that the machine's CLOCK_MONOTONIC is the
    run's clock itself, and that readings are free.
    """

    def __init__(self, read: Callable[[], Reading], *, local: bool = False) -> None:
        self._read = read
        self._local = local
        self._readings: deque[Reading] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, interval_s: float = 2.0) -> None:
        """Take a reading now and, unless local, one every ``interval_s`` until ``stop``."""
        self.sample()
        if not self._local:
            self._thread = threading.Thread(
                target=self._keep_reading, args=(interval_s,), name="clock", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def sample(self, attempts: int = 5) -> Reading:
        """The best of several readings, kept for ``stamp``."""
        best = min((self._read() for _ in range(attempts)), key=lambda one: one.err_ns)
        with self._lock:
            self._readings.append(best)
        return best

    def stamp(self, clock: ClockName, value_ns: int) -> Stamp:
        """When the machine's ``clock`` read ``value_ns``.

        The offset is that of the nearest reading; to its error is added how far the offset
        moved between the readings on either side, or may have moved since the last one.
        """
        if self._local:
            if clock == "monotonic":
                return Stamp(value_ns, 0)
            now = self.sample(attempts=1)
            return Stamp(value_ns + now.here_ns - now.realtime_ns, now.err_ns)
        with self._lock:
            readings = list(self._readings)
        if not readings:
            raise ReachError("a machine's clock was never read")

        def at(reading: Reading) -> int:
            return reading.monotonic_ns if clock == "monotonic" else reading.realtime_ns

        def offset(reading: Reading) -> int:
            return reading.here_ns - at(reading)

        nearest = min(readings, key=lambda one: abs(at(one) - value_ns))
        distance = abs(at(nearest) - value_ns)
        drift = distance * _DRIFT_PPM // 1_000_000
        beyond = [one for one in readings if (at(one) > value_ns) != (at(nearest) > value_ns)]
        if beyond:
            other = min(beyond, key=lambda one: abs(at(one) - value_ns))
            drift = max(drift, abs(offset(other) - offset(nearest)))
        return Stamp(value_ns + offset(nearest), nearest.err_ns + drift)

    def _keep_reading(self, interval_s: float) -> None:
        while not self._stop.wait(interval_s):
            try:
                self.sample()
            except (ReachError, DeadlineExceeded):
                return  # the connection is lost; those who need it are told so


def read_here() -> Reading:
    """A reading of this machine's own clocks."""
    before = time.monotonic_ns()
    realtime = time.time_ns()
    after = time.monotonic_ns()
    middle = (before + after) // 2
    return Reading(middle, (after - before + 1) // 2, middle, realtime)
