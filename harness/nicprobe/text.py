"""An answer as text: the verdict, why, and the counts as tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from harness.nicprobe.model import Answer, Count, Flow, Judged, Outcome, Place, State, Walked

_HANDOFFS = {
    "port VLAN": "hand-off: a port VLAN that no frame carries, until the driver is there",
    "MAC address": "hand-off: clear the VF's MAC address when its driver goes",
}
_PLACES = (Place.PF, Place.VF, Place.WIRE)


def render(answer: Answer) -> str:
    """All of an answer, for people."""
    return "\n".join(_lines(answer)) + "\n"


def _lines(answer: Answer) -> Iterator[str]:
    nic = answer.nic
    yield (
        f"{nic.machine}: {nic.pf} ({nic.pci}, {nic.driver}), VF {nic.vf} ({nic.vf_pci}, "
        f"{nic.vf_driver or 'driver not known'}), MAC {nic.mac}, wire: {nic.peer or 'none given'}"
    )
    yield f"verdict: {answer.outcome}"
    for walked, judged in zip(answer.walks, answer.judged, strict=True):
        yield ""
        yield from _walk(walked, judged)


def _walk(walked: Walked, judged: Judged) -> Iterator[str]:
    yield f"{walked.title}: {judged.outcome}"
    if judged.handoff:
        yield f"  {_HANDOFFS[judged.handoff]}"
    label = "why" if judged.outcome is not Outcome.USABLE else "seen"
    for reason in judged.reasons:
        yield f"  {label}: {reason}"
    for note in judged.notes:
        yield f"  note: {note}"
    if walked.counts:
        yield from _table(walked)


def _table(walked: Walked) -> Iterator[str]:
    flows = [flow for flow in Flow if any(one.flow is flow for one in walked.counts)]
    rows = [["", *(str(flow) for flow in flows)]]
    for state in State:
        cells = [_cell(walked.count(state, flow)) for flow in flows]
        if any(cells):
            rows.append([str(state), *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield ("  " + "  ".join(cells)).rstrip()


def _cell(count: Count | None) -> str:
    """Of how many frames how many were seen where: ``PF 20/20``, ``lost 0/20``."""
    if count is None:
        return ""
    if not count.sent:
        return "not sent"
    seen = [
        f"{place} {there.numbers}/{count.sent}"
        + (f" ({there.frames} frames)" if there.frames > there.numbers else "")
        for place in _PLACES
        if (there := count.arrived.get(place)) and there.numbers
    ]
    return " ".join(seen) or f"lost {count.sent}/{count.sent}"
