"""Which revision broke a case: what a run says of one, what is tried next, what was found.

``try_revision`` makes one answer of the runs of a revision, ``Tree`` drives ``git bisect run``
in a git tree and puts it back, ``bisect_versions`` bisects a list without git, ``BisectDir`` keeps
what happened, ``render`` shows it.

Neighbours: the CLI runs the cases and hands a function that does; ``harness.report`` judges.
"""

from harness.bisect.answer import RunOnce, Tried, try_revision
from harness.bisect.build import carry_out_build
from harness.bisect.ends import must_be
from harness.bisect.record import Answer, Axis, BisectDir, BisectPlan, BisectResult, RunOfStep, Step
from harness.bisect.text import render
from harness.bisect.tree import Ended, Tree
from harness.bisect.versions import Version, bisect_versions, recipes_between

__all__ = [
    "Answer",
    "Axis",
    "BisectDir",
    "BisectPlan",
    "BisectResult",
    "Ended",
    "RunOfStep",
    "RunOnce",
    "Step",
    "Tree",
    "Tried",
    "Version",
    "bisect_versions",
    "carry_out_build",
    "must_be",
    "recipes_between",
    "render",
    "try_revision",
]
