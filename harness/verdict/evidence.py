"""Everything a verdict is made from, already read: no file and no lab is touched here.

Neighbours: put together by ``harness.report.judging`` from a run directory; the judging
modules of this room read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.case import BoundCase
from harness.measure import StreamMetrics
from harness.measure.trace import Ints
from harness.observe import (
    Fact,
    GuestBoot,
    HostEvent,
    LinkEvent,
    PathFact,
    QmpEvent,
    Snapshot,
    StepFact,
    StreamFact,
    TcpFact,
)
from harness.traffic.tcprecord import TcpRecord
from harness.verdict.moments import Moment, moments_of, when
from harness.versions import QemuWords


@dataclass(frozen=True, slots=True)
class Pair:
    """A failover pair: its ids in QEMU and the MAC address they share."""

    guest: str
    standby: str
    primary: str | None
    mac: str


@dataclass(frozen=True, slots=True)
class MeasuredStream:
    """One stream's record: its facts and metrics, or why there are none.

    ``problem`` says why the metrics cannot be had or not be trusted (a record missing, cut
    off or contradicting itself, capture drops), empty when they can.
    """

    name: str
    fact: StreamFact | None
    metrics: StreamMetrics | None
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SeenAt:
    """The numbers of a stream seen at one role's taps on one host; ``problem`` says why they
    cannot be had (the record is missing, cut off or damaged)."""

    fact: PathFact
    seq: Ints
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Stall:
    """A time without a receipt at a TCP stream's receiver, on the run's clock (ns).

    It began in ``from_lo``..``from_hi`` and ended in ``to_lo``..``to_hi``. ``least_ns`` is the
    length that the receiver measured itself; 0 where it saw none, because its guest was
    stopped and the guest's clock with it. Of the whole, up to ``own_ns`` may be a pause of the
    sender that it does not tell of; it is not longer than ``most_ns`` (None: no end is known).
    In ``stops`` one of the two guests was certainly stopped.
    """

    from_lo: int
    from_hi: int
    to_lo: int
    to_hi: int
    least_ns: int
    own_ns: int
    most_ns: int | None = None
    stops: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MeasuredTcp:
    """One TCP stream: the accounts of both ends and the stalls, or the ``problem`` with them.

    ``flowing_ns`` to ``ended_ns``: when there was something to send, as far as is certain.
    ``unexplained_ns``: by how much the sender stayed behind its rate without a stall.
    """

    name: str
    fact: TcpFact | None
    sender: TcpRecord | None = None
    sink: TcpRecord | None = None
    stalls: tuple[Stall, ...] = ()
    flowing_ns: int = 0
    ended_ns: int = 0
    unexplained_ns: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Migration:
    """One `migrate` step as the record shows it, with the events that belong to it.

    It lasts from the step's begin to the begin of the same guest's next migration.
    """

    guest: str
    step: str
    begin_ns: int
    end_ns: int | None

    def holds(self, moment: Moment) -> bool:
        """Whether the moment lies in this migration (certainly, but for QMP events).

        A QEMU speaks of a migration because this step told it to, so what it says belongs
        to the step that was going on, however large the error of its time.
        """
        if isinstance(moment.fact, QmpEvent):
            return self._spans(moment.t_ns, moment.t_ns)
        return self._spans(moment.lo_ns, moment.hi_ns)

    def touches(self, moment: Moment) -> bool:
        """Whether the moment may lie in this migration, or outside of it."""
        if isinstance(moment.fact, QmpEvent) or self.holds(moment):
            return False
        return moment.hi_ns >= self.begin_ns and (self.end_ns is None or moment.lo_ns < self.end_ns)

    def _spans(self, low: int, high: int) -> bool:
        return low >= self.begin_ns and (self.end_ns is None or high < self.end_ns)


@dataclass(frozen=True)
class Evidence:
    """The case as bound to its topology, and all that was recorded of its run.

    ``qemu_versions`` maps (guest, host) to the QEMU version there, as QEMU says it,
    ``qemu_words`` to what that QEMU says it knows (nothing in an older record).
    """

    bound: BoundCase
    facts: tuple[Fact, ...]
    pairs: tuple[Pair, ...]
    qemu_versions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    streams: Mapping[str, MeasuredStream] = field(default_factory=dict)
    tcp: Mapping[str, MeasuredTcp] = field(default_factory=dict)
    seen: tuple[SeenAt, ...] = ()
    qemu_words: Mapping[tuple[str, str], QemuWords] = field(default_factory=dict)

    @cached_property
    def paths(self) -> dict[str, Any]:
        """What ``paths`` has made of the streams so far, by name."""
        return {}

    @cached_property
    def attributions(self) -> dict[str, Any]:
        """What ``attribution`` has made of the streams so far, by name."""
        return {}

    @cached_property
    def zero_ns(self) -> int:
        """The earliest time in the record; reports count from it."""
        return min((fact.t_ns for fact in self.facts), default=0)

    @cached_property
    def moments(self) -> tuple[Moment, ...]:
        return moments_of(self.facts)

    @cached_property
    def migrations(self) -> tuple[Migration, ...]:
        """The `migrate` steps that began, in their order; not those that QEMU was to refuse."""
        begun: list[tuple[str, StepFact]] = []
        for one in self.bound.placed:
            if one.step.migrate is None or one.step.migrate.ends == "refused":
                continue
            for fact in self.steps:
                if fact.step == one.label and fact.phase == "begin":
                    begun.append((one.step.migrate.guest, fact))
                    break
        found = []
        for position, (guest, fact) in enumerate(begun):
            later = [other.t_ns for name, other in begun[position + 1 :] if name == guest]
            found.append(Migration(guest, fact.step, fact.t_ns, later[0] if later else None))
        return tuple(found)

    @cached_property
    def steps(self) -> tuple[StepFact, ...]:
        return tuple(fact for fact in self.facts if isinstance(fact, StepFact))

    def qmp(self, guest: str, role: str = "") -> tuple[Moment, ...]:
        """QMP events of a guest's QEMUs, of one role or of all, in the order of time."""
        return tuple(
            moment
            for moment in self.moments
            if isinstance(moment.fact, QmpEvent)
            and moment.fact.guest == guest
            and (not role or moment.fact.role == role)
        )

    def links(self, guest: str) -> tuple[Moment, ...]:
        """The guest's link events in the order in which its kernel sent them."""
        found = [
            moment
            for moment in self.moments
            if isinstance(moment.fact, LinkEvent) and moment.fact.guest == guest
        ]
        return tuple(sorted(found, key=lambda moment: (moment.life, moment.rank)))

    def beginning(self, guest: str, at_ns: int) -> tuple[Snapshot | None, tuple[Moment, ...]]:
        """The netdevs from which the guest's link events lead to those at ``at_ns``, and all
        events of that life of the guest: from its last reset before then, or the start."""
        life, known = 0, self.snapshot(guest, "start")
        for fact in self.facts:
            if isinstance(fact, GuestBoot) and fact.guest == guest and fact.t_ns <= at_ns:
                life, known = life + 1, None
            elif isinstance(fact, Snapshot) and fact.guest == guest and fact.moment == "boot":
                known = fact if fact.t_ns <= at_ns else known
        return known, tuple(moment for moment in self.links(guest) if moment.life == life)

    def host(self, host: str) -> tuple[Moment, ...]:
        return tuple(
            moment
            for moment in self.moments
            if isinstance(moment.fact, HostEvent) and moment.fact.host == host
        )

    def snapshot(self, guest: str, moment: str) -> Snapshot | None:
        """The last snapshot of a guest with that name."""
        found = None
        for fact in self.facts:
            if isinstance(fact, Snapshot) and fact.guest == guest and fact.moment == moment:
                found = fact
        return found

    def pair(self, guest: str, standby: str) -> Pair | None:
        for pair in self.pairs:
            if pair.guest == guest and pair.standby == standby:
                return pair
        return None

    def when(self, moment: Moment) -> str:
        """The moment's time since the run's first fact, with its error."""
        return when(moment, self.zero_ns)
