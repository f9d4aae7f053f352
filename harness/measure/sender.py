"""How well the sender kept its schedule: a generator that stalled is not the network's loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.trace import Ints

_SECOND = 1e9


@dataclass(frozen=True, slots=True)
class SenderQuality:
    """The sends of a stream against its nominal rate.

    ``rate`` is packets a second from the first send to the last. ``late`` packets left more
    than one period after the one before plus its period. None: fewer than two sends.
    """

    sent: int
    rate: float | None
    largest_gap_ns: int | None
    largest_gap_at_ns: int | None
    late: int | None

    @property
    def late_share(self) -> float | None:
        """Late of all sends but the first."""
        return self.late / (self.sent - 1) if self.late is not None else None


def sender_quality(sent_ns: Ints, *, rate: float) -> SenderQuality:
    """Quality of the sends at ``sent_ns``; ``largest_gap_at_ns`` is the send before the gap."""
    gaps = np.diff(sent_ns)
    if gaps.size == 0:
        return SenderQuality(int(sent_ns.size), None, None, None, None)
    widest = int(np.argmax(gaps))
    span = int(sent_ns[-1] - sent_ns[0])
    return SenderQuality(
        sent=int(sent_ns.size),
        rate=gaps.size * _SECOND / span if span > 0 else None,
        largest_gap_ns=int(gaps[widest]),
        largest_gap_at_ns=int(sent_ns[widest]),
        late=int(np.count_nonzero(gaps > 2 * _SECOND / rate)),
    )
