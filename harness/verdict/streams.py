"""Judge the counts of a stream against its bounds.

Nothing is told of a stream whose record is missing, cut off or contradicts itself, whose
sender sent nothing or missed its rate, or whose capture dropped packets. A loss that only
ICMP echo saw is not charged to the network without a second witness: a kernel limits the
rate of its replies.

Neighbours: ``harness.measure`` has the definitions; ``evidence`` holds the records.
"""

from __future__ import annotations

from typing import Literal

from harness.case import Bound, Stream
from harness.measure import StreamMetrics
from harness.verdict.evidence import Evidence, MeasuredStream
from harness.verdict.model import Judged, Outcome

Metric = Literal["lost", "reordered", "duplicates"]


def judge_bound(evidence: Evidence, name: str, metric: str, bound: Bound) -> Judged:
    """Whether one count of a stream is within its bound."""
    terms = evidence.bound.traffic[name]
    measured = evidence.streams.get(name)
    if doubt := doubt_about(measured, terms):
        return Judged(Outcome.CANNOT_TELL, doubt)
    if measured is None or measured.metrics is None:  # doubt_about has said so
        return Judged(Outcome.CANNOT_TELL, f"stream {name} has no metrics")
    metrics = measured.metrics
    count = counted(metrics, metric)
    told = f"{count} of {metrics.sent} sent ({100 * count / metrics.sent:.3g}%)"
    if bound.holds(count, metrics.sent):
        return Judged(Outcome.PASSED, told)
    if metric == "lost" and terms.protocol == "icmp-echo" and bound.op in ("<", "<=", "=="):
        witness = _second_witness(evidence, name, terms)
        if not witness:
            return Judged(
                Outcome.CANNOT_TELL,
                f"{told}, but kernels limit the rate of their ICMP replies, and no UDP stream "
                "between the same endpoints lost packets too",
            )
        told += f"; {witness}"
    return Judged(Outcome.FAILED, told)


def counted(metrics: StreamMetrics, metric: str) -> int:
    """The count that an expectation's metric names."""
    return {
        "lost": metrics.lost,
        "reordered": metrics.reordered,
        "duplicates": metrics.extra_copies,
    }[metric]


def doubt_about(measured: MeasuredStream | None, terms: Stream) -> str:
    """Why nothing can be told of a stream; empty when something can."""
    if measured is None or measured.fact is None:
        return "the stream left no record"
    if measured.problem:
        return measured.problem
    fact, metrics = measured.fact, measured.metrics
    if not fact.complete:
        return f"its record is incomplete: {fact.problem or 'it does not say why'}"
    if fact.problem:
        return fact.problem
    if metrics is None:
        return "its records were not reduced to metrics"
    if metrics.sent == 0:
        return "nothing was sent"
    if metrics.arrivals == 0:
        return (
            f"of {metrics.sent} sent nothing arrived: it never flowed, or its capture saw nothing"
        )
    if metrics.strangers:
        return f"{metrics.strangers} packets arrived whose numbers were never sent"
    if metrics.sent != metrics.distinct + metrics.lost:
        return (
            f"the counts contradict each other: sent {metrics.sent}, but distinct received "
            f"{metrics.distinct} + lost {metrics.lost} = {metrics.distinct + metrics.lost}"
        )
    if metrics.arrivals != metrics.distinct + metrics.extra_copies:
        return (
            f"the counts contradict each other: {metrics.arrivals} arrivals, but distinct "
            f"{metrics.distinct} + extra copies {metrics.extra_copies}"
        )
    return _rate_missed(metrics, terms)


def _rate_missed(metrics: StreamMetrics, terms: Stream) -> str:
    wanted = terms.flow.rate
    rate = metrics.send_rate
    if rate is None:
        return f"{metrics.sent} sent, too few to tell whether the sender kept its rate"
    if abs(rate - wanted) <= terms.rate_tolerance * wanted:
        return ""
    return (
        f"the sender missed its rate: {rate:.1f}/s instead of {wanted:g}/s, more than "
        f"{terms.rate_tolerance * 100:g}% off (largest gap between two sends "
        f"{(metrics.largest_send_gap_ns or 0) / 1e6:.1f}ms)"
    )


def _second_witness(evidence: Evidence, name: str, terms: Stream) -> str:
    """A UDP stream between the same endpoints that lost packets too, in words."""
    for other, its in evidence.bound.traffic.items():
        if other == name or its.protocol != "udp":
            continue
        if {its.sender, its.receiver} != {terms.sender, terms.receiver}:
            continue
        measured = evidence.streams.get(other)
        if doubt_about(measured, its) or measured is None or measured.metrics is None:
            continue
        if measured.metrics.lost:
            return f"UDP stream {other} lost {measured.metrics.lost} too"
    return ""
