"""Packet reordering (RFC 4737)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.trace import Bools, Ints, Matched


@dataclass(frozen=True, slots=True, eq=False)
class Reordering:
    """Reordered packets among the first copies received, in the order of arrival.

    For each reordered packet, in that order: ``seq``; ``extents``, how many arrivals before
    it the earliest packet with a larger number came (reordering extent); ``degrees``, the
    largest n for which it is n-reordered: that many packets right before it all have larger
    numbers. ``free_runs`` are the lengths of the runs of in-order packets between reordered
    ones (reordering-free runs), the one at the end included, empty ones left out.
    """

    received: int
    reordered: int
    seq: Ints
    extents: Ints
    degrees: Ints
    free_runs: Ints

    @property
    def ratio(self) -> float | None:
        """Reordered of distinct received; None when nothing was received."""
        return self.reordered / self.received if self.received else None

    def n_reordered(self, n: int) -> int:
        """Packets that are n-reordered; n = 3 is where TCP takes them for lost."""
        return int(np.count_nonzero(self.degrees >= n))


def reordering(matched: Matched) -> Reordering:
    """Reordering of a stream; linear in its packets but for a binary search per reordered one."""
    order = matched.index[matched.first]
    highest = np.maximum.accumulate(order) if order.size else order
    # s < NextExp, where NextExp is 1 + the highest number in order so far (RFC 4737, section 3)
    reordered = order < highest
    at = np.flatnonzero(reordered)
    # The running maximum first exceeds s where the earliest packet with a larger number came.
    earliest = np.searchsorted(highest, order[at], side="right")
    return Reordering(
        received=int(order.size),
        reordered=int(at.size),
        seq=matched.seq[order[at]],
        extents=at - earliest,
        degrees=_degrees(order, reordered),
        free_runs=_free_runs(reordered),
    )


def _degrees(order: Ints, reordered: Bools) -> Ints:
    """For each reordered packet, how many right before it have larger numbers.

    A stack of the places that can still be the nearest smaller one keeps this linear. Where
    all numbers before a place are smaller than all from it on, the stack starts anew; a
    packet between two such places was not overtaken and overtook none, and is left out.
    """
    if not reordered.any():
        return np.empty(0, dtype=np.int64)
    lowest = np.minimum.accumulate(order[::-1])[::-1]
    begins = np.concatenate(([True], np.maximum.accumulate(order)[:-1] < lowest[1:]))
    mixed = np.flatnonzero(~(begins & np.append(begins[1:], True)))
    degrees: list[int] = []
    stack: list[tuple[int, int]] = []
    rows = zip(
        mixed.tolist(), order[mixed].tolist(), reordered[mixed].tolist(), begins[mixed].tolist(),
        strict=True,
    )  # fmt: skip
    for place, number, late, anew in rows:
        if anew:
            stack = [(place - 1, -1)]
        while stack[-1][1] > number:
            stack.pop()
        if late:
            degrees.append(place - 1 - stack[-1][0])
        stack.append((place, number))
    return np.array(degrees, dtype=np.int64)


def _free_runs(reordered: Bools) -> Ints:
    edges = np.concatenate(([-1], np.flatnonzero(reordered), [reordered.size]))
    runs = np.diff(edges) - 1
    return runs[runs > 0]
