"""Verbs on a running lab, and cases carried out with them. Records, never judges."""

from harness.scenario.run import begin_record, carry_out, keep_timings, make_lab, run_case, settle
from harness.scenario.verbs import StepFailed, Verbs

__all__ = [
    "StepFailed",
    "Verbs",
    "begin_record",
    "carry_out",
    "keep_timings",
    "make_lab",
    "run_case",
    "settle",
]
