"""Packet duplication (RFC 5560), as raw counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.trace import Matched


@dataclass(frozen=True, slots=True)
class Duplication:
    """Copies within the waiting time: ``arrivals`` = ``distinct`` + ``extra_copies``.

    ``duplicated`` packets have more than one copy; ``most_copies`` is the largest number of
    copies of one packet (0 when nothing arrived).
    """

    sent: int
    arrivals: int
    distinct: int
    extra_copies: int
    duplicated: int
    most_copies: int

    @property
    def ratio(self) -> float | None:
        """Packets duplicated of distinct received; None when nothing arrived."""
        return self.duplicated / self.distinct if self.distinct else None


def duplication(matched: Matched) -> Duplication:
    """Duplication of a stream; linear in its packets."""
    copies = np.bincount(matched.index, minlength=matched.sent)
    distinct = int(np.count_nonzero(matched.first))
    return Duplication(
        sent=matched.sent,
        arrivals=matched.arrivals,
        distinct=distinct,
        extra_copies=matched.arrivals - distinct,
        duplicated=int(np.count_nonzero(copies > 1)),
        most_copies=int(copies.max()) if copies.size else 0,
    )
