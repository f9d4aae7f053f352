"""JUnit XML of a gate: a test case for each endpoint, and one for each finding that failed.

Worse is a `failure`; what is not shown is an `error`, so that no tool counts it as passed. What
fails in both builds is `skipped`, with the reason. The first test case is the gate itself.

Neighbours: renders a ``Decision``; decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from harness.compare.decide import Decision, GateOutcome
from harness.compare.endpoints import Compared, EndpointVerdict
from harness.compare.invariants import Standing, Violation

# Characters that XML 1.0 cannot carry, not even as references.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_OF_OUTCOME = {
    GateOutcome.WORSE: "failure",
    GateOutcome.INCONCLUSIVE: "error",
    GateOutcome.LAB_BROKE: "error",
}
_OF_VERDICT = {EndpointVerdict.WORSE: "failure", EndpointVerdict.INCONCLUSIVE: "error"}
_OF_STANDING = {
    Standing.CONFIRMED: "failure",
    Standing.PENDING: "error",
    Standing.MORE_OFTEN: "error",
    Standing.UNTOLD: "error",
}

_Row = tuple[str, str, str, str]


def junit(gates: Sequence[tuple[str, Decision]]) -> str:
    """The decisions, each with its title, as one JUnit XML document."""
    root = ElementTree.Element("testsuites")
    for title, decision in gates:
        _suite(root, _clean(title), decision)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(root: ElementTree.Element, title: str, decision: Decision) -> None:
    rows = [("gate", _OF_OUTCOME.get(decision.outcome, ""), decision.outcome.value, _why(decision))]
    rows += [row for one in decision.endpoints for row in _endpoint(one)]
    rows += [_violation(one) for one in decision.violations]
    tags = [tag for _, tag, _, _ in rows]
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=title,
        tests=str(len(rows)),
        failures=str(tags.count("failure")),
        errors=str(tags.count("error")),
        skipped=str(tags.count("skipped")),
    )
    for name, tag, kind, message in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=title, name=_clean(name))
        if tag:
            told = ElementTree.SubElement(case, tag, type=kind, message=_clean(message))
            told.text = _clean(message)


def _why(decision: Decision) -> str:
    return "\n".join((*decision.reasons, *decision.trades))


def _endpoint(one: Compared) -> Iterator[_Row]:
    if one.verdict is None:
        return
    figures = f"shift {one.shift} {one.unit}, from {one.low} to {one.high}, margin {one.margin:g}"
    tag = _OF_VERDICT.get(one.verdict, "")
    yield one.name, tag, one.verdict.value, f"{figures}; {one.note}" if one.note else figures


def _violation(one: Violation) -> _Row:
    counts = (
        f"{one.standing.value}: failed in {one.candidate_failed} of {one.candidate_runs} runs of "
        f"the candidate, {one.baseline_failed} of {one.baseline_runs} of the baseline"
    )
    return one.finding, _OF_STANDING.get(one.standing, "skipped"), one.standing.value, counts


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
