"""Judge the counts of a stream against its bounds.

Nothing is told of a stream whose record is missing, cut off or contradicts itself, whose
sender sent nothing or missed its rate, or whose capture dropped packets. A loss that only
ICMP echo saw is not charged to the network without a second witness: a kernel limits the
rate of its replies.

A figure by phase, and every length of time, is known up to the errors of the clocks: where
the bound may hold or not, nothing is told.

Neighbours: ``harness.measure`` has the definitions; ``attribution`` cuts the streams by
phase; ``intervals`` compares what is only known up to an interval.
"""

from __future__ import annotations

from harness.case import Bound, Stream, StreamBound, TimeBound
from harness.measure import StreamMetrics, Tally, TimeRange
from harness.measure.bounds import P999
from harness.verdict.attribution import Attribution, attribution_of
from harness.verdict.evidence import Evidence, MeasuredStream
from harness.verdict.intervals import judge_share, judge_tally, judge_time
from harness.verdict.model import Judged, Outcome


def judge_bound(evidence: Evidence, name: str, wanted: StreamBound) -> Judged:
    """Whether one figure of a stream is within its bound."""
    terms = evidence.bound.traffic[name]
    measured = evidence.streams.get(name)
    if doubt := doubt_about(measured, terms):
        return Judged(Outcome.CANNOT_TELL, doubt)
    if measured is None or measured.metrics is None:  # doubt_about has said so
        return Judged(Outcome.CANNOT_TELL, f"stream {name} has no metrics")
    metrics = measured.metrics
    if isinstance(wanted.bound, TimeBound):
        judged = _judge_time(evidence, name, wanted, wanted.bound, metrics)
        charged = wanted.metric == "interruption" and metrics.lost > 0
    elif wanted.scope == "total":
        judged = _judge_total(wanted.metric, wanted.bound, metrics)
        charged = wanted.metric == "lost"
    else:
        judged = _judge_phase(evidence, name, wanted, wanted.bound)
        charged = wanted.metric == "lost"
    limits = wanted.bound.op in ("<", "<=", "==")
    if judged.outcome is not Outcome.FAILED or terms.protocol == "udp" or not (charged and limits):
        return judged
    witness = _second_witness(evidence, name, terms, wanted.scope)
    if witness:
        return Judged(Outcome.FAILED, f"{judged.reason}; {witness}")
    where = "" if wanted.scope in ("total", "max") else f" in {wanted.scope}"
    return Judged(
        Outcome.CANNOT_TELL,
        f"{judged.reason}, but kernels limit the rate of their ICMP replies, and no UDP stream "
        f"between the same endpoints lost packets{where} too",
    )


def _judge_total(metric: str, bound: Bound, metrics: StreamMetrics) -> Judged:
    count = counted(metrics, metric)
    told = f"{count} of {metrics.sent} sent ({100 * count / metrics.sent:.3g}%)"
    if metric == "reordered" and metrics.distinct < 2:
        return Judged(Outcome.CANNOT_TELL, f"{told}, but {metrics.distinct} received have no order")
    outcome = Outcome.PASSED if bound.holds(count, metrics.sent) else Outcome.FAILED
    return Judged(outcome, told)


def _judge_phase(evidence: Evidence, name: str, wanted: StreamBound, bound: Bound) -> Judged:
    """A count of what was sent in one phase, over all migrations."""
    found = attribution_of(evidence, name)
    if isinstance(found, str):
        return Judged(Outcome.CANNOT_TELL, found)
    places = found.phases.named(wanted.scope)
    if not places:
        return _did_not_occur(wanted.scope)
    counts = found.counts(places)
    tally: Tally = getattr(counts, wanted.metric)
    told = f"{tally} of {counts.sent} sent in {where_in(evidence, found, wanted.scope)}"
    if unsure := max(tally.uncertain, counts.sent.uncertain):
        told += f"; {unsure} were sent within the clocks' errors of a border"
    if not counts.sent.certain:
        return Judged(Outcome.CANNOT_TELL, f"{told}: none was certainly sent in it")
    if wanted.metric != "lost" and counts.lost.possible >= counts.sent.certain:
        return Judged(Outcome.CANNOT_TELL, f"{told}, of which none certainly arrived")
    if not bound.share:
        return Judged(judge_tally(bound, tally), told)
    return Judged(judge_share(bound, tally, counts.sent), told)


