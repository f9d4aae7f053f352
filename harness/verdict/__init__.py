"""Facts, metrics and expectations in; pass, fail or cannot tell out, with the reasons.

Pure: no file is read, no lab is touched, the same evidence gives the same verdict.

Neighbours: ``harness.report`` reads a run directory, asks for the verdict and shows it.
"""

from harness.verdict.evidence import (
    Evidence,
    MeasuredStream,
    MeasuredTcp,
    Migration,
    Pair,
    SeenAt,
)
from harness.verdict.judge import judge
from harness.verdict.model import Finding, Outcome, Verdict

__all__ = [
    "Evidence",
    "Finding",
    "MeasuredStream",
    "MeasuredTcp",
    "Migration",
    "Outcome",
    "Pair",
    "SeenAt",
    "Verdict",
    "judge",
]
