"""A stream's packets by phase, and its loss periods with their reasons.

A packet belongs to the phase in which it was *sent*; one whose send is closer to a border
than the errors of the clocks is ``uncertain``, and counted so. An interruption counts for a
phase with that part of it that lies in the phase.

Neighbours: ``phases`` has the borders, ``causes`` the reasons, ``harness.measure.parts``
counts; ``streams`` judges what is found here, ``harness.report`` shows it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from harness.case import Stream
from harness.errors import RecordError
from harness.measure import (
    Counts,
    Delays,
    Gaps,
    LossPeriod,
    PartCounts,
    Parted,
    StreamMetrics,
    TimeRange,
    delays,
    gaps,
    split,
)
from harness.measure.bounds import FOREVER
from harness.measure.parts import Border
from harness.measure.trace import Ints
from harness.verdict.causes import UNKNOWN, windows
from harness.verdict.evidence import Evidence
from harness.verdict.phases import Phase, Phases, phases_of

MOST_PERIODS = 200
"""Loss periods that are told one by one: the longest ones, in the order of time."""
UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Share:
    """So many packets of a loss period: of a phase, or for a reason."""

    what: str
    packets: int


@dataclass(frozen=True, slots=True)
class ToldPeriod:
    """A loss period (RFC 3357) with its phases and its reasons; each sums to its length.

    ``from_ns``, ``to_ns``: send times of its first and its last packet, +- ``err_ns``.
    """

    seq: int
    length: int
    from_ns: int
    to_ns: int
    err_ns: int
    phases: tuple[Share, ...]
    causes: tuple[Share, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """One stream cut into phases."""

    phases: Phases
    parted: Parted
    gaps: Gaps
    delays: Delays
    periods: tuple[ToldPeriod, ...]
    left_out: int
    causes: tuple[Share, ...]

    def counts(self, places: Collection[int]) -> PartCounts:
        """Counts of some phases together, by their places in ``phases.found``."""
        return self.parted.counts(places)

    @property
    def uncertain(self) -> Counts:
        return self.parted.uncertain

    def interruption(self, place: int) -> TimeRange | None:
        """The longest interruption in one phase; None when nothing flowed there."""
        phase = self.phases.found[place]
        return self.gaps.longest_within(*_span(phase))

    def delay_variation(self, place: int) -> TimeRange | None:
        """The largest PDV of the packets sent in one phase; None when none was received."""
        return self.delays.largest_within(*self.parted.within((place,)))


def label(phase: Phase, several: bool) -> str:
    """A phase's name, with its migration's number where there are several."""
    return f"{phase.name} {phase.migration}" if several else phase.name


def attribution_of(evidence: Evidence, name: str) -> Attribution | str:
    """A stream cut into phases, made once per evidence; or why that cannot be done."""
    known: dict[str, Attribution | str] = evidence.attributions
    if name not in known:
        measured = evidence.streams.get(name)
        if measured is None or measured.metrics is None:
            known[name] = "it has no metrics"
        else:
            try:
                known[name] = attribute(evidence, evidence.bound.traffic[name], measured.metrics)
            except RecordError as error:
                known[name] = error.message
    return known[name]


def attribute(evidence: Evidence, terms: Stream, metrics: StreamMetrics) -> Attribution:
    """Cut a stream into the phases of its guests' migrations.

    Raises RecordError when the phases contradict each other or the counts do not add up.
    """
    found = phases_of(evidence, (terms.sender, terms.receiver))
    if found.problem:
        raise RecordError(found.problem)
    if not found.found:
        raise RecordError("no migration began, so there are no phases")
    matched = metrics.matched
    parted = split(matched, [Border(one.lo_ns, one.hi_ns) for one in found.borders])
    parted.check(Counts(metrics.sent, metrics.lost, metrics.reordered, metrics.extra_copies))
    reasons, which = _reasons(evidence, terms, metrics)
    told = sorted(metrics.loss.periods, key=lambda one: (-one.length, one.first))[:MOST_PERIODS]
    places = np.where(parted.earliest == parted.latest, parted.earliest, -1)
    several = len({phase.migration for phase in found.found}) > 1
    names = [label(phase, several) for phase in found.found]
    lost = np.flatnonzero(parted.weights["lost"])
    attribution = Attribution(
        phases=found,
        parted=parted,
        gaps=gaps(matched, rate=terms.flow.rate),
        delays=delays(matched),
        periods=tuple(
            _told(one, metrics, places, names, which, reasons)
            for one in sorted(told, key=lambda one: one.first)
        ),
        left_out=len(metrics.loss.periods) - len(told),
        causes=_shares(which[lost], reasons, UNKNOWN),
    )
    _check(attribution, metrics)
    return attribution


def _check(attribution: Attribution, metrics: StreamMetrics) -> None:
    """Reasons and phases of the lost packets sum to what was lost."""
    wrong = [
        period
        for period in attribution.periods
        if sum(share.packets for share in period.phases) != period.length
        or sum(share.packets for share in period.causes) != period.length
    ]
    if wrong or sum(share.packets for share in attribution.causes) != metrics.lost:
        raise RecordError(f"the reasons of the lost packets do not sum to {metrics.lost} lost")


def _span(phase: Phase) -> tuple[tuple[int, int], tuple[int, int]]:
    begin = (phase.begin.lo_ns, phase.begin.hi_ns) if phase.begin else (-FOREVER, -FOREVER)
    end = (phase.end.lo_ns, phase.end.hi_ns) if phase.end else (FOREVER, FOREVER)
    return begin, end


def _reasons(evidence: Evidence, terms: Stream, metrics: StreamMetrics) -> tuple[list[str], Ints]:
    """The reasons, and for each packet sent the place of its reason among them, or -1."""
    matched = metrics.matched
    low, high = matched.sent_ns - matched.sent_err_ns, matched.sent_ns + matched.sent_err_ns
    which = np.full(matched.sent, -1, dtype=np.int64)
    reasons: list[str] = []
    for window in windows(evidence, terms.sender, terms.receiver, matched):
        inside = (which < 0) & (low >= window.from_ns) & (high <= window.to_ns)
        inside &= low <= window.begun_by_ns
        which[inside] = len(reasons)
        reasons.append(window.reason)
    return reasons, which


def _told(
    period: LossPeriod,
    metrics: StreamMetrics,
    places: Ints,
    names: list[str],
    which: Ints,
    reasons: list[str],
) -> ToldPeriod:
    part = slice(period.first, period.first + period.length)
    return ToldPeriod(
        seq=period.seq,
        length=period.length,
        from_ns=period.from_ns,
        to_ns=period.to_ns,
        err_ns=int(metrics.matched.sent_err_ns[part].max()),
        phases=_shares(places[part], names, UNCERTAIN),
        causes=_shares(which[part], reasons, UNKNOWN),
    )


def _shares(places: Ints, names: list[str], otherwise: str) -> tuple[Share, ...]:
    """How many of each, in the order of their first occurrence."""
    found, first, counts = np.unique(places, return_index=True, return_counts=True)
    order = np.argsort(first)
    return tuple(
        Share(names[int(found[at])] if found[at] >= 0 else otherwise, int(counts[at]))
        for at in order
    )
