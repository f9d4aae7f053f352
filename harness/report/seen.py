"""The records of which packets were seen at the taps of failover pairs, read.

What is wrong with a record does not stop the judging: it becomes the reason why no path can
be told of its stream.

Neighbours: ``harness.scenario.paths`` writes them, ``harness.verdict.paths`` makes paths of
them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.errors import RecordError
from harness.observe import Fact, PathFact
from harness.record import RunDir
from harness.traffic.records import read_records
from harness.verdict import SeenAt


def read_seen_at(run_dir: RunDir, facts: Iterable[Fact]) -> tuple[SeenAt, ...]:
    """The record of every fact of a path, in the order of the facts."""
    return tuple(_seen(run_dir, fact) for fact in facts if isinstance(fact, PathFact))


def _seen(run_dir: RunDir, fact: PathFact) -> SeenAt:
    nothing = np.empty(0, dtype=np.int64)
    if not fact.records:
        return SeenAt(fact, nothing)
    try:
        return SeenAt(fact, read_records(run_dir.recorded(fact.records)).seq)
    except RecordError as error:
        # Paths of another machine would make the same run read differently there.
        return SeenAt(fact, nothing, error.message.replace(f"{run_dir.path}/", ""))
