"""The TCP streams of a run: as data for ``result.json``, as a table, as lines of the timeline.

Neighbours: ``harness.verdict.tcp`` has the figures; ``result``, ``text`` and ``timeline`` take
these parts up. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from harness.case import PhaseName, Stream
from harness.measure import TimeRange
from harness.report.attributed import CountRange, Part, SecondsRange
from harness.report.by_phase import span as told
from harness.report.table import UNKNOWN, table
from harness.traffic.tcprecord import intact
from harness.verdict import Evidence, MeasuredTcp
from harness.verdict.evidence import Stall
from harness.verdict.phases import phases_of
from harness.verdict.tcp import count, doubt_about_tcp, length, longest, span

_ALWAYS = (-(1 << 62), -(1 << 62)), (1 << 62, 1 << 62)
_SHOWN = 10


class StallResult(Part):
    """A time without a receipt; seconds since the run's first fact, each with its bounds.

    ``end`` null: none is known. ``length_s`` is what of it is certainly not a pause of the
    sender, to all of it. ``phases``: those it may lie in.
    """

    begin_s: SecondsRange
    end_s: SecondsRange | None
    length_s: SecondsRange
    measured: bool = Field(description="false: told by the guest's stop, the receiver saw none")
    phases: tuple[PhaseName, ...]


class TcpPhaseResult(Part):
    """The longest stall in one phase of one migration."""

    phase: PhaseName
    migration: int
    stall_s: SecondsRange


class TcpResult(Part):
    """One TCP stream; figures are null where the records do not give them."""

    stream: str
    sender: str
    receiver: str
    rate_bit_s: int
    total_octets: int | None = Field(description="after which it was to end; null: with the case")
    rate_tolerance: float
    dscp: int
    doubt: str = Field(description="why the figures prove nothing; empty when they do")
    sent: int | None = Field(None, description="octets that the sender's socket took")
    received: int | None = Field(None, description="octets")
    intact: bool | None = Field(
        None, description="all that was sent came, in its place, to its end"
    )
    corrupt: int | None = Field(None, description="wrong octets")
    corrupt_at: int | None = Field(None, description="the first wrong octet; null: none")
    unacknowledged: int | None = Field(None, description="octets, when the sender ended")
    retransmitted: int | None = Field(None, description="segments, by the sender's tcp_info")
    sender_behind_s: float | None = Field(
        None, description="by how much the sender stayed behind its rate without a stall"
    )
    stall_count: CountRange | None = Field(None, description="stalls above 100 ms")
    longest_stall_s: SecondsRange | None = None
    stalls: tuple[StallResult, ...] = ()
    phases: tuple[TcpPhaseResult, ...] = ()


def tcp_results(evidence: Evidence) -> tuple[TcpResult, ...]:
    """Every TCP stream of the case, in its order."""
    return tuple(
        _result(evidence, name, terms, evidence.tcp.get(name))
        for name, terms in evidence.bound.tcp.items()
    )


def _result(
    evidence: Evidence, name: str, terms: Stream, measured: MeasuredTcp | None
) -> TcpResult:
    result = TcpResult(
        stream=name,
        sender=terms.sender,
        receiver=terms.receiver,
        rate_bit_s=terms.tcp.rate if terms.tcp else 0,
        total_octets=terms.tcp.total if terms.tcp else None,
        rate_tolerance=terms.rate_tolerance,
        dscp=terms.dscp,
        doubt=doubt_about_tcp(measured, terms),
    )
    if measured is None or measured.sender is None or measured.sink is None:
        return result
    sent, got = measured.sender.totals, measured.sink.totals
    tally = count(measured.stalls)
    return result.model_copy(
        update={
            "sent": sent.octets,
            "received": got.octets,
            "intact": intact(measured.sender, measured.sink),
            "corrupt": got.corrupt,
            "corrupt_at": got.first_corrupt if got.corrupt else None,
            "unacknowledged": sent.unacknowledged,
            "retransmitted": sent.retransmitted,
            "sender_behind_s": measured.unexplained_ns / 1e9,
            "stall_count": CountRange(at_least=tally.certain, at_most=tally.possible),
            "longest_stall_s": _range(longest(measured.stalls, *_ALWAYS)),
            "stalls": tuple(_stall(evidence, terms, stall) for stall in measured.stalls),
            "phases": tuple(_phases(evidence, terms, measured)),
        }
    )


def _phases(evidence: Evidence, terms: Stream, measured: MeasuredTcp) -> Iterator[TcpPhaseResult]:
    found = phases_of(evidence, (terms.sender, terms.receiver))
    for phase in () if found.problem else found.found:
        yield TcpPhaseResult(
            phase=phase.name,
            migration=phase.migration,
            stall_s=_range(longest(measured.stalls, *span(phase))),
        )


def _stall(evidence: Evidence, terms: Stream, stall: Stall) -> StallResult:
    zero, long = evidence.zero_ns, length(stall)
    found = phases_of(evidence, (terms.sender, terms.receiver))
    within = [
        phase.name
        for phase in (() if found.problem else found.found)
        if length(stall, *span(phase)).high_ns != 0
    ]
    return StallResult(
        begin_s=_between(stall.from_lo - zero, stall.from_hi - zero),
        end_s=None if long.high_ns is None else _between(stall.to_lo - zero, stall.to_hi - zero),
        length_s=_range(long),
        measured=stall.least_ns > 0,
        phases=tuple(dict.fromkeys(within)),
    )


def _range(found: TimeRange) -> SecondsRange:
    high = None if found.high_ns is None else found.high_ns / 1e9
    return SecondsRange(at_least=found.low_ns / 1e9, at_most=high)


def _between(low_ns: int, high_ns: int) -> SecondsRange:
    return SecondsRange(at_least=low_ns / 1e9, at_most=high_ns / 1e9)


# -- for people ----------------------------------------------------------------------------


def tcp_table(streams: Sequence[TcpResult]) -> list[str]:
    """The block of the report; empty without TCP streams."""
    if not streams:
        return []
    rows: list[tuple[str, ...]] = [
        ("stream", "from", "to", "sent", "received", "intact", "corrupt at", "stalls", "longest",
         "retransmitted")
    ]  # fmt: skip
    rows += [_row(stream) for stream in streams]
    lines = ["TCP streams (octets; stalls: more than 100 ms without a receipt)", *table(rows)]
    for stream in streams:
        end = "" if stream.total_octets is None else f", {stream.total_octets} octets in all"
        lines.append(f"  {stream.stream}: {_rate(stream.rate_bit_s)} offered{end}")
        shown = sorted(stream.stalls, key=lambda one: -one.length_s.at_least)[:_SHOWN]
        lines += [f"    {_told(stall)}" for stall in stream.stalls if stall in shown]
        if left := len(stream.stalls) - len(shown):
            lines.append(f"    and {left} shorter stalls")
        if stream.doubt:
            lines.append(f"    nothing can be told of {stream.stream}: {stream.doubt}")
    return lines


def _row(stream: TcpResult) -> tuple[str, ...]:
    def figure(value: int | None) -> str:
        return UNKNOWN if value is None else str(value)

    whole = {None: UNKNOWN, True: "yes", False: "no"}[stream.intact]
    at = "-" if stream.corrupt == 0 else figure(stream.corrupt_at)
    few = stream.stall_count
    counted = UNKNOWN
    if few is not None:
        counted = str(few.at_least) + ("" if few.at_least == few.at_most else f" to {few.at_most}")
    return (
        stream.stream, stream.sender, stream.receiver, figure(stream.sent),
        figure(stream.received), whole, at, counted, told(stream.longest_stall_s),
        figure(stream.retransmitted),
    )  # fmt: skip


def _told(stall: StallResult) -> str:
    begin, end = stall.begin_s, stall.end_s
    until = "to the end" if end is None else f"to {_at(end)}"
    how = "" if stall.measured else ", as the guest was stopped"
    where = f" ({', '.join(stall.phases)})" if stall.phases else ""
    return f"stalled {told(stall.length_s)} from {_at(begin)} {until}{how}{where}"


def _at(when: SecondsRange) -> str:
    """The middle of when something happened, with its error."""
    low, high = when.at_least, when.at_least if when.at_most is None else when.at_most
    error = (high - low) / 2
    return f"{(low + high) / 2:+.3f}s" + (f"±{error * 1e3:.1f}ms" if error >= 5e-5 else "")


def _rate(bits: int) -> str:
    for unit, size in (("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3)):
        if bits >= size:
            return f"{bits / size:g}{unit}"
    return f"{bits}bit/s"


def stall_lines(evidence: Evidence) -> Iterator[tuple[int, int, str, str]]:
    """For the timeline: when each stall began, the error of that, who, and what."""
    for name, terms in evidence.bound.tcp.items():
        measured = evidence.tcp.get(name)
        for stall in measured.stalls if measured else ():
            middle, error = (stall.from_lo + stall.from_hi) // 2, stall.from_hi - stall.from_lo
            shown = _stall(evidence, terms, stall)
            yield middle, error // 2, f"stream {name}", _told(shown)
