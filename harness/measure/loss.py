"""Packet loss (RFC 7680) and its pattern (RFC 3357)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.trace import Ints, Matched


@dataclass(frozen=True, slots=True)
class LossPeriod:
    """Consecutive packets lost (RFC 3357, loss period).

    ``first`` is the index of the first among the packets sent, ``seq`` its number;
    ``from_ns`` and ``to_ns`` are the send times of the first and the last of them.
    """

    first: int
    seq: int
    length: int
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """Packets without an intact copy within Tmax, of all sent. Duplicates do not offset them.

    ``late`` of them came after Tmax. ``distances`` are the loss distances: for each lost
    packet but the first, its index minus that of the lost one before (1: consecutive).
    ``between`` are the inter-loss-period lengths: the index of a period's first packet minus
    that of the last packet of the period before.
    """

    sent: int
    lost: int
    late: int
    periods: tuple[LossPeriod, ...]
    distances: Ints
    between: Ints

    @property
    def ratio(self) -> float | None:
        """Lost of sent; None when nothing was sent."""
        return self.lost / self.sent if self.sent else None

    @property
    def longest(self) -> LossPeriod | None:
        """The longest loss period, the earliest of several."""
        return max(self.periods, key=lambda period: period.length, default=None)


def loss(matched: Matched) -> Loss:
    """Loss of a stream; linear in its packets."""
    lost = np.flatnonzero(~matched.received).astype(np.int64)
    distances = np.diff(lost)
    starts = np.flatnonzero(np.concatenate(([True], distances > 1))) if lost.size else lost
    lengths = np.diff(np.append(starts, lost.size))
    periods = tuple(
        LossPeriod(
            first=first,
            seq=int(matched.seq[first]),
            length=length,
            from_ns=int(matched.sent_ns[first]),
            to_ns=int(matched.sent_ns[first + length - 1]),
        )
        for first, length in zip(lost[starts].tolist(), lengths.tolist(), strict=True)
    )
    return Loss(
        sent=matched.sent,
        lost=int(lost.size),
        late=matched.late_packets,
        periods=periods,
        distances=distances,
        between=distances[distances > 1],
    )
