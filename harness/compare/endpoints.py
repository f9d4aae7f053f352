"""The figures of two builds beside each other, and a verdict on each declared endpoint. Pure.

More of a figure is worse. With the margin M, the shift S (candidate less baseline) is

- *worse* when it is shown that S > M: its interval lies above the margin;
- *no worse* when it is shown that S <= M: its interval ends at the margin or below (the
  non-inferiority of clinical trials: Piaggio and others 2012, CONSORT);
- else *inconclusive*. No difference found is not the same as no worse.

A difference from 0 is told beside that, in both directions: "no worse" may be a little more,
within the margin, and may be an improvement.

"Worse" is said of a gate when it is said of any endpoint, so its chances are corrected for their
number (Holm 1979). "No worse" is said only when it holds for all of them, and needs no
correction (intersection-union test: Berger 1982).

Ranks tell of the usual run. What happens in a few runs only moves no median, so a shift that is
no worse is not believed where too many of the candidate's runs lie beyond all of the baseline's
and the margin.

Neighbours: ``ranks`` has the arithmetic, ``looks`` the levels; ``decide`` puts all together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import median

from pydantic import Field

from harness.case import Endpoint
from harness.compare.figures import Part
from harness.compare.invariants import CHANCE
from harness.compare.looks import Look
from harness.compare.ranks import chance_above, chance_of_share, interval, shift
from harness.compare.seen import Seen, Side, good


class EndpointVerdict(StrEnum):
    """What is shown of an endpoint against its margin."""

    WORSE = "worse"
    NO_WORSE = "no worse"
    INCONCLUSIVE = "inconclusive"


class Difference(StrEnum):
    """What is shown of an endpoint against 0."""

    MORE = "more"
    LESS = "less"
    NONE = "none shown"


class Compared(Part):
    """One figure of both builds. Without a margin it is shown, not judged."""

    name: str
    unit: str
    margin: float | None = Field(description="null: not declared as an endpoint")
    baseline: tuple[float, ...] = Field(description="a figure for each run")
    candidate: tuple[float, ...]
    shift: float | None = Field(
        None, description="Hodges and Lehmann: the median of all differences of two runs"
    )
    low: float | None = Field(None, description="of the shift's interval; null: nothing bounds it")
    high: float | None = None
    chance_worse: float | None = Field(
        None, description="of this or more if the shift is at most the margin, after Holm"
    )
    difference: Difference = Difference.NONE
    verdict: EndpointVerdict | None = Field(None, description="null: not judged")
    note: str = ""

    @property
    def baseline_median(self) -> float | None:
        return median(self.baseline) if self.baseline else None

    @property
    def candidate_median(self) -> float | None:
        return median(self.candidate) if self.candidate else None


def holm(chances: Sequence[float]) -> list[float]:
    """Chances corrected for their number (Holm 1979); a claim is made where one is at most the
    level, and the chance of any wrong claim among them all is at most that level."""
    corrected = [1.0] * len(chances)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(chances)), key=lambda at: chances[at])):
        largest = max(largest, min(1.0, chances[index] * (len(chances) - place)))
        corrected[index] = largest
    return corrected


def compare(
    declared: Sequence[Endpoint], runs: Iterable[Seen], look: Look | None
) -> tuple[Compared, ...]:
    """Every figure of the runs that count: declared endpoints first, then what is only shown.

    Without a look there are no intervals, and every endpoint is inconclusive.
    """
    counted = [run for run in good(runs) if not run.confirming]
    pairs = [_values(one.name, counted) for one in declared]
    worse = holm(
        [chance_above(*pair, one.margin) for pair, one in zip(pairs, declared, strict=True)]
    )
    more = holm([chance_above(*pair) for pair in pairs])
    less = holm([chance_above(candidate, baseline) for baseline, candidate in pairs])
    judged: list[Compared] = []
    for place, (one, pair) in enumerate(zip(declared, pairs, strict=True)):
        plain = _plain(one.name, one.unit, one.margin, pair, look)
        difference = Difference.NONE
        if look and more[place] <= look.level:
            difference = Difference.MORE
        elif look and less[place] <= look.level:
            difference = Difference.LESS
        verdict, note = _verdict(plain, pair, worse[place], look)
        judged.append(
            plain.model_copy(
                update={
                    "chance_worse": worse[place] if look else None,
                    "difference": difference,
                    "verdict": verdict,
                    "note": note,
                }
            )
        )
    names = {one.name for one in declared}
    units = {name: one.unit for run in counted for name, one in run.figures.items()}
    shown = (
        _plain(name, unit, None, _values(name, counted), None)
        for name, unit in units.items()
        if name not in names
    )
    return (*judged, *shown)


def _values(name: str, runs: Sequence[Seen]) -> tuple[list[float], list[float]]:
    """The figures of the baseline's and of the candidate's runs."""

    def of(side: Side) -> list[float]:
        found = (run.figures.get(name) for run in good(runs, side))
        return [one.value for one in found if one is not None and one.value is not None]

    return of(Side.BASELINE), of(Side.CANDIDATE)


def _plain(
    name: str,
    unit: str,
    margin: float | None,
    pair: tuple[list[float], list[float]],
    look: Look | None,
) -> Compared:
    within = interval(*pair, look.level) if look else None
    return Compared(
        name=name,
        unit=unit,
        margin=margin,
        baseline=tuple(pair[0]),
        candidate=tuple(pair[1]),
        shift=shift(*pair),
        low=within.low if within and math.isfinite(within.low) else None,
        high=within.high if within and math.isfinite(within.high) else None,
    )


def _verdict(
    plain: Compared, pair: tuple[list[float], list[float]], worse: float, look: Look | None
) -> tuple[EndpointVerdict, str]:
    margin = plain.margin or 0.0
    if look is None:
        return EndpointVerdict.INCONCLUSIVE, "between two looks"
    if worse <= look.level:
        return EndpointVerdict.WORSE, ""
    if plain.low is not None and plain.low > margin:
        return EndpointVerdict.INCONCLUSIVE, "above the margin, but not for so many endpoints"
    if plain.high is None or plain.high > margin:
        return EndpointVerdict.INCONCLUSIVE, ""
    baseline, candidate = pair
    beyond = sum(one > max(baseline) + margin for one in candidate)
    if chance_of_share(0, len(baseline), beyond, len(candidate)) <= CHANCE:
        return (
            EndpointVerdict.INCONCLUSIVE,
            f"{beyond} of {len(candidate)} runs beyond all of the baseline's and the margin",
        )
    return EndpointVerdict.NO_WORSE, ""
