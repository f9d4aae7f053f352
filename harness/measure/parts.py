"""A stream's counts by part of the run: who was sent when, as far as clocks can tell.

The run is cut into parts by borders, each known only up to an interval. A packet belongs to
the part in which it was *sent*; where the intervals of its send and of a border overlap it is
uncertain, and stays on neither side. So every count of a part is a ``Tally``: so many
certainly, and at most so many. Certain counts of all parts and the uncertain ones sum to
the total, which is checked.

What a part means is not known here: ``harness.verdict.phases`` makes the borders.

Neighbours: ``bounds`` does the same for lengths of time; ``trace`` has the packets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import RecordError
from harness.measure.trace import Bools, Ints, Matched

METRICS = ("sent", "lost", "reordered", "duplicates")


@dataclass(frozen=True, slots=True)
class Border:
    """A border between two parts: its true time lies in ``lo_ns``..``hi_ns``."""

    lo_ns: int
    hi_ns: int


@dataclass(frozen=True, slots=True)
class Tally:
    """A count of which only bounds are known: at least ``certain``, at most ``possible``."""

    certain: int
    possible: int

    @property
    def uncertain(self) -> int:
        return self.possible - self.certain

    def __str__(self) -> str:
        return f"{self.certain} to {self.possible}" if self.uncertain else str(self.certain)


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets by what became of them. ``duplicates`` are extra copies."""

    sent: int
    lost: int
    reordered: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class PartCounts:
    """The counts of one part, or of several together."""

    sent: Tally
    lost: Tally
    reordered: Tally
    duplicates: Tally


@dataclass(frozen=True, slots=True, eq=False)
class Parted:
    """The packets of a stream with the first and the last part each may have been sent in.

    ``weights`` maps each of ``METRICS`` to how much each packet sent counts for it.
    """

    parts: int
    earliest: Ints
    latest: Ints
    weights: dict[str, Ints]

    def within(self, parts: Collection[int]) -> tuple[Bools, Bools]:
        """Which packets were certainly, and which possibly, sent in any of these parts."""
        chosen = np.zeros(self.parts + 1, dtype=np.int64)
        chosen[[part + 1 for part in parts]] = 1
        sums = np.cumsum(chosen)
        inside = sums[self.latest + 1] - sums[self.earliest]
        return inside == self.latest - self.earliest + 1, inside > 0

    def counts(self, parts: Collection[int]) -> PartCounts:
        """The counts of one part or of several together."""
        certain, possible = self.within(parts)
        found = {
            name: Tally(int(weight[certain].sum()), int(weight[possible].sum()))
            for name, weight in self.weights.items()
        }
        return PartCounts(**found)

    @property
    def uncertain(self) -> Counts:
        """What may belong to more than one part."""
        unsure = self.earliest != self.latest
        return Counts(**{name: int(weight[unsure].sum()) for name, weight in self.weights.items()})

    def check(self, totals: Counts) -> None:
        """The identity: certain counts of all parts + uncertain = total. RecordError if not."""
        each = [self.counts((part,)) for part in range(self.parts)]
        for name in METRICS:
            certain = sum(getattr(counts, name).certain for counts in each)
            unsure, total = getattr(self.uncertain, name), getattr(totals, name)
            if certain + unsure != total:
                raise RecordError(
                    f"the parts' counts of {name} contradict the total: {certain} certain + "
                    f"{unsure} uncertain instead of {total}"
                )


def split(matched: Matched, borders: Sequence[Border]) -> Parted:
    """Cut a stream at ``borders``, which are in order: n borders make n + 1 parts.

    A packet sent exactly at an exact border is in the part that begins there. Raises
    RecordError when the borders are not in order.
    """
    lows = np.array([border.lo_ns for border in borders], dtype=np.int64)
    highs = np.array([border.hi_ns for border in borders], dtype=np.int64)
    if np.any(lows > highs) or np.any(np.diff(lows) < 0) or np.any(np.diff(highs) < 0):
        raise RecordError("the borders of a stream's parts are not in order")
    # Sent certainly behind a border: from the end of its interval on; possibly: from its begin.
    behind = np.searchsorted(highs, matched.sent_ns - matched.sent_err_ns, side="right")
    reached = np.searchsorted(lows, matched.sent_ns + matched.sent_err_ns, side="right")
    return Parted(
        parts=len(borders) + 1,
        earliest=behind.astype(np.int64),
        latest=reached.astype(np.int64),
        weights=_weights(matched),
    )


def _weights(matched: Matched) -> dict[str, Ints]:
    """What each packet sent counts for each metric."""
    reordered = np.zeros(matched.sent, dtype=np.int64)
    order = matched.index[matched.first]
    if order.size:
        reordered[order[order < np.maximum.accumulate(order)]] = 1
    copies = np.bincount(matched.index, minlength=matched.sent).astype(np.int64)
    return {
        "sent": np.ones(matched.sent, dtype=np.int64),
        "lost": (copies == 0).astype(np.int64),
        "reordered": reordered,
        "duplicates": np.maximum(copies - 1, 0),
    }
