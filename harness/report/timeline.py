"""All facts of a run on one clock, for reading: when, how sure, who, what; with the borders
of the phases, the loss periods, the stalls and the longest gaps that follow from them.

An order is shown only where it is known. A line marked ``~`` may have happened before the line
above it: their errors overlap, and no one process reported both in order. Where no mark stands
between two lines, the upper one happened first. (That holds because the lines are sorted by the
middle of what is known of their times, which no known order contradicts: see
``harness.verdict.moments``.) What follows from a fact stands behind it, without a mark.

Neighbours: ``told`` has the words, ``harness.verdict`` what is known; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.measure.bounds import FOREVER
from harness.observe import GuestClock
from harness.report.tcp_result import stall_lines
from harness.report.told import Teller
from harness.verdict import Evidence
from harness.verdict.attribution import attribution_of, label
from harness.verdict.moments import Known, Moment, compare, seconds
from harness.verdict.phases import phases_of

HEAD = (
    "Seconds since the first fact, their error, `~` where the order to the line above is not "
    "known.\n"
)
_DETAIL = " " * 4


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened in ``lo_ns``..``hi_ns``: who says it, what, and details.

    ``moment``: the fact that it is, for what is known of its order beyond its time.
    ``follows``: it is another word for the fact before it, and has no order of its own.
    """

    lo_ns: int
    hi_ns: int
    who: str
    what: str
    details: tuple[str, ...] = ()
    moment: Moment | None = None
    follows: bool = False

    @property
    def middle_ns(self) -> int:
        return (self.lo_ns + self.hi_ns) // 2


def timeline(evidence: Evidence) -> str:
    """One entry per fact (without the readings of the guests' clocks), per border of a phase,
    per loss period and stall, and the longest gap of each stream."""
    entries = [
        *_facts(evidence),
        *_phases(evidence),
        *_losses(evidence),
        *_stalls(evidence),
        *_gaps(evidence),
    ]
    return HEAD + "\n".join(_lines(evidence.zero_ns, sorted(entries, key=_place))) + "\n"


def _place(entry: Entry) -> tuple[int, bool, str, int]:
    """By time, then as one process reported it; what follows from a fact stands behind it."""
    if entry.moment is None:
        return entry.middle_ns, entry.follows, "", 0
    return entry.middle_ns, entry.follows, entry.moment.process, entry.moment.rank


def _lines(zero_ns: int, entries: Iterable[Entry]) -> Iterator[str]:
    above: Entry | None = None
    for entry in entries:
        known = above is None or entry.follows or _is_before(above, entry)
        error = (entry.hi_ns - entry.lo_ns) / 2e6
        told = (
            f"{(entry.middle_ns - zero_ns) / 1e9:+13.6f} "
            f"{f'±{error:.3f}ms' if error else '':>12} {' ' if known else '~'} {entry.who:<22} "
        )
        yield told + entry.what
        for detail in entry.details:
            yield " " * len(told) + _DETAIL + detail
        if not entry.follows:
            above = entry


def _is_before(one: Entry, other: Entry) -> bool:
    """Whether ``one`` is known to have happened before ``other``."""
    if one.moment is not None and other.moment is not None:
        return compare(one.moment, other.moment) is Known.BEFORE
    return one.hi_ns < other.lo_ns


def _facts(evidence: Evidence) -> Iterator[Entry]:
    teller = Teller(evidence)
    for moment in evidence.moments:
        fact = moment.fact
        if isinstance(fact, GuestClock):
            continue
        lo_ns, hi_ns = moment.lo_ns, moment.hi_ns
        if moment.broken:  # what was narrowed by a wrong order means nothing
            lo_ns, hi_ns = fact.t_ns - fact.err_ns, fact.t_ns + fact.err_ns
        what, *details = teller.what(fact)
        yield Entry(lo_ns, hi_ns, teller.who(fact), what, tuple(details), moment)


def _phases(evidence: Evidence) -> Iterator[Entry]:
    """The borders of the phases whose events were recorded; a word on the others."""
    found = phases_of(evidence)
    several = len({phase.migration for phase in found.found}) > 1
    for phase in found.found:
        border = phase.begin
        if border is None:
            continue
        name = label(phase, several)
        lo_ns, hi_ns = border.lo_ns, border.hi_ns
        what = f"{name} begins ({border.event})"
        if not border.seen:
            hi_ns = lo_ns
            what = f"{name} begins here or later: {border.event} has no known time"
        if found.problem:
            what += f"; {found.problem}"
        yield Entry(lo_ns, hi_ns, "phase", what, follows=True)


def _losses(evidence: Evidence) -> Iterator[Entry]:
    """The loss periods of the streams, at the send of their first packet."""
    for name in evidence.bound.packets:
        found = attribution_of(evidence, name)
        if isinstance(found, str):
            continue
        for period in found.periods:
            what = "lost 1 packet"
            if period.length > 1:
                until = seconds(period.to_ns, evidence.zero_ns)
                what = f"lost {period.length} packets, the last one sent at {until}"
            yield Entry(
                period.from_ns - period.err_ns,
                period.from_ns + period.err_ns,
                f"stream {name}",
                what,
                tuple(f"{share.packets} {share.what}" for share in period.causes),
            )
        if found.left_out:
            end = max(period.from_ns for period in found.periods)
            what = f"and {found.left_out} shorter loss periods that are not listed"
            yield Entry(end, end, f"stream {name}", what, follows=True)


def _stalls(evidence: Evidence) -> Iterator[Entry]:
    """Of the TCP streams."""
    for t_ns, err_ns, who, what in stall_lines(evidence):
        yield Entry(t_ns - err_ns, t_ns + err_ns, who, what)


def _gaps(evidence: Evidence) -> Iterator[Entry]:
    """The longest time without an arrival, of each stream of packets."""
    for name in evidence.bound.packets:
        found = attribution_of(evidence, name)
        if isinstance(found, str) or not found.gaps.from_lo.size:
            continue
        gaps = found.gaps
        at = int((gaps.to_lo - gaps.from_hi).argmax())
        lo_ns, hi_ns = int(gaps.from_lo[at]), int(gaps.from_hi[at])
        least, most = int(gaps.to_lo[at]) - hi_ns, int(gaps.to_hi[at]) - lo_ns
        length = f"{max(least, 0) / 1e6:.1f}"
        if gaps.to_hi[at] >= FOREVER // 2:
            length = f"at least {length}"
        elif f"{most / 1e6:.1f}" != length:
            length += f" to {most / 1e6:.1f}"
        what = f"its longest gap begins: no arrival for {length}ms"
        yield Entry(lo_ns, hi_ns, f"stream {name}", what)
