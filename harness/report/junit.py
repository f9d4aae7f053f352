"""JUnit XML: a test suite per run, a test case per finding.

A failed expectation is a `failure`; one that cannot be told is an `error`, so that no
tool counts it as passed.

Neighbours: renders a ``Result``; decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from harness.report.result import Result
from harness.verdict import Outcome

# Characters that XML 1.0 cannot carry, not even as references.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(results: Sequence[Result]) -> str:
    """The runs as one JUnit XML document."""
    root = ElementTree.Element("testsuites")
    for result in results:
        outcomes = [finding.outcome for finding in result.findings]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_clean(f"{result.claim} [{result.variant}]"),
            tests=str(len(outcomes)),
            failures=str(outcomes.count(Outcome.FAILED)),
            errors=str(outcomes.count(Outcome.CANNOT_TELL)),
            skipped="0",
            timestamp=_clean(result.started),
        )
        for finding in result.findings:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=_clean(f"{result.case_file}.{result.variant}"),
                name=_clean(f"{finding.expectation} ({finding.path})"),
            )
            if finding.outcome is Outcome.PASSED:
                continue
            tag = "failure" if finding.outcome is Outcome.FAILED else "error"
            element = ElementTree.SubElement(
                case, tag, type=finding.outcome.value, message=_clean(finding.reason)
            )
            element.text = _clean(f"{finding.place}\n{finding.reason}".strip())
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
