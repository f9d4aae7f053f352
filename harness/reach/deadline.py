"""One deadline, made once and passed down through every wait of an operation."""

from __future__ import annotations

import time

from harness.errors import DeadlineExceeded


class Deadline:
    """A moment on CLOCK_MONOTONIC. ``seconds`` is kept for the message of a time-out."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def __repr__(self) -> str:
        return f"Deadline({self.left:.3f} of {self.seconds:g} s left)"

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self._end

    def at_most(self, seconds: float) -> Deadline:
        """A deadline ``seconds`` from now, or this one where that is earlier."""
        return Deadline(min(seconds, self.left))

    def error(self, what: str, last_seen: str = "") -> DeadlineExceeded:
        """The error for a wait for ``what`` that ran out of time."""
        seen = f"; last seen: {last_seen}" if last_seen else ""
        return DeadlineExceeded(f"{what}: not within {self.seconds:g} s{seen}")

    def raise_if_expired(self, what: str, last_seen: str = "") -> None:
        """Raise DeadlineExceeded, saying what was waited for and what was last seen."""
        if self.expired:
            raise self.error(what, last_seen)
