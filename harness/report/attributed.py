"""The phases of a run and each stream's figures by phase, as data for ``result.json``.

What is only known up to the errors of the clocks has an ``at_least`` and an ``at_most``.

Neighbours: ``harness.verdict.attribution`` has the figures; ``result`` takes these parts up,
``text`` and ``timeline`` show them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from harness.case import PhaseName
from harness.measure import Counts, PartCounts, Tally, TimeRange
from harness.measure.bounds import P999
from harness.verdict import Evidence
from harness.verdict.attribution import Attribution, Share, attribution_of
from harness.verdict.paths import period_paths
from harness.verdict.phases import Phase, PhaseBorder, Phases, phases_of
from harness.verdict.taken import paths_of


class Part(BaseModel):
    """Base of every part of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CountRange(Part):
    """A count; the two differ by what was sent too close to a border to be told."""

    at_least: int
    at_most: int


class SecondsRange(Part):
    """A length of time; ``at_most`` null: it had no end in the record."""

    at_least: float
    at_most: float | None


class BorderResult(Part):
    """Where a phase begins, in seconds since the run's first fact."""

    event: str
    recorded: bool = Field(description="false: the event is not in the record")
    from_s: float | None = Field(description="earliest; null where nothing bounds it")
    to_s: float | None = Field(description="latest; null where nothing bounds it")


class PhaseResult(Part):
    """A phase that occurred; phases follow each other without a hole."""

    phase: PhaseName
    migration: int = Field(description="from 1")
    step: str
    begin: BorderResult | None = Field(description="null: with the record")
    end: BorderResult | None = Field(description="null: with the record")


class StreamPhaseResult(Part):
    """A stream's packets that were sent in one phase (``migration`` null: in all of them)."""

    phase: PhaseName
    migration: int | None
    sent: CountRange
    lost: CountRange
    reordered: CountRange
    duplicates: CountRange
    interruption_s: SecondsRange | None = Field(
        None, description="the longest time in the phase without an arrival, less one period"
    )
    delay_variation_max_s: SecondsRange | None = Field(
        None, description="largest PDV (RFC 5481) of the packets received"
    )


class UncertainResult(Part):
    """What was sent too close to a border to belong to one phase."""

    sent: int
    lost: int
    reordered: int
    duplicates: int


class ShareResult(Part):
    """So many packets of a loss period: of a phase, or for a reason."""

    what: str
    packets: int


class LossPeriodResult(Part):
    """Packets lost in a row (RFC 3357); times of their sending since the run's first fact."""

    seq: int
    packets: int
    from_s: float
    to_s: float
    error_s: float
    phases: tuple[ShareResult, ...]
    why: tuple[ShareResult, ...]
    paths: tuple[ShareResult, ...] = Field(
        (), description="where they were seen; empty where no path is told"
    )


class AttributionResult(Part):
    """One stream by phase. In each count: certain ones of all phases + uncertain = total."""

    doubt: str = Field(description="why there are no figures by phase; empty when there are")
    phases: tuple[StreamPhaseResult, ...] = ()
    totals: tuple[StreamPhaseResult, ...] = Field(
        (), description="per phase name, where the case has several migrations"
    )
    uncertain: UncertainResult | None = None
    interruption_s: SecondsRange | None = Field(None, description="longest of the whole run")
    delay_variation_p999_s: SecondsRange | None = None
    delay_variation_max_s: SecondsRange | None = None
    why: tuple[ShareResult, ...] = Field((), description="the reasons of all packets lost")
    loss_periods: tuple[LossPeriodResult, ...] = ()
    loss_periods_left_out: int = Field(0, description="shorter ones that are not listed")


def phase_results(evidence: Evidence) -> tuple[PhaseResult, ...]:
    """The phases of all migrations; none where the record contradicts itself."""
    found = phases_of(evidence)
    if found.problem:
        return ()
    return tuple(
        PhaseResult(
            phase=phase.name,
            migration=phase.migration,
            step=phase.step,
            begin=_border(phase.begin, evidence.zero_ns),
            end=_border(phase.end, evidence.zero_ns),
        )
        for phase in found.found
    )


def attribution_result(evidence: Evidence, name: str) -> AttributionResult:
    """One stream's figures by phase."""
    found = attribution_of(evidence, name)
    if isinstance(found, str):
        return AttributionResult(doubt=found)
    zero = evidence.zero_ns
    paths = paths_of(evidence, name)
    return AttributionResult(
        doubt="",
        phases=tuple(
            _phase(phase, found.counts((place,)), found, place)
            for place, phase in enumerate(found.phases.found)
        ),
        totals=_totals(found),
        uncertain=_uncertain(found.uncertain),
        interruption_s=seconds_range(found.gaps.longest()),
        delay_variation_p999_s=seconds_range(found.delays.variation(P999)),
        delay_variation_max_s=seconds_range(found.delays.variation(1.0)),
        why=_shares(found.causes),
        loss_periods=tuple(
            LossPeriodResult(
                seq=period.seq,
                packets=period.length,
                from_s=(period.from_ns - zero) / 1e9,
                to_s=(period.to_ns - zero) / 1e9,
                error_s=period.err_ns / 1e9,
                phases=_shares(period.phases),
                why=_shares(period.causes),
                paths=() if isinstance(paths, str) else _shares(period_paths(paths, period)),
            )
            for period in found.periods
        ),
        loss_periods_left_out=found.left_out,
    )


def _border(border: PhaseBorder | None, zero_ns: int) -> BorderResult | None:
    if border is None:
        return None
    # An end that nothing bounds is far behind every clock.
    known = border.hi_ns - border.lo_ns < 1 << 61
    return BorderResult(
        event=border.event,
        recorded=border.seen,
        from_s=(border.lo_ns - zero_ns) / 1e9,
        to_s=(border.hi_ns - zero_ns) / 1e9 if known else None,
    )


def _phase(phase: Phase, counts: PartCounts, found: Attribution, place: int) -> StreamPhaseResult:
    return _counts(phase.name, phase.migration, counts).model_copy(
        update={
            "interruption_s": seconds_range(found.interruption(place)),
            "delay_variation_max_s": seconds_range(found.delay_variation(place)),
        }
    )


def _counts(name: PhaseName, migration: int | None, counts: PartCounts) -> StreamPhaseResult:
    return StreamPhaseResult(
        phase=name,
        migration=migration,
        sent=count_range(counts.sent),
        lost=count_range(counts.lost),
        reordered=count_range(counts.reordered),
        duplicates=count_range(counts.duplicates),
    )


def _totals(found: Attribution) -> tuple[StreamPhaseResult, ...]:
    if not _several(found.phases):
        return ()
    names = dict.fromkeys(phase.name for phase in found.phases.found)
    return tuple(_counts(name, None, found.counts(found.phases.named(name))) for name in names)


def _several(phases: Phases) -> bool:
    return len({phase.migration for phase in phases.found}) > 1


def count_range(tally: Tally) -> CountRange:
    return CountRange(at_least=tally.certain, at_most=tally.possible)


def seconds_range(length: TimeRange | None) -> SecondsRange | None:
    if length is None:
        return None
    high = None if length.high_ns is None else length.high_ns / 1e9
    return SecondsRange(at_least=length.low_ns / 1e9, at_most=high)


def _uncertain(counts: Counts) -> UncertainResult:
    return UncertainResult(
        sent=counts.sent,
        lost=counts.lost,
        reordered=counts.reordered,
        duplicates=counts.duplicates,
    )


def _shares(shares: tuple[Share, ...]) -> tuple[ShareResult, ...]:
    return tuple(ShareResult(what=one.what, packets=one.packets) for one in shares)
