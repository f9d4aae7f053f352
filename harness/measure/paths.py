"""Which path each packet of a stream took: through a pair's standby, or through its primary.

The taps of a failover pair's netdevs were captured on, and say which numbers were seen
there. A primary that is a virtual function has no tap; what was received and was not on the
standby's tap went through it.

======================  ==========================================================
path                    a packet
======================  ==========================================================
``standby``             on the standby's tap, and not on the primary's
``primary``             the other way round (without a tap: received, and not on the
                        standby's tap)
``both``                on both: flooded; or an echo whose request and reply took different
                        ones
``neither``             lost, and on neither tap: it did not get to the guest's ports of the
                        host, or never left the guest
``not-standby``         lost, and not on the standby's tap, of a primary without a tap: lost
                        in the primary, or before it
``unknown``             received, and on neither of two taps: the captures contradict that
======================  ==========================================================

Every packet sent has exactly one path. Of an echo both its legs count, the request and the
reply. Nothing here knows whether the captures were whole: where they are not, nobody may ask.

Neighbours: ``trace`` has the packets, ``parts`` the same counts by part; ``harness.verdict``
judges and ``harness.report`` shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError
from harness.measure.bounds import Delays, TimeRange
from harness.measure.parts import METRICS, Counts
from harness.measure.trace import Bools, Ints, Matched

PathName = Literal["standby", "primary", "both", "neither", "not-standby", "unknown"]

PATHS: tuple[PathName, ...] = get_args(PathName)
_CODE = {name: np.int8(code) for code, name in enumerate(PATHS)}
_WRAP = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class LegSeen:
    """The numbers (modulo 2**32) seen of one leg, in any order, any of them more than once.

    ``primary`` None: the primary has no tap.
    """

    standby: Ints
    primary: Ints | None


@dataclass(frozen=True, slots=True)
class PathCounts:
    """The packets of one path. ``delay_variation``: the largest PDV (RFC 5481) of those
    received, above the smallest delay of the whole stream; None when none was."""

    sent: int
    received: int
    lost: int
    reordered: int
    duplicates: int
    delay_variation: TimeRange | None


@dataclass(frozen=True, slots=True, eq=False)
class PathsTaken:
    """The path of each packet sent, as a place in ``PATHS``."""

    code: npt.NDArray[np.int8]

    def on(self, *names: PathName) -> Bools:
        """Which of the packets sent took one of these paths."""
        chosen: Bools = np.isin(self.code, [_CODE[name] for name in names])
        return chosen

    def counts(self, weights: Mapping[str, Ints], delays: Delays) -> dict[PathName, PathCounts]:
        """The counts of each path that occurred; ``weights`` are those of ``parts.Parted``."""
        found = {}
        for name in PATHS:
            mine = self.on(name)
            if not mine.any():
                continue
            sums = {metric: int(weights[metric][mine].sum()) for metric in METRICS}
            found[name] = PathCounts(
                received=sums["sent"] - sums["lost"],
                delay_variation=delays.largest_within(mine, mine),
                **sums,
            )
        return found


def seen_among(seq: Ints, numbers: Ints) -> Bools:
    """Which of the packets sent (``seq``, upwards modulo 2**32) are among ``numbers``.

    Takes n log n steps at worst.
    """
    seen = np.zeros(seq.size, dtype=np.bool_)
    if not seq.size:
        return seen
    base = int(seq[0])
    number = (seq - base) % _WRAP
    wanted = (numbers - base) % _WRAP
    place = np.minimum(np.searchsorted(number, wanted), number.size - 1)
    seen[place[number[place] == wanted]] = True
    return seen


def paths_taken(matched: Matched, legs: Sequence[LegSeen]) -> PathsTaken:
    """The path of each packet of a stream with these legs, in the order in which they are
    gone: one, or of an echo two."""
    received = matched.received
    standby = np.zeros(matched.sent, dtype=np.bool_)
    primary, everywhere = standby.copy(), ~standby
    # A leg has been gone when the packet was received, or when a later leg of it was seen.
    gone = received.copy()
    for leg in reversed(legs):
        on_standby = seen_among(matched.seq, leg.standby)
        if leg.primary is None:
            on_primary = gone & ~on_standby
        else:
            on_primary = seen_among(matched.seq, leg.primary)
        standby |= on_standby
        primary |= on_primary
        everywhere &= on_standby | on_primary
        gone |= on_standby | on_primary
    without_tap = any(leg.primary is None for leg in legs)
    code = np.full(matched.sent, _CODE["not-standby" if without_tap else "neither"], np.int8)
    code[primary] = _CODE["primary"]
    code[standby] = _CODE["standby"]
    code[standby & primary] = _CODE["both"]
    code[received & ~everywhere] = _CODE["unknown"]
    return PathsTaken(code)


def check(counts: Mapping[PathName, PathCounts], totals: Counts) -> None:
    """The identity: the paths' counts sum to the total. RecordError if not."""
    for metric in METRICS:
        found = sum(getattr(one, metric) for one in counts.values())
        total = getattr(totals, metric)
        if found != total:
            raise RecordError(
                f"the paths' counts of {metric} contradict the total: {found} instead of {total}"
            )
