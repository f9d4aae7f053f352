"""JUnit XML of a matrix: a test case per cell.

A known failure and an excluded cell are `skipped`, with the reason; a lab that broke and
what cannot be told are an `error`, so that no tool counts them as passed. The expectations
of one cell are in the ``junit.xml`` of its run directory.

Neighbours: renders a ``MatrixResult``; decides nothing.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from harness.matrix.result import CellOutcome, CellResult, MatrixResult

# Characters that XML 1.0 cannot carry, not even as references.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_TAG = {
    CellOutcome.FAILED: "failure",
    CellOutcome.PASSED_UNEXPECTEDLY: "failure",
    CellOutcome.CANNOT_TELL: "error",
    CellOutcome.LAB_BROKE: "error",
    CellOutcome.WRONG_INPUT: "error",
    CellOutcome.FAILED_AS_KNOWN: "skipped",
}


def matrix_junit(result: MatrixResult) -> str:
    """The cells as one JUnit XML document."""
    tags = [_TAG.get(cell.outcome, "") for cell in result.cells]
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_clean(f"{result.claim} [{result.matrix_file}]"),
        tests=str(len(result.cells) + len(result.not_run) + len(result.excluded)),
        failures=str(tags.count("failure")),
        errors=str(tags.count("error") + len(result.not_run)),
        skipped=str(tags.count("skipped") + len(result.excluded)),
        time=f"{sum(cell.duration_s for cell in result.cells):.1f}",
    )
    for cell, tag in zip(result.cells, tags, strict=True):
        _cell(suite, result, cell, tag)
    for name in result.not_run:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_clean(result.case_file), name=_clean(name), time="0"
        )
        ElementTree.SubElement(case, "error", type="not run", message="interrupted")
    for one in result.excluded:
        name = f"{one.variant or '*'}[{one.cell}]"
        case = ElementTree.SubElement(
            suite, "testcase", classname=_clean(result.case_file), name=_clean(name), time="0"
        )
        ElementTree.SubElement(case, "skipped", message=_clean(f"excluded: {one.reason}"))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _cell(suite: ElementTree.Element, result: MatrixResult, cell: CellResult, tag: str) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_clean(result.case_file),
        name=_clean(cell.id),
        time=f"{cell.duration_s:.1f}",
    )
    if tag:
        message = cell.known if tag == "skipped" else cell.first or cell.reason
        element = ElementTree.SubElement(
            case, tag, type=cell.outcome.value, message=_clean(message)
        )
        element.text = _clean(f"{cell.reason}\nrun directory: {cell.run_directory}")


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
