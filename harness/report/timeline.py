"""All facts of a run on one clock, for reading: when, how sure, who, what; with the borders
of the phases and the loss periods that follow from them.

The order of the lines is that of the nominal times; two facts whose errors overlap may
have happened the other way round.

Neighbours: prints the moments of ``harness.verdict.moments``; decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from harness.verdict.attribution import attribution_of, label
from harness.verdict.links import describe
from harness.verdict.moments import seconds
from harness.verdict.phases import phases_of


def timeline(evidence: Evidence) -> str:
    """One line per fact (without the readings of the guests' clocks), per border of a phase
    and per loss period."""
    lines = [
        (moment.t_ns, 1, _line(evidence, moment.t_ns, moment.fact.err_ns, *_told(moment.fact)))
        for moment in evidence.moments
        if not isinstance(moment.fact, GuestClock)
    ]
    lines += [*_phases(evidence), *_losses(evidence)]
    # What follows from a fact stands behind it.
    return "\n".join(line for *_, line in sorted(lines, key=lambda one: one[:2])) + "\n"


def _line(evidence: Evidence, t_ns: int, err_ns: int, who: str, what: str) -> str:
    error = f"±{err_ns / 1e6:.3f}ms" if err_ns else ""
    return f"{seconds(t_ns, evidence.zero_ns):>12} {error:>12}  {who:<22} {what}".rstrip()


def _phases(evidence: Evidence) -> Iterator[tuple[int, int, str]]:
    """The borders of the phases whose events were recorded; a word on the others."""
    found = phases_of(evidence)
    several = len({phase.migration for phase in found.found}) > 1
    for phase in found.found:
        border = phase.begin
        if border is None:
            continue
        name = label(phase, several)
        t_ns, err_ns = (border.lo_ns + border.hi_ns) // 2, (border.hi_ns - border.lo_ns) // 2
        what = f"{name} begins ({border.event})"
        if not border.seen:
            t_ns, err_ns = border.lo_ns, 0
            what = f"{name} begins here or later: {border.event} has no known time"
        if found.problem:
            what += f"; {found.problem}"
        yield t_ns, 2, _line(evidence, t_ns, err_ns, "phase", what)


def _losses(evidence: Evidence) -> Iterator[tuple[int, int, str]]:
    """The loss periods of the streams, at the send of their first packet."""
    for name in evidence.bound.traffic:
        found = attribution_of(evidence, name)
        if isinstance(found, str):
            continue
        for period in found.periods:
            why = "; ".join(f"{share.packets} {share.what}" for share in period.causes)
            what = (
                f"lost {period.length} packets until {seconds(period.to_ns, evidence.zero_ns)}: "
                f"{why}"
            )
            who = f"stream {name}"
            yield (
                period.from_ns, 3, _line(evidence, period.from_ns, period.err_ns, who, what)
            )  # fmt: skip
        if found.left_out:
            end = max(period.from_ns for period in found.periods)
            what = f"and {found.left_out} shorter loss periods that are not listed"
            yield end, 4, _line(evidence, end, 0, f"stream {name}", what)


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
