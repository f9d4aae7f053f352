"""When things happened, and what is known of their order.

A fact's true time lies in ``t_ns`` +- ``err_ns``. What one process reported, it reported
in order: the events of one QEMU, and what one machine's bridges learned, are ordered by
their place in the record, those of one guest's kernel by the guest's own clock, the messages
of one kernel by their numbers, all exactly. That narrows the intervals: an event cannot have
happened before one that its own process reported earlier.

A process whose record contradicts itself (a guest's clock that ran backwards, intervals
that exclude each other) is ``broken``: nothing is said about the order of its events.

Neighbours: ``order``, ``netdevs`` and ``migrations`` compare moments; ``harness.report``
prints them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from harness.observe import Fact, GuestBoot, HostEvent, KernelMessage, LinkEvent, QmpEvent

FDB_EVENTS = ("fdb-learned", "fdb-moved", "fdb-removed", "fdb-lost")
"""What the kernel of one machine announces of its bridges' entries, in order."""


class Known(Enum):
    """What is known about the order of two moments."""

    BEFORE = "before"
    AFTER = "after"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Moment:
    """A fact with the narrowed interval ``lo_ns``..``hi_ns`` of its time.

    ``process`` names who reported it in order ("" if nobody did), ``rank`` its place there.
    """

    fact: Fact
    process: str
    rank: int
    lo_ns: int
    hi_ns: int
    broken: bool = False
    life: int = 0
    """How many times the guest that tells it had been reset before."""

    @property
    def t_ns(self) -> int:
        return self.fact.t_ns


def compare(one: Moment, other: Moment) -> Known:
    """Whether ``one`` happened before ``other``, after it, or nobody can know."""
    if one.broken or other.broken:
        return Known.UNKNOWN
    if one.process and one.process == other.process:
        if one.rank == other.rank:
            return Known.UNKNOWN
        return Known.BEFORE if one.rank < other.rank else Known.AFTER
    if one.hi_ns < other.lo_ns:
        return Known.BEFORE
    if other.hi_ns < one.lo_ns:
        return Known.AFTER
    return Known.UNKNOWN


def _process(fact: Fact) -> str:
    if isinstance(fact, QmpEvent):
        return f"QEMU of {fact.guest} on {fact.host}"
    if isinstance(fact, LinkEvent):
        return f"kernel of {fact.guest}"
    if isinstance(fact, HostEvent) and fact.event in FDB_EVENTS:
        return f"bridges of {fact.host}"
    if isinstance(fact, KernelMessage):  # numbered by the kernel; its netlink is not
        return f"kernel's log of {fact.guest or fact.host}"
    return ""


def _narrowed(process: str, facts: list[Fact], life: int) -> list[Moment]:
    """Moments of one process's facts, which are in the order of the record."""
    broken = any(
        isinstance(early, LinkEvent)
        and isinstance(late, LinkEvent)
        and late.guest_ns < early.guest_ns
        for early, late in pairwise(facts)
    )
    lows: list[int] = []
    for fact in facts:
        low = fact.t_ns - fact.err_ns
        lows.append(max(low, lows[-1]) if lows else low)
    highs: list[int] = []
    for fact in reversed(facts):
        high = fact.t_ns + fact.err_ns
        highs.append(min(high, highs[-1]) if highs else high)
    highs.reverse()
    broken = broken or any(low > high for low, high in zip(lows, highs, strict=True))
    return [
        Moment(fact, process, rank, low, high, broken, life)
        for rank, (fact, low, high) in enumerate(zip(facts, lows, highs, strict=True))
    ]


def moments_of(facts: Iterable[Fact]) -> tuple[Moment, ...]:
    """Every fact as a moment, by nominal time (ties in the order of the record)."""
    by_process: dict[tuple[str, int], list[Fact]] = defaultdict(list)
    alone: list[Moment] = []
    lives: dict[str, int] = defaultdict(int)
    for fact in facts:
        if isinstance(fact, GuestBoot):  # a new kernel: its clock and its numbers begin again
            lives[fact.guest] += 1
        if process := _process(fact):
            guest = fact.guest if isinstance(fact, LinkEvent | KernelMessage) else ""
            by_process[process, lives[guest]].append(fact)
        else:
            low, high = fact.t_ns - fact.err_ns, fact.t_ns + fact.err_ns
            alone.append(Moment(fact, "", 0, low, high))
    for (process, life), members in by_process.items():
        alone += _narrowed(f"{process} after reset {life}" if life else process, members, life)
    return tuple(sorted(alone, key=lambda moment: (moment.t_ns, moment.rank)))


def seconds(t_ns: int, zero_ns: int) -> str:
    """A time as a reader sees it: seconds since the run's first fact."""
    return f"{(t_ns - zero_ns) / 1e9:+.3f}s"


def when(moment: Moment, zero_ns: int) -> str:
    """A moment's time with the half-width of its error, where there is one."""
    error = moment.fact.err_ns
    tail = f"±{error / 1e6:.1f}ms" if error else ""
    return seconds(moment.t_ns, zero_ns) + tail
