"""A gate's decision for people: for a terminal, and as Markdown for a merge request.

Neighbours: renders a ``Decision``; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare.decide import Decision
from harness.compare.endpoints import Compared, Difference
from harness.compare.invariants import Violation
from harness.report.table import UNKNOWN, table

_HEAD = (
    "endpoint", "runs", "baseline", "candidate", "shift", "interval", "margin", "unit", "verdict",
)  # fmt: skip
_SHOWN = ("shown only", "runs", "baseline", "candidate", "shift", "largest", "unit")
_FAILED = ("finding", "baseline failed", "candidate failed", "runs", "stands")


def render(decision: Decision, title: str) -> str:
    """The decision for a terminal, ending in a newline."""
    lines = [*_head(decision, title), ""]
    lines += table([_HEAD, *_judged(decision)])
    if shown := _shown(decision):
        lines += ["", *table([_SHOWN, *shown])]
    if failed := _failed(decision.violations):
        lines += ["", *table([_FAILED, *failed])]
    return "\n".join([*lines, "", *_foot(decision)]) + "\n"


def markdown(decision: Decision, title: str) -> str:
    """The decision as Markdown."""
    first, *rest = _head(decision, title)
    parts = [[f"**{_escape(first)}**"], [f"* {_escape(line.strip())}" for line in rest]]
    parts.append(_markdown_table(_HEAD, _judged(decision)))
    if shown := _shown(decision):
        parts.append(_markdown_table(_SHOWN, shown))
    if failed := _failed(decision.violations):
        parts.append(_markdown_table(_FAILED, failed))
    parts.append([_escape(line) for line in _foot(decision)])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _head(decision: Decision, title: str) -> list[str]:
    lines = [f"{title}: {decision.outcome.value}"]
    lines += [f"  {reason}" for reason in decision.reasons]
    lines += [f"  a trade: {trade}" for trade in decision.trades]
    return lines


def _foot(decision: Decision) -> list[str]:
    trouble = sum(decision.trouble.values())
    counted = f"{decision.baseline_runs} runs of the baseline, {decision.candidate_runs} of the "
    lines = [f"{counted}candidate; stopped: {decision.stopped}"]
    if trouble:
        by_side = ", ".join(f"{count} {side}" for side, count in decision.trouble.items() if count)
        lines.append(f"runs that did not count: {by_side}")
    lines.append("baseline and candidate are the medians of their runs; the shift is of two runs")
    if decision.level is not None:
        lines.append(
            f"each interval covers at least {100 * (1 - 2 * decision.level):.4g}% at this look; "
            f"in the whole gate each wrong claim has a chance of at most {100 * decision.error:g}%"
        )
    return lines


def _judged(decision: Decision) -> list[tuple[str, ...]]:
    return [
        (
            one.name,
            _runs(one),
            _number(one.baseline_median),
            _number(one.candidate_median),
            _signed(one.shift),
            _interval(one),
            _number(one.margin),
            one.unit,
            _verdict(one),
        )
        for one in decision.endpoints
        if one.verdict is not None
    ]


def _shown(decision: Decision) -> list[tuple[str, ...]]:
    return [
        (
            one.name,
            _runs(one),
            _number(one.baseline_median),
            _number(one.candidate_median),
            _signed(one.shift),
            f"{_largest(one.baseline)}, {_largest(one.candidate)}",
            one.unit,
        )
        for one in decision.endpoints
        if one.verdict is None
    ]


def _failed(found: Sequence[Violation]) -> list[tuple[str, ...]]:
    return [
        (
            one.finding,
            f"{one.baseline_failed} of {one.baseline_runs}",
            f"{one.candidate_failed} of {one.candidate_runs}",
            ", ".join(map(str, one.in_runs)),
            one.standing.value,
        )
        for one in found
    ]


def _verdict(one: Compared) -> str:
    words = one.verdict.value if one.verdict else ""
    if one.difference is not Difference.NONE:
        words += f" ({one.difference.value})"
    return f"{words}: {one.note}" if one.note else words


def _runs(one: Compared) -> str:
    return f"{len(one.baseline)} + {len(one.candidate)}"


def _interval(one: Compared) -> str:
    if one.low is None and one.high is None:
        return UNKNOWN
    return f"{_signed(one.low)} to {_signed(one.high)}"


def _largest(values: Sequence[float]) -> str:
    return _number(max(values, default=None))


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.6g}"


def _signed(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:+.4g}" if value else "0"


def _markdown_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    every = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(_escape(text) for text in row) + " |" for row in every]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("*", "\\*")
