"""``catalogue``: the page of all cases, and the results that it shows.

Neighbours: ``harness.report.catalogue`` makes the page.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from harness.case import check_case
from harness.document import read, validate
from harness.errors import EXIT_PASSED, InputError
from harness.record import RunDir
from harness.report import judge_run, result_of
from harness.report.catalogue import Gaps, Results, page, recorded

_RESULTS = Path("docs/catalogue.json")
_GAPS = Path("docs/catalogue-gaps.yaml")


def show(args: argparse.Namespace) -> int:
    """Print the page."""
    cases = [bound for path in sorted(args.cases.rglob("*.yaml")) for bound in check_case(path)]
    gaps = validate(read(_GAPS), Gaps) if _GAPS.exists() else Gaps()
    sys.stdout.write(page(cases, _results(), gaps))
    return EXIT_PASSED


def add(args: argparse.Namespace) -> int:
    """Take the results of runs into ``docs/catalogue.json``."""
    runs = []
    for path in args.runs:
        result = result_of(judge_run(RunDir(path)))
        runs.append(recorded(result, Path(result.case_file).stem))
    made = _results().with_runs(runs)
    _RESULTS.write_text(made.model_dump_json(indent=1, exclude_defaults=True) + "\n", "utf-8")
    print(f"{_RESULTS}: {len(made.results)} results")
    return EXIT_PASSED


def _results() -> Results:
    if not _RESULTS.exists():
        return Results()
    try:
        return Results.model_validate_json(_RESULTS.read_bytes())
    except ValidationError as error:
        raise InputError(f"{_RESULTS}: {error}") from error
