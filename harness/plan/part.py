"""A part of a plan: what has to be done for some of its steps, and nothing else. Pure."""

from __future__ import annotations

from dataclasses import replace

from harness.plan.model import Plan


def up_to(plan: Plan, *last: str) -> Plan:
    """The plan with only the steps ``last`` and what they need."""
    needs = {step.id: step.needs for step in plan.steps}
    wanted: set[str] = set()
    waiting = list(last)
    while waiting:
        step = waiting.pop()
        wanted.add(step)
        waiting += needs[step]
    return replace(plan, steps=tuple(step for step in plan.steps if step.id in wanted))
