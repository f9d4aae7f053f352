"""Delay variation: PDV (RFC 5481, section 4.2) and IPDV (RFC 3393).

Both are differences of delays, so a constant distance between the sender's and the
receiver's clock falls out. The delays themselves are one-way delays only if the clocks are
one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.trace import Ints, Matched


@dataclass(frozen=True, slots=True)
class DelayVariation:
    """Quantiles in ns. PDV = D(i) - Dmin; IPDV = D(i) - D(i-1), both received.

    None is what cannot be told: PDV without arrivals, IPDV without two packets in sequence.
    """

    packets: int
    pdv_p50_ns: int | None
    pdv_p95_ns: int | None
    pdv_p99_ns: int | None
    pdv_p999_ns: int | None
    pdv_max_ns: int | None
    ipdv_pairs: int
    ipdv_min_ns: int | None
    ipdv_max_ns: int | None
    ipdv_mean_abs_ns: int | None


def one_way_delays(matched: Matched) -> tuple[Ints, Ints]:
    """Index and delay (ns) of each packet's first copy, in the order of sending."""
    index, arrived = matched.index[matched.first], matched.arrived_ns[matched.first]
    order = np.argsort(index, kind="stable")
    index = index[order]
    return index, arrived[order] - matched.sent_ns[index]


def delay_variation(matched: Matched) -> DelayVariation:
    """Delay variation of a stream. A quantile is the smallest value with that share below or
    at it (RFC 2330, section 11.3: the empirical distribution is not interpolated)."""
    index, delays = one_way_delays(matched)
    neighbours = np.diff(index) == 1
    ipdv = np.diff(delays)[neighbours]
    pdv = np.sort(delays) - (delays.min() if delays.size else 0)

    def quantile(share: float) -> int | None:
        return int(np.quantile(pdv, share, method="inverted_cdf")) if pdv.size else None

    return DelayVariation(
        packets=int(delays.size),
        pdv_p50_ns=quantile(0.5),
        pdv_p95_ns=quantile(0.95),
        pdv_p99_ns=quantile(0.99),
        pdv_p999_ns=quantile(0.999),
        pdv_max_ns=quantile(1.0),
        ipdv_pairs=int(ipdv.size),
        ipdv_min_ns=int(ipdv.min()) if ipdv.size else None,
        ipdv_max_ns=int(ipdv.max()) if ipdv.size else None,
        ipdv_mean_abs_ns=round(float(np.abs(ipdv).mean())) if ipdv.size else None,
    )
