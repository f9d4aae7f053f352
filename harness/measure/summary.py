"""All metrics of one stream together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import RecordError
from harness.measure.copies import Duplication, duplication
from harness.measure.delay import DelayVariation, delay_variation
from harness.measure.interruption import Interruption, interruption
from harness.measure.loss import Loss, loss
from harness.measure.order import Reordering, reordering
from harness.measure.sender import SenderQuality, sender_quality
from harness.measure.trace import Matched, Trace, match


@dataclass(frozen=True, slots=True)
class StreamMetrics:
    """Everything that is told of one stream.

    The plain counts are of what the records hold; for a stream of which nothing arrived
    ``reordered`` and ``extra_copies`` are 0 of 0, and the ratios in ``order`` and ``copies``
    are None. Identities: ``sent`` = ``distinct`` + ``lost``; ``arrivals`` = ``distinct`` +
    ``extra_copies``; the loss periods' lengths sum to ``lost``.

    ``arrivals`` are those within Tmax; ``late`` are arrivals after it, ``strangers`` arrivals
    of numbers never sent. ``last_arrival_ns`` is None when nothing arrived. ``matched`` are the
    packets themselves, for figures by part of the run (``parts``).
    """

    sent: int
    distinct: int
    lost: int
    arrivals: int
    extra_copies: int
    reordered: int
    late: int
    strangers: int
    tmax_ns: int
    clock_err_ns: int
    first_send_ns: int | None
    last_send_ns: int | None
    last_arrival_ns: int | None
    loss: Loss
    order: Reordering
    copies: Duplication
    delay: DelayVariation
    interruption: Interruption
    sender: SenderQuality
    matched: Matched

    @property
    def loss_ratio(self) -> float | None:
        """Lost of sent; None when nothing was sent."""
        return self.loss.ratio

    @property
    def send_rate(self) -> float | None:
        """Packets a second that the sender reached; None with fewer than two sends."""
        return self.sender.rate

    @property
    def largest_send_gap_ns(self) -> int | None:
        """The largest distance between two sends; None with fewer than two."""
        return self.sender.largest_gap_ns


def measure_stream(
    sends: Trace,
    arrivals: Trace,
    *,
    rate: float,
    tmax_ns: int,
    clock_err_ns: int = 0,
    pdv_bound_ns: int | None = None,
    own_sends: Trace | None = None,
) -> StreamMetrics:
    """All metrics of a stream of ``rate`` packets a second with waiting time ``tmax_ns``.

    Both traces are on one clock, up to ``clock_err_ns``. ``own_sends`` are the sends on the
    sender's own clock where that is another one: a guest that is stopped for a migration
    cannot send, and has not missed its rate by that. Raises RecordError when the records
    contradict each other (see ``match``) or an identity does not hold.
    """
    matched = match(sends, arrivals, tmax_ns=tmax_ns, clock_err_ns=clock_err_ns)
    losses, copies = loss(matched), duplication(matched)
    metrics = StreamMetrics(
        sent=matched.sent,
        distinct=copies.distinct,
        lost=losses.lost,
        arrivals=copies.arrivals,
        extra_copies=copies.extra_copies,
        reordered=(order := reordering(matched)).reordered,
        late=matched.late,
        strangers=matched.strangers,
        tmax_ns=tmax_ns,
        clock_err_ns=clock_err_ns,
        first_send_ns=int(matched.sent_ns[0]) if matched.sent else None,
        last_send_ns=int(matched.sent_ns[-1]) if matched.sent else None,
        last_arrival_ns=int(np.max(arrivals.t_ns)) if len(arrivals) else None,
        loss=losses,
        order=order,
        copies=copies,
        delay=delay_variation(matched),
        interruption=interruption(matched, rate=rate, pdv_bound_ns=pdv_bound_ns),
        sender=sender_quality(matched.sent_ns if own_sends is None else own_sends.t_ns, rate=rate),
        matched=matched,
    )
    _check_identities(metrics)
    return metrics


def _check_identities(metrics: StreamMetrics) -> None:
    """Counts come from several places above; a slip in one shows here."""
    if (
        metrics.sent != metrics.distinct + metrics.lost
        or metrics.arrivals != metrics.distinct + metrics.extra_copies
        or metrics.lost != sum(period.length for period in metrics.loss.periods)
        or metrics.order.received != metrics.distinct
    ):
        raise RecordError(f"the counts of a stream contradict each other: {metrics}")
