"""Where the seconds of a run went: every step, what it waited for, and the critical path.

Neighbours: ``harness.record`` keeps the timings, the CLI shows them. No verdict uses them.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.record import StepTiming, Timings
from harness.report.table import table


def critical_path(steps: Sequence[StepTiming]) -> tuple[StepTiming, ...]:
    """The chain of steps that the whole time consisted of, first to last.

    From the step that ended last, back through the one of those it waited for that ended last.
    """
    by_name = {step.name: step for step in steps}
    at = max(steps, key=lambda step: step.end_s, default=None)
    path: list[StepTiming] = []
    while at is not None and at not in path:
        path.append(at)
        at = _awaited(at, by_name)
    return tuple(reversed(path))


def _awaited(step: StepTiming, by_name: dict[str, StepTiming]) -> StepTiming | None:
    """The step whose end let this one begin."""
    before = [by_name[name] for name in step.after if name in by_name]
    return max(before, key=lambda one: one.end_s, default=None)


def render_timings(timings: Timings) -> str:
    """All steps in the order in which they began, and the critical path (``*``)."""
    steps = sorted(timings.steps, key=lambda step: (step.begin_s, step.end_s))
    if not steps:
        return "Timings: no step has ended"
    path = critical_path(steps)
    by_name = {step.name: step for step in steps}
    rows: list[tuple[str, ...]] = [("", "begin", "end", "seconds", "step", "waited for")]
    for step in steps:
        awaited = _awaited(step, by_name)
        rows.append(
            (
                "*" if step in path else "",
                f"{step.begin_s:7.2f}",
                f"{step.end_s:7.2f}",
                f"{step.end_s - step.begin_s:7.2f}",
                step.name + (" (failed)" if step.failed else ""),
                awaited.name if awaited else "-",
            )
        )
    lines = ["Timings, in seconds since the harness began; * is on the critical path", *table(rows)]
    lines.append(f"Critical path: {path[-1].end_s:.1f} s")
    end = 0.0
    for step in path:
        if step.begin_s - end >= _GAP_S:
            lines.append(f"  {step.begin_s - end:6.1f} s  (between steps)")
        lines.append(f"  {step.end_s - step.begin_s:6.1f} s  {step.name}")
        end = step.end_s
    return "\n".join(lines)


_GAP_S = 0.05
"""Less than this between two steps is not worth a line."""
