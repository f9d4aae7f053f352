"""Service interruption, as three numbers, because one misleads (RFC 6201, RFC 6412 to 6414).

A guest that stands still while its frames are queued loses nothing and yet is interrupted;
frames lost one by one over a second never make a gap of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.delay import one_way_delays
from harness.measure.trace import Matched

_SECOND = 1e9


@dataclass(frozen=True, slots=True)
class Interruption:
    """How long the service was interrupted, by three definitions (ns).

    ``by_loss_ns``: packets lost over the rate (RFC 6201: packet-loss method).
    ``by_time_ns``: the largest distance between two arrivals that follow each other in time,
    less the sender's period (RFC 6201: timestamp method); ``gap_from_ns`` and ``gap_to_ns`` are
    the two arrivals. ``unbracketed`` packets were lost before the first or after the last
    arrival, where no two arrivals can say how long: then ``by_time_ns`` is a lower bound.
    ``impaired_ns``: from the first to the last packet that was lost, reordered, duplicated or
    above the PDV bound, by send times ``impaired_from_ns`` and ``impaired_to_ns``; 0 with
    ``impaired`` = 0 packets when none was.
    None is what cannot be told: without sends, or with fewer than two arrivals.
    """

    by_loss_ns: int | None
    by_time_ns: int | None
    gap_from_ns: int | None
    gap_to_ns: int | None
    unbracketed: int
    impaired: int
    impaired_ns: int | None
    impaired_from_ns: int | None
    impaired_to_ns: int | None


def interruption(matched: Matched, *, rate: float, pdv_bound_ns: int | None = None) -> Interruption:
    """The three figures of a stream of ``rate`` packets a second.

    Without ``pdv_bound_ns`` delay alone impairs no packet.
    """
    period = _SECOND / rate
    received = matched.received
    hit = ~received
    index, delays = one_way_delays(matched)
    hit[np.flatnonzero(np.bincount(matched.index, minlength=matched.sent) > 1)] = True
    order = matched.index[matched.first]
    if order.size:
        hit[order[order < np.maximum.accumulate(order)]] = True
        if pdv_bound_ns is not None:
            hit[index[delays - delays.min() > pdv_bound_ns]] = True
    impaired = np.flatnonzero(hit)
    begin = int(matched.sent_ns[impaired[0]]) if impaired.size else None
    end = int(matched.sent_ns[impaired[-1]]) if impaired.size else None

    gap_from = gap_to = by_time = None
    times = np.sort(matched.arrived_ns[matched.first])
    if times.size >= 2:
        widest = int(np.argmax(np.diff(times)))
        gap_from, gap_to = int(times[widest]), int(times[widest + 1])
        by_time = max(0, round(gap_to - gap_from - period))
    got = np.flatnonzero(received)
    return Interruption(
        by_loss_ns=round(int(np.count_nonzero(~received)) * period) if matched.sent else None,
        by_time_ns=by_time,
        gap_from_ns=gap_from,
        gap_to_ns=gap_to,
        unbracketed=int(got[0]) + matched.sent - 1 - int(got[-1]) if got.size else matched.sent,
        impaired=int(impaired.size),
        impaired_ns=_length(begin, end) if matched.sent else None,
        impaired_from_ns=begin,
        impaired_to_ns=end,
    )


def _length(begin: int | None, end: int | None) -> int:
    return end - begin if begin is not None and end is not None else 0
