"""Judge a TCP stream: whether all of it came, how long it stood still, what was sent again.

A stall's length is known up to the errors of the clocks, and up to what the sender does not
tell: a pause of its own is told from 100 ms on only (``moved_ns``), and in total. So each
stall, as far as it is the network's, lies in an interval, and where a bound may hold or not,
nothing is told. The time in which a guest was stopped is nobody's pause: it counts in full.

Nothing is told of a stream whose records are missing, cut off or contradict each other, of
one that never connected or had ended before the migration did, or whose sender missed its rate
without a stall.

Neighbours: ``harness.report.tcp`` makes the stalls of the records; ``phases`` has the borders.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from harness.case import Bound, Stream, TcpBound, TimeBound
from harness.measure import Tally, TimeRange
from harness.measure.bounds import FOREVER
from harness.traffic.tcprecord import STALL_NS, TcpRecord, intact
from harness.verdict.evidence import Evidence, MeasuredTcp, Stall
from harness.verdict.intervals import judge_tally, judge_time
from harness.verdict.model import Judged, Outcome
from harness.verdict.moments import seconds
from harness.verdict.phases import Phase, phases_of

_Span = tuple[int, int]
_ALWAYS = ((-FOREVER, -FOREVER), (FOREVER, FOREVER))


def judge_tcp(evidence: Evidence, name: str, wanted: TcpBound) -> Judged:
    """Whether one figure of a TCP stream is within its bound."""
    terms = evidence.bound.traffic[name]
    measured = evidence.tcp.get(name)
    if doubt := doubt_about_tcp(measured, terms):
        return Judged(Outcome.CANNOT_TELL, doubt)
    if measured is None or measured.sender is None or measured.sink is None:
        return Judged(Outcome.CANNOT_TELL, f"stream {name} has no records")
    if early := _ended_early(evidence, terms, measured):
        return Judged(Outcome.CANNOT_TELL, early)
    if wanted.bound is None:
        return _judge_intact(measured.sender, measured.sink)
    if isinstance(wanted.bound, TimeBound):
        return _judge_stall(evidence, terms, measured, wanted.scope, wanted.bound)
    return _judge_count(evidence, measured, wanted.metric, wanted.bound)


def doubt_about_tcp(measured: MeasuredTcp | None, terms: Stream) -> str:
    """Why nothing can be told of a TCP stream; empty when something can."""
    if measured is None or measured.fact is None:
        return "the stream left no record"
    if measured.problem:
        return measured.problem
    fact, sender, sink = measured.fact, measured.sender, measured.sink
    if not fact.complete:
        return f"its record is incomplete: {fact.problem or 'it does not say why'}"
    if fact.problem:
        return fact.problem
    if sender is None or sink is None:
        return "its records were not read"
    if not sender.totals.connected:
        why = f" ({_errno(sender.totals.broken)})" if sender.totals.broken else ""
        return f"its sender never connected{why}"
    if sender.totals.octets == 0:
        return "nothing was sent"
    if sink.totals.octets == 0:
        return f"of {sender.totals.octets} octets sent nothing arrived: it never flowed"
    total = terms.tcp.total if terms.tcp else None
    if total is not None and sender.totals.octets < total and not _broken(sender, sink):
        return (
            f"its sender was stopped when it had sent {sender.totals.octets} of {total} octets, "
            "long after its time"
        )
    return _rate_missed(measured, sender, terms.rate_tolerance)


def _rate_missed(measured: MeasuredTcp, sender: TcpRecord, tolerance: float) -> str:
    """Whether it sent less than it was to although its socket would have taken more."""
    if measured.fact is None:
        return ""
    took = sender.totals.octets * 8e9 / measured.fact.rate + sender.totals.moved_ns
    if measured.unexplained_ns <= tolerance * took:
        return ""
    return (
        f"its sender missed its rate without stalls: it stayed {_s(measured.unexplained_ns)} of "
        f"{_s(took)} behind, more than {tolerance * 100:g}%"
    )


def _broken(sender: TcpRecord, sink: TcpRecord) -> bool:
    return bool(sender.totals.broken or sink.totals.broken)


def _ended_early(evidence: Evidence, terms: Stream, measured: MeasuredTcp) -> str:
    """A stream that had sent all before the migration was over says nothing of it."""
    total = terms.tcp.total if terms.tcp else None
    if total is None or measured.sender is None or measured.sender.totals.octets < total:
        return ""
    found = phases_of(evidence, (terms.sender, terms.receiver)).found
    last = found[-1].begin if found else None
    if last is None or not last.seen or measured.ended_ns >= last.hi_ns:
        return ""
    return (
        f"it had sent all its {total} octets at {seconds(measured.ended_ns, evidence.zero_ns)}, "
        f"before {last.event} ({last.when(evidence.zero_ns)}): let it go on for longer"
    )


# -- intact --------------------------------------------------------------------------------


def _judge_intact(sender: TcpRecord, sink: TcpRecord) -> Judged:
    sent, got = sender.totals, sink.totals
    told = f"{got.octets} of {sent.octets} octets came"
    if intact(sender, sink):
        return Judged(Outcome.PASSED, f"{told}, each in its place, to the end")
    faults = []
    if got.corrupt:
        faults.append(f"{got.corrupt} wrong, the first at octet {got.first_corrupt}")
    if not got.whole:
        faults.append("the receiver did not see the end")
    for who, totals in (("sender", sent), ("receiver", got)):
        if totals.broken:
            faults.append(f"the {who}'s connection broke: {_errno(totals.broken)}")
    if sent.unacknowledged:
        faults.append(f"{sent.unacknowledged} octets had no ACK when the sender ended")
    return Judged(Outcome.FAILED, ", ".join([told, *faults]))


def _errno(number: int) -> str:
    return errno.errorcode.get(number, f"errno {number}")


# -- stalls --------------------------------------------------------------------------------


def length(stall: Stall, begin: _Span = _ALWAYS[0], end: _Span = _ALWAYS[1]) -> TimeRange:
    """How long a stall was, or that part of it between ``begin`` and ``end``, each (earliest,
    latest), as far as it is not a pause of the sender."""
    low = min(stall.to_lo, end[0]) - max(stall.from_hi, begin[1])
    if (begin, end) == _ALWAYS:
        low = max(low, stall.least_ns)
    stopped = sum(max(0, min(early, end[0]) - max(late, begin[1])) for late, early in stall.stops)
    low = max(0, low - stall.own_ns, stopped)
    high = max(0, min(stall.to_hi, end[1]) - max(stall.from_lo, begin[0]))
    if stall.most_ns is not None:
        high = min(high, stall.most_ns)
    return TimeRange(low, None if high >= FOREVER // 2 else max(high, low))


def longest(stalls: Iterable[Stall], begin: _Span, end: _Span) -> TimeRange:
    """The longest of the stalls, in a part of the run; up to 100 ms when there is none."""
    found = [length(stall, begin, end) for stall in stalls]
    highs = [one.high_ns for one in found]
    if None in highs:
        return TimeRange(max(one.low_ns for one in found), None)
    unseen = max(0, min(STALL_NS, end[1] - begin[0]))
    return TimeRange(
        max((one.low_ns for one in found), default=0),
        max([unseen, *(high for high in highs if high is not None)]),
    )


def count(stalls: Iterable[Stall]) -> Tally:
    """How many stalls are certainly, and how many perhaps, longer than ``STALL_NS``."""
    found = [length(stall) for stall in stalls]
    return Tally(
        sum(one.low_ns > STALL_NS for one in found),
        sum(one.high_ns is None or one.high_ns > STALL_NS for one in found),
    )


def span(phase: Phase) -> tuple[_Span, _Span]:
    """The begin and the end of a phase, each (earliest, latest)."""
    begin = (phase.begin.lo_ns, phase.begin.hi_ns) if phase.begin else _ALWAYS[0]
    end = (phase.end.lo_ns, phase.end.hi_ns) if phase.end else _ALWAYS[1]
    return begin, end


def _judge_stall(
    evidence: Evidence, terms: Stream, measured: MeasuredTcp, scope: str, bound: TimeBound
) -> Judged:
    if scope == "total":
        found = longest(measured.stalls, *_ALWAYS)
        return Judged(judge_time(bound, found), _longest_told(measured.stalls, found))
    phases = phases_of(evidence, (terms.sender, terms.receiver))
    if phases.problem:
        return Judged(Outcome.CANNOT_TELL, phases.problem)
    places = [phases.found[place] for place in phases.named(scope)]
    if not places:
        return Judged(Outcome.CANNOT_TELL, f"there was no phase `{scope}` in this run")
    ranges = []
    for phase in places:
        if doubt := _not_covered(phase, measured):
            return Judged(Outcome.CANNOT_TELL, doubt)
        ranges.append(longest(measured.stalls, *span(phase)))
    highs = [one.high_ns for one in ranges]
    found = TimeRange(
        max(one.low_ns for one in ranges),
        None if None in highs else max(high for high in highs if high is not None),
    )
    return Judged(judge_time(bound, found), f"{_longest_told(measured.stalls, found)} in {scope}")


def _longest_told(stalls: tuple[Stall, ...], found: TimeRange) -> str:
    if not stalls or (found.low_ns == 0 and found.high_ns == STALL_NS):
        return f"none of more than {STALL_NS / 1e6:g}ms"
    return str(found)


def _not_covered(phase: Phase, measured: MeasuredTcp) -> str:
    """Whether the stream had not begun, or had ended, while a phase went on."""
    if phase.end and measured.flowing_ns > phase.end.lo_ns:
        return f"the stream had not begun when {phase.name} ended"
    if phase.begin and measured.flowing_ns > phase.begin.lo_ns:
        return f"the stream had not begun when {phase.name} began"
    if phase.begin and measured.ended_ns < phase.begin.hi_ns:
        return f"the stream had ended before {phase.name} began"
    if phase.end and phase.end.seen and measured.ended_ns < phase.end.hi_ns:
        return f"the stream had ended before {phase.name} did"
    return ""


def _judge_count(evidence: Evidence, measured: MeasuredTcp, metric: str, bound: Bound) -> Judged:
    if metric == "retransmitted":
        segments = measured.sender.totals.retransmitted if measured.sender else 0
        return Judged(judge_tally(bound, Tally(segments, segments)), f"{segments} segments")
    tally = count(measured.stalls)
    where = [
        f"{length(stall)} at {seconds(stall.from_lo, evidence.zero_ns)}"
        for stall in measured.stalls[:5]
    ]
    told = f"{tally} of more than {STALL_NS / 1e6:g}ms" + (
        f" ({'; '.join(where)})" if where else ""
    )
    return Judged(judge_tally(bound, tally), told)


def _s(value_ns: float) -> str:
    return f"{value_ns / 1e9:.1f}s"
