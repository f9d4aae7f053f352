"""Each stream by path, as data for ``result.json`` and as tables for people.

Neighbours: ``harness.verdict.paths`` has the figures; ``result`` takes the data up, ``text``
the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from harness.case import PhaseName
from harness.case.pairs import pair_of
from harness.measure import Tally
from harness.measure.paths import PATHS, PathName
from harness.report.attributed import (
    CountRange,
    Part,
    SecondsRange,
    UncertainResult,
    count_range,
    seconds_range,
)
from harness.report.by_phase import span
from harness.report.table import table
from harness.verdict import Evidence
from harness.verdict.attribution import Attribution, attribution_of
from harness.verdict.taken import StreamPaths, paths_of

_MEANING: dict[PathName, str] = {
    "both": "seen on both (flooded; or an echo whose request and reply took different ones)",
    "neither": "lost, and on neither tap",
    "not-standby": "lost, and not on the standby's tap: in the primary, or before it",
    "unknown": "received, and on no tap",
}
_HEAD = ("path", "sent", "received", "lost", "reordered", "duplicates", "largest PDV")


class PathResult(Part):
    """The packets of one path."""

    path: PathName
    sent: int
    received: int
    lost: int
    reordered: int
    duplicates: int
    delay_variation_max_s: SecondsRange | None = Field(
        None, description="largest PDV (RFC 5481) of those received"
    )


class PhasePathResult(Part):
    """The packets of one path that were sent in one phase."""

    phase: PhaseName
    migration: int
    path: PathName
    sent: CountRange
    lost: CountRange
    reordered: CountRange
    duplicates: CountRange


class UncertainPathResult(UncertainResult):
    """What was sent too close to a border to belong to one phase."""

    path: PathName


class StreamPathsResult(Part):
    """One stream by path. The counts of all paths sum to the stream's; those of a path in
    each phase (``at_least``) and what is uncertain sum to the path's."""

    guest: str
    standby_id: str
    doubt: str = Field(description="why no path is told; empty when they are")
    primary: Literal["tap", "function", "none", ""] = Field(
        "", description="`function`: it has no tap, and its path is told by exclusion"
    )
    paths: tuple[PathResult, ...] = ()
    phases: tuple[PhasePathResult, ...] = ()
    uncertain: tuple[UncertainPathResult, ...] = ()


def paths_result(evidence: Evidence, name: str) -> StreamPathsResult | None:
    """One stream by path; None when it goes through no pair."""
    pair = pair_of(evidence.bound.traffic[name], evidence.bound.topology)
    if pair is None:
        return None
    found = paths_of(evidence, name)
    if isinstance(found, str):
        return StreamPathsResult(guest=pair[0], standby_id=pair[1], doubt=found)
    cut = attribution_of(evidence, name)
    return StreamPathsResult(
        guest=found.guest,
        standby_id=found.standby,
        doubt="",
        primary=found.primary,
        paths=tuple(
            PathResult(
                path=path,
                sent=counts.sent,
                received=counts.received,
                lost=counts.lost,
                reordered=counts.reordered,
                duplicates=counts.duplicates,
                delay_variation_max_s=seconds_range(counts.delay_variation),
            )
            for path, counts in found.counts.items()
        ),
        phases=() if isinstance(cut, str) else _phases(found, cut),
        uncertain=() if isinstance(cut, str) else _uncertain(found, cut),
    )


def _phases(found: StreamPaths, cut: Attribution) -> tuple[PhasePathResult, ...]:
    results = []
    for place, phase in enumerate(cut.phases.found):
        certain, possible = cut.parted.within((place,))
        for path in found.counts:
            mine = found.taken.on(path)
            if not (possible & mine).any():
                continue
            counts = {
                metric: Tally(int(weight[certain & mine].sum()), int(weight[possible & mine].sum()))
                for metric, weight in cut.parted.weights.items()
            }
            results.append(
                PhasePathResult(
                    phase=phase.name,
                    migration=phase.migration,
                    path=path,
                    **{metric: count_range(tally) for metric, tally in counts.items()},
                )
            )
    return tuple(results)


def _uncertain(found: StreamPaths, cut: Attribution) -> tuple[UncertainPathResult, ...]:
    unsure = cut.parted.earliest != cut.parted.latest
    return tuple(
        UncertainPathResult(
            path=path,
            **{
                metric: int(weight[unsure & found.taken.on(path)].sum())
                for metric, weight in cut.parted.weights.items()
            },
        )
        for path in found.counts
        if (unsure & found.taken.on(path)).any()
    )


def by_path(streams: Sequence[tuple[str, StreamPathsResult | None]]) -> list[str]:
    """The block of the report; empty when no stream goes through a pair."""
    lines: list[str] = []
    for name, found in streams:
        if found is None or found.doubt == "it has no metrics":
            continue  # no path to have, or the table of streams says why there is nothing
        if found.doubt:
            lines.append(f"  {name}: path not known: {found.doubt}")
            continue
        lines += _stream(name, found)
    if not lines:
        return []
    return ["By path through the failover pair, as captured on its taps", *lines]


def _stream(name: str, found: StreamPathsResult) -> list[str]:
    how = ""
    if found.primary == "function":
        how = " (the primary has no tap: what arrived and was not on the standby's went through it)"
    rows: list[tuple[str, ...]] = [_HEAD]
    for one in found.paths:
        counts = (one.sent, one.received, one.lost, one.reordered, one.duplicates)
        pdv = span(one.delay_variation_max_s)
        rows.append((one.path, *(str(count) for count in counts), pdv))
    lines = [f"  {name}: pair {found.standby_id} of {found.guest}{how}"]
    lines += [f"  {line}" for line in table(rows)]
    lines += [
        f"    {path}: {_MEANING[path]}"
        for path in PATHS
        if path in _MEANING and any(one.path == path for one in found.paths)
    ]
    if found.phases:
        lines += [f"  {line}" for line in table(_by_phase(found))]
    return lines


def _by_phase(found: StreamPathsResult) -> list[tuple[str, ...]]:
    """A row a phase, a column a path: packets sent, and lost of them."""
    paths = [one.path for one in found.paths]
    several = len({one.migration for one in found.phases}) > 1
    rows: dict[str, dict[str, str]] = {}
    for one in found.phases:
        phase = f"{one.phase} {one.migration}" if several else one.phase
        rows.setdefault(phase, {})[one.path] = _cell(_count(one.sent), _count(one.lost))
    for left in found.uncertain:
        cell = _cell(str(left.sent), str(left.lost))
        rows.setdefault("uncertain", {})[left.path] = cell
    head = ("phase", *(f"{path}: sent (lost)" for path in paths))
    return [head, *((phase, *(row.get(path, "") for path in paths)) for phase, row in rows.items())]


def _count(count: CountRange) -> str:
    if count.at_least == count.at_most:
        return str(count.at_least)
    return f"{count.at_least} to {count.at_most}"


def _cell(sent: str, lost: str) -> str:
    return sent if lost == "0" else f"{sent} ({lost})"
