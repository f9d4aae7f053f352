"""The streams by phase, for people: a small table each, and the loss periods with their why.

Neighbours: renders the parts of ``attributed``; ``text`` puts it into the report.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.attributed import (
    AttributionResult,
    CountRange,
    SecondsRange,
    StreamPhaseResult,
)
from harness.report.table import UNKNOWN, table

_SHOWN = 20
_HEAD = ("phase", "sent", "lost", "reordered", "duplicates", "interruption", "largest PDV")


def by_phase(streams: Sequence[tuple[str, AttributionResult]]) -> list[str]:
    """The block of the report; empty when no stream has phases."""
    lines: list[str] = []
    for name, found in streams:
        if found.phases:
            lines += _stream(name, found)
        elif found.doubt != "it has no metrics":
            lines.append(f"  {name}: not by phase: {found.doubt}")
    if not lines:
        return []
    return ["By phase in which a packet was sent (N to M: within the clocks' error)", *lines]


def _stream(name: str, found: AttributionResult) -> list[str]:
    several = bool(found.totals)
    rows: list[tuple[str, ...]] = [_HEAD]
    rows += [_row(one, several) for one in found.phases]
    if found.uncertain is not None and found.uncertain.sent:
        uncertain = found.uncertain
        counts = (uncertain.sent, uncertain.lost, uncertain.reordered, uncertain.duplicates)
        rows.append(("uncertain", *(str(count) for count in counts), "", ""))
    rows += [_row(one, several) for one in found.totals]
    lines = [f"  {name}: longest interruption {span(found.interruption_s)}, delay variation "
             f"{span(found.delay_variation_p999_s)} (99.9th percentile), "
             f"{span(found.delay_variation_max_s)} (largest)"]  # fmt: skip
    lines += [f"  {line}" for line in table(rows)]
    shown = sorted(found.loss_periods, key=lambda one: -one.packets)[:_SHOWN]
    for period in found.loss_periods:
        if period not in shown:
            continue
        error = f"±{period.error_s * 1e3:.1f}ms" if period.error_s >= 5e-5 else ""
        phases = ", ".join(
            share.what if len(period.phases) == 1 else f"{share.packets} {share.what}"
            for share in period.phases
        )
        lines.append(
            f"    lost {period.packets} from {period.from_s:+.3f}s{error} to {period.to_s:+.3f}s"
            f"{error} ({phases})"
        )
        lines += [f"      {share.packets:>5}  {share.what}" for share in period.why]
        if period.paths:
            where = ", ".join(f"{share.packets} {share.what}" for share in period.paths)
            lines.append(f"      seen: {where}")
    if left := len(found.loss_periods) - len(shown) + found.loss_periods_left_out:
        lines.append(f"    and {left} shorter loss periods")
    return lines


def _row(one: StreamPhaseResult, several: bool) -> tuple[str, ...]:
    name = str(one.phase)
    if several:
        name = f"{name} {one.migration}" if one.migration is not None else f"{name}, all"
    return (
        name,
        *(_count(count) for count in (one.sent, one.lost, one.reordered, one.duplicates)),
        span(one.interruption_s) if one.migration is not None else "",
        span(one.delay_variation_max_s) if one.migration is not None else "",
    )


def _count(count: CountRange) -> str:
    if count.at_least == count.at_most:
        return str(count.at_least)
    return f"{count.at_least} to {count.at_most}"


def span(length: SecondsRange | None) -> str:
    """A length of time with its bounds, in ms."""
    if length is None:
        return UNKNOWN
    low = f"{length.at_least * 1e3:.1f}"
    if length.at_most is None:
        return f"at least {low}ms"
    high = f"{length.at_most * 1e3:.1f}"
    return f"{low}ms" if low == high else f"{low} to {high}ms"
