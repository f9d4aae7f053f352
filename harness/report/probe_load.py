"""What the measuring program (labprobe) cost each guest: beside the figures, because a probe that
takes the guest's processor is itself a reason for what it measures.

The processor's share is that between two readings while every stream flowed, by the guest's
own clock; it holds what the program did in user space and in the kernel, not the interrupts
that brought it its packets. Where the guest's processor is an emulated one, it holds the
time that the emulator was not running too.

Neighbours: ``result`` holds it, ``text`` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pydantic import Field

from harness.observe import ProbeLoad
from harness.report.attributed import Part
from harness.report.table import UNKNOWN
from harness.verdict import Evidence


class ProbeLoadResult(Part):
    """The probe of one guest. Null where it was not asked, did not answer, or started anew."""

    guest: str
    flowing_s: float | None = Field(
        None, description="time of the guest's clock in which every stream flowed"
    )
    flowing_cpu_s: float | None = Field(None, description="processor time in that time")
    cpu_s: float = Field(description="processor time from its start to the last reading")
    peak_octets: int = Field(description="largest resident memory")
    sent_octets: int = Field(description="over its channel, records of streams included")
    received_octets: int


def probe_loads(evidence: Evidence) -> tuple[ProbeLoadResult, ...]:
    """Of every guest whose probe said something."""
    loads = [fact for fact in evidence.facts if isinstance(fact, ProbeLoad)]
    return tuple(
        _of([fact for fact in loads if fact.guest == guest])
        for guest in dict.fromkeys(fact.guest for fact in loads)
    )


def _of(loads: Sequence[ProbeLoad]) -> ProbeLoadResult:
    last = loads[-1]
    found = ProbeLoadResult(
        guest=last.guest,
        cpu_s=last.cpu_ns / 1e9,
        peak_octets=last.peak_octets,
        sent_octets=last.sent_octets,
        received_octets=last.received_octets,
    )
    by_moment = {fact.moment: fact for fact in loads}
    begin, end = by_moment.get("traffic-flows"), by_moment.get("traffic-ends")
    anew = any(late.cpu_ns < early.cpu_ns for early, late in pairwise(loads))
    if begin is None or end is None or anew or end.guest_ns <= begin.guest_ns:
        return found
    return found.model_copy(
        update={
            "flowing_s": (end.guest_ns - begin.guest_ns) / 1e9,
            "flowing_cpu_s": (end.cpu_ns - begin.cpu_ns) / 1e9,
        }
    )


def probe_load_lines(loads: Sequence[ProbeLoadResult]) -> list[str]:
    """A block of the report for people; empty when nothing is known."""
    return ["Load of the probe", *_lines(loads)] if loads else []


def _lines(loads: Sequence[ProbeLoadResult]) -> Iterator[str]:
    for one in loads:
        share = f"{UNKNOWN}% of a processor while the traffic flowed"
        if one.flowing_s is not None and one.flowing_cpu_s is not None:
            share = (
                f"{one.flowing_cpu_s / one.flowing_s * 100:.1f}% of a processor while the traffic "
                f"flowed ({one.flowing_cpu_s:.2f}s of {one.flowing_s:.2f}s)"
            )
        yield (
            f"  the probe in {one.guest} used {share}, {one.peak_octets / 2**20:.1f}MiB, "
            f"{(one.sent_octets + one.received_octets) / 2**10:.1f}KiB over its channel"
        )
