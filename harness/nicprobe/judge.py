"""Counts in; whether the NIC can be used for failover out. Pure.

A failover needs two things of the NIC. While a driver serves the VF, its frames go to the VF.
While none does, they go to the PF, and by it to the standby, and what the standby sends leaves
by the wire. A NIC that does the second by itself is usable. One that does it only when the host
closes the VF's filter needs a hand-off: a port VLAN that no frame carries
(``harness.lab.handoff``), or, if that does not help, no MAC address at the VF.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from harness.nicprobe.model import (
    Answer,
    Count,
    Flow,
    Judged,
    Nic,
    Outcome,
    Place,
    State,
    Walked,
)

ENOUGH = 0.9
"""This share of the frames, or more, is all of them: a NIC that is busy may drop one."""
NEARLY_NONE = 0.1

_WORST_FIRST = (Outcome.NOT_USABLE, Outcome.CANNOT_TELL, Outcome.HANDOFF, Outcome.USABLE)
_BY_ITSELF = (State.MAC_SET, State.VFIO, State.DRIVER_GONE)
_FENCED = (State.FENCED, State.FENCED_AGAIN)

_Truth = Literal["yes", "no", "unclear"]


def answer(nic: Nic, walks: Sequence[Walked]) -> Answer:
    """Judge every walk; the whole is the worst of them."""
    judged = tuple(judge(walked) for walked in walks)
    found = {one.outcome for one in judged} or {Outcome.CANNOT_TELL}
    worst = next(outcome for outcome in _WORST_FIRST if outcome in found)
    return Answer(nic=nic, outcome=worst, walks=tuple(walks), judged=judged)


def judge(walked: Walked) -> Judged:
    """What one walk means."""
    if walked.problem:
        return _cannot_tell(walked.problem)
    wanted = [(State.NO_MAC, Flow.WIRE_TO_MAC), (State.NO_MAC, Flow.PF_TO_WIRE)]
    wanted += [(state, Flow.WIRE_TO_MAC) for state in (*_BY_ITSELF, State.DRIVER, *_FENCED)]
    for state, flow in wanted:
        if walked.count(state, flow) is None:
            return _cannot_tell(f"no frames were counted {flow}, {state}")
    control = _standby(walked, (State.NO_MAC,))
    if control != "yes":
        return _cannot_tell(
            "the control: without a MAC address at the VF, frames have to pass between the wire "
            f"and the PF; {_told(walked, (State.NO_MAC,))}"
        )
    notes = tuple(_notes(walked))
    primary = _primary(walked)
    if primary != "yes":
        why = f"the driver is up: {_told(walked, (State.DRIVER,))}"
        outcome = Outcome.NOT_USABLE if primary == "no" else Outcome.CANNOT_TELL
        return Judged(outcome=outcome, reasons=(why,), notes=notes)
    by_itself = _standby(walked, _BY_ITSELF)
    lost = f"no driver serves the VF: {_told(walked, _BY_ITSELF)}"
    if by_itself == "yes":
        return Judged(outcome=Outcome.USABLE, reasons=(lost,), notes=notes)
    fenced = _standby(walked, _FENCED)
    fence = f"a port VLAN that no frame carries: {_told(walked, _FENCED)}"
    if fenced == "yes":
        return Judged(
            outcome=Outcome.HANDOFF, handoff="port VLAN", reasons=(lost, fence), notes=notes
        )
    cleared = _standby(walked, (State.CLEARED,))
    clearing = f"no MAC address at the VF: {_told(walked, (State.CLEARED,))}"
    reasons = (lost, fence, clearing)
    if cleared == "yes":
        late = (
            "nothing holds the filter back while a guest's driver starts: what comes from the "
            "wire is lost between setting the MAC address and the driver's being up",
        )
        return Judged(
            outcome=Outcome.HANDOFF, handoff="MAC address", reasons=reasons, notes=(*notes, *late)
        )
    unclear = "unclear" in (by_itself, fenced, cleared)
    outcome = Outcome.CANNOT_TELL if unclear else Outcome.NOT_USABLE
    return Judged(outcome=outcome, reasons=reasons, notes=notes)


def _cannot_tell(why: str) -> Judged:
    return Judged(outcome=Outcome.CANNOT_TELL, reasons=(why,))


def _reached(count: Count | None, place: Place) -> _Truth:
    if count is None or not count.sent:
        return "unclear"
    share = count.share(place)
    return "yes" if share >= ENOUGH else "no" if share <= NEARLY_NONE else "unclear"


def _all(truths: Iterable[_Truth]) -> _Truth:
    found = set(truths)
    return "no" if "no" in found else "unclear" if "unclear" in found else "yes"


def _standby(walked: Walked, states: Sequence[State]) -> _Truth:
    """Whether the standby's path works in all of these states, both ways."""
    return _all(
        _reached(walked.count(state, flow), place)
        for state in states
        for flow, place in ((Flow.WIRE_TO_MAC, Place.PF), (Flow.PF_TO_WIRE, Place.WIRE))
    )


def _primary(walked: Walked) -> _Truth:
    """Whether the VF's path works, both ways."""
    return _all(
        (
            _reached(walked.count(State.DRIVER, Flow.WIRE_TO_MAC), Place.VF),
            _reached(walked.count(State.DRIVER, Flow.VF_TO_WIRE), Place.WIRE),
        )
    )


def _told(walked: Walked, states: Sequence[State]) -> str:
    """The counts that a truth is made of, in words; states with the same counts together."""
    parts: dict[str, list[State]] = {}
    for state in states:
        flows = [Flow.WIRE_TO_MAC, Flow.VF_TO_WIRE if state is State.DRIVER else Flow.PF_TO_WIRE]
        said = [went(count) for flow in flows if (count := walked.count(state, flow))]
        parts.setdefault(", ".join(said) or "nothing was sent", []).append(state)
    return "; ".join(f"{', '.join(alike)}: {said}" for said, alike in parts.items())


def went(count: Count) -> str:
    """Where the frames of a flow went, in words."""
    at = [
        f"{there.numbers} at the {place}"
        + (f" ({there.frames} with copies)" if there.frames > there.numbers else "")
        for place, there in sorted(count.arrived.items())
        if there.numbers
    ]
    return f"of {count.sent} {count.flow} {' and '.join(at) or 'none arrived'}"


def _notes(walked: Walked) -> Iterable[str]:
    driver = walked.count(State.DRIVER, Flow.WIRE_TO_MAC)
    if driver and driver.share(Place.PF) > NEARLY_NONE:
        yield "the driver is up and the PF gets a copy of what the VF gets"
    inside = walked.count(State.DRIVER, Flow.PF_TO_MAC)
    if inside and inside.share(Place.VF) < ENOUGH:
        yield f"the host does not reach the VF by its PF: {went(inside)}"
