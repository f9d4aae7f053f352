"""Interruption and delay variation with the bounds that the clocks' errors leave.

Interval arithmetic: each arrival's true time lies in an interval, so the longest time
without an arrival, and every quantile of the delay, lie in one too. A figure without error
has ``low_ns`` = ``high_ns``.

* The k-th arrival in the true order of time lies between the k-th smallest lower bound and
  the k-th smallest upper bound, whatever the order was.
* An arrival is never before its own send.

Neighbours: ``interruption`` and ``delay`` have the definitions without errors; ``parts``
has the counts by part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.trace import Bools, Ints, Matched

FOREVER = 1 << 62
"""A time after every other."""
_SECOND = 1e9
P999 = 0.999


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A length of time that lies in ``low_ns``..``high_ns``; ``high_ns`` None: no end known."""

    low_ns: int
    high_ns: int | None

    def __str__(self) -> str:
        low = f"{self.low_ns / 1e6:.1f}ms"
        if self.high_ns is None:
            return f"at least {low}"
        high = f"{self.high_ns / 1e6:.1f}ms"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """Times without an arrival, in order: from an interval ``from_*`` to one ``to_*`` (ns).

    Besides those between two arrivals: from the first send to the first arrival when the
    first packets were lost, and from the last arrival on when the last ones were (which ends
    nobody knows when: not before the last send, and perhaps never).
    """

    from_lo: Ints
    from_hi: Ints
    to_lo: Ints
    to_hi: Ints
    period_ns: int

    def longest(self) -> TimeRange | None:
        """The longest of all, less one period; None without any."""
        return self._longest(
            np.maximum(self.to_lo - self.from_hi, 0), np.maximum(self.to_hi - self.from_lo, 0)
        )

    def longest_within(self, begin: tuple[int, int], end: tuple[int, int]) -> TimeRange | None:
        """The longest share of one that lies between ``begin`` and ``end``, less one period.

        Both are (earliest, latest). None when nothing can have been in between.
        """
        low = np.minimum(self.to_lo, end[0]) - np.maximum(self.from_hi, begin[1])
        high = np.minimum(self.to_hi, end[1]) - np.maximum(self.from_lo, begin[0])
        return self._longest(np.maximum(low, 0), np.maximum(high, 0))

    def _longest(self, low: Ints, high: Ints) -> TimeRange | None:
        if not low.size or not high.max():
            return None
        highest = int(high.max())
        return TimeRange(
            max(int(low.max()) - self.period_ns, 0),
            None if highest >= FOREVER // 2 else max(highest - self.period_ns, 0),
        )


def gaps(matched: Matched, *, rate: float) -> Gaps:
    """The gaps of a stream of ``rate`` packets a second. Takes n log n steps."""
    index = matched.index[matched.first]
    time, error = matched.arrived_ns[matched.first], matched.arrived_err_ns[matched.first]
    sent = matched.sent_ns - matched.sent_err_ns
    lows = np.sort(np.maximum(time - error, np.minimum(sent[index], time + error)))
    highs = np.sort(time + error)
    from_lo, from_hi, to_lo, to_hi = lows[:-1], highs[:-1], lows[1:], highs[1:]
    if index.size and int(index.min()) > 0:
        first, slack = int(matched.sent_ns[0]), int(matched.sent_err_ns[0])
        from_lo, from_hi = _before(from_lo, first - slack), _before(from_hi, first + slack)
        to_lo, to_hi = _before(to_lo, int(lows[0])), _before(to_hi, int(highs[0]))
    if index.size and int(index.max()) < matched.sent - 1:
        last = int(matched.sent_ns[-1] - matched.sent_err_ns[-1])
        from_lo, from_hi = np.append(from_lo, lows[-1]), np.append(from_hi, highs[-1])
        to_lo, to_hi = np.append(to_lo, last), np.append(to_hi, FOREVER)
    return Gaps(from_lo, from_hi, to_lo, to_hi, round(_SECOND / rate))


def _before(times: Ints, first: int) -> Ints:
    return np.concatenate((np.array([first], dtype=np.int64), times))


@dataclass(frozen=True, slots=True, eq=False)
class Delays:
    """Bounds on the delay of each packet received, by its place among those sent (ns)."""

    index: Ints
    low: Ints
    high: Ints

    def variation(self, share: float) -> TimeRange | None:
        """The PDV quantile with that share of the packets at or below it; None of fewer than
        two packets. (RFC 2330, section 11.3: not interpolated.)"""
        if self.index.size < 2:
            return None
        return self._above_least(
            int(np.quantile(self.low, share, method="inverted_cdf")),
            int(np.quantile(self.high, share, method="inverted_cdf")),
        )

    def largest_within(self, certain: Bools, possible: Bools) -> TimeRange | None:
        """The largest PDV of the packets sent in a part; None when none can have been.

        The smallest delay is that of the whole stream. Both masks are over the packets sent.
        """
        surely, perhaps = certain[self.index], possible[self.index]
        if not perhaps.any():
            return None
        low = int(self.low[surely].max()) if surely.any() else int(self.low.min())
        return self._above_least(low, int(self.high[perhaps].max()))

    def _above_least(self, low: int, high: int) -> TimeRange:
        return TimeRange(max(low - int(self.high.min()), 0), max(high - int(self.low.min()), 0))


def delays(matched: Matched) -> Delays:
    """Bounds on the delays of the first copies."""
    index = matched.index[matched.first]
    delay = matched.arrived_ns[matched.first] - matched.sent_ns[index]
    error = matched.arrived_err_ns[matched.first] + matched.sent_err_ns[index]
    exact = not error.any()
    # With errors the delay may come out below 0, which it cannot have been.
    low = delay if exact else np.maximum(delay - error, 0)
    return Delays(index, low, np.maximum(delay + error, low))
