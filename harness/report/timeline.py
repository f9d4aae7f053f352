"""All facts of a run on one clock, for reading: when, how sure, who, what.

The order of the lines is that of the nominal times; two facts whose errors overlap may
have happened the other way round.

Neighbours: prints the moments of ``harness.verdict.moments``; decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.observe import (
    Accelerator,
    Fact,
    GuestClock,
    HostEvent,
    LinkEvent,
    Note,
    QmpEvent,
    Snapshot,
    StepFact,
    StreamFact,
)
from harness.verdict import Evidence
from harness.verdict.links import describe
from harness.verdict.moments import seconds


def timeline(evidence: Evidence) -> str:
    """One line per fact, without the readings of the guests' clocks."""
    lines = []
    for moment in evidence.moments:
        fact = moment.fact
        if isinstance(fact, GuestClock):
            continue
        error = f"±{fact.err_ns / 1e6:.3f}ms" if fact.err_ns else ""
        who, what = _told(fact)
        when = seconds(fact.t_ns, evidence.zero_ns)
        lines.append(f"{when:>12} {error:>12}  {who:<22} {what}".rstrip())
    return "\n".join(lines) + "\n"


def _told(fact: Fact) -> tuple[str, str]:
    """Who says it, and what."""
    if isinstance(fact, QmpEvent):
        who = f"{fact.role or 'QEMU'} {fact.guest}@{fact.host}"
        return who, " ".join(part for part in (fact.name, _data(fact.data)) if part)
    if isinstance(fact, LinkEvent):
        return f"guest {fact.guest}", f"link {fact.event}: {describe(fact.link)}"
    if isinstance(fact, Snapshot):
        links = "; ".join(describe(link) for link in fact.links) or "no netdevs"
        return f"guest {fact.guest}", f"snapshot {fact.moment}: {links}"
    if isinstance(fact, HostEvent):
        parts = (fact.event, fact.device, fact.guest and f"of {fact.guest}", _data(fact.data))
        return f"host {fact.host}", " ".join(part for part in parts if part)
    if isinstance(fact, StepFact):
        return "harness", " ".join(
            part for part in ("step", fact.step, fact.phase, fact.outcome) if part
        )
    if isinstance(fact, StreamFact):
        state = "complete" if fact.complete else f"incomplete: {fact.problem}"
        return "harness", f"stream {fact.stream} {fact.sender} to {fact.receiver}, {state}"
    if isinstance(fact, Accelerator):
        return f"machine {fact.machine}", f"accelerator {fact.accelerator} ({fact.evidence})"
    if isinstance(fact, Note):
        return "harness", fact.text
    return f"guest {fact.guest}", f"clock {fact.guest_ns}"


def _data(data: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in data.items()
    )