def _judge_time(
    evidence: Evidence, name: str, wanted: StreamBound, bound: TimeBound, metrics: StreamMetrics
) -> Judged:
    found = attribution_of(evidence, name)
    if isinstance(found, str):
        return Judged(Outcome.CANNOT_TELL, found)
    where, length = "", None
    if wanted.scope not in ("total", "max"):
        places = found.phases.named(wanted.scope)
        if not places:
            return _did_not_occur(wanted.scope)
        where = f" in {where_in(evidence, found, wanted.scope)}"
        if wanted.metric == "interruption":
            if doubt := _not_covered(found, places, metrics):
                return Judged(Outcome.CANNOT_TELL, doubt)
            length = _longest([found.interruption(place) for place in places])
        else:
            length = _longest([found.delay_variation(place) for place in places])
    elif wanted.metric == "interruption":
        length = found.gaps.longest()
    else:
        length = found.delays.variation(1.0 if wanted.scope == "max" else P999)
    if length is None:
        return Judged(Outcome.CANNOT_TELL, f"too few packets arrived{where} to tell a time")
    return Judged(judge_time(bound, length), f"{length}{where}")


def _did_not_occur(scope: str) -> Judged:
    return Judged(Outcome.CANNOT_TELL, f"there was no phase `{scope}` in this run")


def _longest(lengths: list[TimeRange | None]) -> TimeRange | None:
    found = [length for length in lengths if length is not None]
    if not found:
        return None
    highs = [length.high_ns for length in found]
    return TimeRange(
        max(length.low_ns for length in found),
        None if None in highs else max(high for high in highs if high is not None),
    )


def _not_covered(found: Attribution, places: tuple[int, ...], metrics: StreamMetrics) -> str:
    """Whether the stream had not begun, or had ended, while a phase went on."""
    first, last = metrics.first_send_ns, metrics.last_send_ns
    for place in places:
        phase = found.phases.found[place]
        if phase.begin and first is not None and first > phase.begin.lo_ns:
            return f"the stream had not begun when {phase.name} began"
        if phase.end and last is not None and last < phase.end.hi_ns and phase.end.seen:
            return f"the stream had ended before {phase.name} did"
    return ""


def where_in(evidence: Evidence, found: Attribution, scope: str) -> str:
    """A phase with its borders, of each migration."""
    zero = evidence.zero_ns
    spans = []
    for place in found.phases.named(scope):
        phase = found.phases.found[place]
        begin = phase.begin.when(zero) if phase.begin else "the beginning"
        end = phase.end.when(zero) if phase.end else "the end"
        spans.append(f"{begin} to {end}")
        spans += [
            f"{border.event} has no known time"
            for border in (phase.begin, phase.end)
            if border is not None and not border.seen
        ]
    return f"{scope} ({', '.join(spans)})"


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


def _second_witness(evidence: Evidence, name: str, terms: Stream, scope: str) -> str:
    """A UDP stream between the same endpoints that lost packets too, there too, in words."""
    for other, its in evidence.bound.traffic.items():
        if other == name or its.protocol != "udp":
            continue
        if {its.sender, its.receiver} != {terms.sender, terms.receiver}:
            continue
        measured = evidence.streams.get(other)
        if doubt_about(measured, its) or measured is None or measured.metrics is None:
            continue
        lost, where = measured.metrics.lost, ""
        if scope not in ("total", "max"):
            found = attribution_of(evidence, other)
            if isinstance(found, str):
                continue
            lost = found.counts(found.phases.named(scope)).lost.certain
            where = f" in {scope}"
        if lost:
            return f"UDP stream {other} lost {lost}{where} too"
    return ""
