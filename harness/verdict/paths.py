"""Whether the packets of a stream took the path that was expected.

Judged are packets that were received and certainly sent in the phase. What was seen on both
paths, or on none although it was received, may have taken either.

Neighbours: ``taken`` says which path each packet took; ``attribution`` has the phases;
``judge`` asks.
"""

from __future__ import annotations

import numpy as np

from harness.case import PathBound
from harness.measure.paths import PATHS, PathName, PathsTaken
from harness.measure.trace import Bools
from harness.verdict.attribution import Share, ToldPeriod, attribution_of
from harness.verdict.evidence import Evidence
from harness.verdict.model import Judged, Outcome
from harness.verdict.streams import doubt_about, where_in
from harness.verdict.taken import StreamPaths, paths_of


def judge_path(evidence: Evidence, name: str, wanted: PathBound) -> Judged:
    """Whether the packets received that were certainly sent in a phase took a path."""
    measured = evidence.streams.get(name)
    if doubt := doubt_about(measured, evidence.bound.traffic[name]):
        return Judged(Outcome.CANNOT_TELL, doubt)
    if measured is None or measured.metrics is None:  # doubt_about has said so
        return Judged(Outcome.CANNOT_TELL, f"stream {name} has no metrics")
    found = paths_of(evidence, name)
    if isinstance(found, str):
        return Judged(Outcome.CANNOT_TELL, f"its path is not known: {found}")
    matched = measured.metrics.matched
    judged, where = matched.received, ""
    if wanted.scope != "total":
        cut = attribution_of(evidence, name)
        if isinstance(cut, str):
            return Judged(Outcome.CANNOT_TELL, cut)
        places = cut.phases.named(wanted.scope)
        if not places:
            return Judged(Outcome.CANNOT_TELL, f"there was no phase `{wanted.scope}` in this run")
        where = f" of those certainly sent in {where_in(evidence, cut, wanted.scope)}"
        certain, _ = cut.parted.within(places)
        judged = judged & certain
    return _judged(found.taken, judged, wanted, where)


def _judged(taken: PathsTaken, judged: Bools, wanted: PathBound, where: str) -> Judged:
    total = int(np.count_nonzero(judged))
    if not total:
        return Judged(Outcome.CANNOT_TELL, f"no packet{where} was received")
    each = {path: int(np.count_nonzero(taken.on(path) & judged)) for path in PATHS}
    told = ", ".join(f"{count} {_SAID[path]}" for path, count in each.items() if count)
    reason = f"{total} received{where}: {told}"
    surely = each[wanted.taken.path]
    perhaps = surely + each["both"] + each["unknown"]
    share = wanted.taken.share
    if share.meets(surely / total):
        return Judged(Outcome.PASSED, reason)
    if share.meets(perhaps / total):
        return Judged(Outcome.CANNOT_TELL, reason)
    return Judged(Outcome.FAILED, reason)


_SAID: dict[PathName, str] = {
    "standby": "through the standby",
    "primary": "through the primary",
    "both": "seen on both",
    "neither": "seen on neither",
    "not-standby": "not seen on the standby's tap",
    "unknown": "seen on no tap",
}

_LOST: dict[PathName, str] = {
    "standby": "on the standby's tap",
    "primary": "on the primary's tap",
    "both": "on both taps",
    "neither": "on neither tap",
    "not-standby": "not on the standby's tap (in the primary, or before it)",
    "unknown": "path unknown",
}


def period_paths(found: StreamPaths, period: ToldPeriod) -> tuple[Share, ...]:
    """Where the packets of a loss period were seen; sums to its length."""
    first = found.first_of[period.seq]
    codes = found.taken.code[first : first + period.length]
    return tuple(
        Share(_LOST[path], count)
        for code, path in enumerate(PATHS)
        if (count := int(np.count_nonzero(codes == code)))
    )
