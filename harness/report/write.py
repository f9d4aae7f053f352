"""Put the reports of a judged run into its directory.

Neighbours: ``harness.record`` writes the files whole; ``result``, ``text`` and ``junit``
say what is in them.
"""

from __future__ import annotations

from harness.record import RunDir
from harness.report.junit import junit
from harness.report.result import Result
from harness.report.text import render


def write_reports(run_dir: RunDir, result: Result) -> None:
    """Write ``report.txt``, ``junit.xml`` and, last, ``result.json``.

    The text carries no path of this machine, so that a report written elsewhere is the same.
    """
    run_dir.write(RunDir.REPORT, render(result))
    run_dir.write(RunDir.JUNIT, junit([result]))
    run_dir.write(RunDir.RESULT, result.to_json())
