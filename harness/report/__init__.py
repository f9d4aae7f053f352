"""Verdicts and facts to text, JSON and JUnit; decides nothing.

``judge_run`` reads a run directory and asks ``verdict``; ``result_of`` makes the data that
every report shows; ``write_reports`` puts them into the run directory.

Neighbours: ``record`` knows the files, ``verdict`` judges, the CLI and the pytest plugin
show what is made here.
"""

from harness.report.judging import JudgedRun, judge_run
from harness.report.junit import junit
from harness.report.result import Result, result_of, result_schema
from harness.report.text import reasons, render
from harness.report.timeline import timeline
from harness.report.timings import critical_path, render_timings
from harness.report.write import write_reports

__all__ = [
    "JudgedRun",
    "Result",
    "critical_path",
    "judge_run",
    "junit",
    "reasons",
    "render",
    "render_timings",
    "result_of",
    "result_schema",
    "timeline",
    "write_reports",
]
