"""The phases of each migration, from the events of a run, with their uncertainty.

``harness.case.phases`` has the glossary. A border between two phases is an event; its time
is known up to an interval. What is known of a border whose event is not in the record,
although it must have happened, is only that it lies between its neighbours: then everything
in between is uncertain, and nothing is guessed.

* A guest without a primary, or whose source asked for no unplug, has no ``unplug``.
* A migration that failed or was cancelled goes from ``precopy`` (or ``stop-and-copy``, if the
  source had stopped) to ``return``, when the source says so (or RESUMEs).
* A primary that never comes back: ``return`` lasts to the end, and there is no ``after``.
* Several migrations: each begins with its own ``before``, at its step's begin; the run before
  the first one belongs to the first one's.

Neighbours: ``evidence`` has the events; ``attribution`` cuts the streams by these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from harness.case import PhaseName
from harness.measure.bounds import FOREVER
from harness.observe import HostEvent, LinkEvent, QmpEvent
from harness.verdict.evidence import Evidence, Migration, Pair
from harness.verdict.links import role_of, with_driver
from harness.verdict.moments import Known, Moment, compare, seconds

BAD_ENDS = ("failed", "cancelled")


@dataclass(frozen=True, slots=True)
class PhaseBorder:
    """Where a phase begins. ``event`` names it; ``seen`` is false where the record lacks it, or
    contradicts itself about it."""

    event: str
    lo_ns: int
    hi_ns: int
    seen: bool = True

    def when(self, zero_ns: int) -> str:
        """Its time in words, with the error there is."""
        if not self.seen:
            return "at an unknown time"
        middle, error = (self.lo_ns + self.hi_ns) // 2, (self.hi_ns - self.lo_ns) / 2e6
        return seconds(middle, zero_ns) + (f"±{error:.1f}ms" if error >= 0.05 else "")


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase that occurred. ``migration`` counts from 1; ``begin`` None: with the record."""

    name: PhaseName
    migration: int
    step: str
    begin: PhaseBorder | None
    end: PhaseBorder | None


@dataclass(frozen=True, slots=True)
class Phases:
    """The phases that occurred, in order without a hole. ``problem``: why they mean nothing."""

    found: tuple[Phase, ...]
    problem: str = ""

    @property
    def borders(self) -> tuple[PhaseBorder, ...]:
        return tuple(phase.begin for phase in self.found[1:] if phase.begin is not None)

    def named(self, name: str) -> tuple[int, ...]:
        """The places of the phases of that name, over all migrations."""
        return tuple(number for number, phase in enumerate(self.found) if phase.name == name)


def phases_of(evidence: Evidence, guests: Iterable[str] = ()) -> Phases:
    """The phases of the migrations of these guests; of all migrations if none is theirs."""
    chosen = frozenset(guests)
    migrations = [one for one in evidence.migrations if one.guest in chosen]
    migrations = migrations or list(evidence.migrations)
    if not migrations:
        return Phases(())
    begins: list[tuple[PhaseName, int, str, PhaseBorder | None]] = []
    for number, migration in enumerate(migrations, 1):
        limit = migrations[number].begin_ns if number < len(migrations) else FOREVER
        begin = PhaseBorder(f"step {migration.step} begins", migration.begin_ns, migration.begin_ns)
        begins.append(("before", number, migration.step, None if number == 1 else begin))
        for name, border in _Story(evidence, migration, limit).borders():
            begins.append((name, number, migration.step, border))
    ends = [border for *_, border in begins[1:]] + [None]
    found = tuple(
        Phase(name, number, step, begin, end)
        for (name, number, step, begin), end in zip(begins, ends, strict=True)
    )
    return Phases(found, _contradiction(found))


def _contradiction(found: tuple[Phase, ...]) -> str:
    """Two borders that certainly come in the wrong order."""
    borders = [phase.begin for phase in found if phase.begin is not None]
    for early, late in pairwise(borders):
        if late.hi_ns < early.lo_ns or late.lo_ns < early.lo_ns or late.hi_ns < early.hi_ns:
            return f"the record contradicts itself: {late.event} before {early.event}"
    return ""


class _Story:
    """The events of one migration, up to ``limit_ns``, the begin of the next one."""

    def __init__(self, evidence: Evidence, migration: Migration, limit_ns: int) -> None:
        self._evidence = evidence
        self._guest = migration.guest
        self._begin_ns, self._limit_ns = migration.begin_ns, limit_ns
        self._source = self._held(migration, "source")
        self._destination = self._held(migration, "destination")
        self._pairs = [
            pair for pair in evidence.pairs if pair.guest == self._guest and pair.primary
        ]

    def _held(self, migration: Migration, role: str) -> list[Moment]:
        return [
            moment
            for moment in sorted(
                self._evidence.qmp(migration.guest, role), key=lambda one: one.rank
            )
            if migration.holds(moment) and moment.t_ns < self._limit_ns
        ]

    def borders(self) -> list[tuple[PhaseName, PhaseBorder]]:
        """The borders that begin a phase, in order; ``before`` apart."""
        events = self._events()
        known: list[tuple[PhaseName, str, Moment | None]] = [
            one for one in events if one[2] is None or one[2].lo_ns < self._limit_ns
        ]
        found: list[tuple[PhaseName, PhaseBorder]] = []
        low = self._begin_ns
        for number, (name, event, moment) in enumerate(known):
            if moment is not None and not moment.broken:
                low = max(low, moment.lo_ns)
                border = PhaseBorder(event, low, min(max(moment.hi_ns, low), self._limit_ns))
                if moment.hi_ns < low:  # certainly before its predecessor: keep it to be told
                    border = PhaseBorder(event, moment.lo_ns, moment.hi_ns)
            else:
                later = [one.hi_ns for *_, one in known[number + 1 :] if one and not one.broken]
                border = PhaseBorder(event, low, min([*later, self._limit_ns]), seen=False)
            found.append((name, border))
        return [
            (name, self._before_the_next(found, number)) for number, (name, _) in enumerate(found)
        ]

    @staticmethod
    def _before_the_next(found: list[tuple[PhaseName, PhaseBorder]], number: int) -> PhaseBorder:
        """A border is not after the ones that follow it."""
        border = found[number][1]
        high = min([border.hi_ns, *(one.hi_ns for _, one in found[number + 1 :])])
        if high < border.lo_ns:
            return border
        return PhaseBorder(border.event, border.lo_ns, high, border.seen)

    def _events(self) -> list[tuple[PhaseName, str, Moment | None]]:
        """The phases that occurred, each with the event that begins it (None: not recorded)."""
        unplug = _first(self._source, name="UNPLUG_PRIMARY")
        waiting = _first(self._source, status="wait-unplug")
        active = _first(self._source, status="active")
        stop = _first(self._source, name="STOP", after=active)
        last = _last_status(self._source)
        bad = last in BAD_ENDS
        found: list[tuple[PhaseName, str, Moment | None]] = []
        detach = self._detach()
        gone = any(self._primary_events(pair, "removed") for pair in self._pairs)
        unplugged = unplug or detach or waiting or gone or (self._pairs and not self._source)
        if unplugged:
            begins = "request to detach" if detach and not unplug else "UNPLUG_PRIMARY"
            found.append(("unplug", f"the source's {begins}", unplug or detach))
        if active or not bad:
            found.append(("precopy", "the source's `active`", active))
        if stop or not bad:
            found.append(("stop-and-copy", "the source's STOP", stop))
        if bad and stop is None:
            back, event = _first(self._source, status=last), f"the source's `{last}`"
        elif bad:
            back, event = _first(self._source, name="RESUME", after=stop), "the source's RESUME"
        else:
            back, event = _first(self._destination, name="RESUME"), "the destination's RESUME"
        if not self._pairs or not unplugged:
            return [*found, ("after", event, back)]
        found.append(("return", event, back))
        silent = not self._evidence.links(self._guest)
        up = self._primary_up(back or stop or active or unplug)
        if up is not None or silent:
            found.append(("after", f"{self._guest}'s primary is up", up))
        return found

    def _detach(self) -> Moment | None:
        """When a management layer asked the guest, in the step, to let go of its primary."""
        for moment in self._evidence.moments:
            fact = moment.fact
            if (
                isinstance(fact, HostEvent)
                and fact.event == "detach-requested"
                and fact.guest == self._guest
                and self._begin_ns <= moment.t_ns < self._limit_ns
            ):
                return moment
        return None

    def _primary_up(self, since: Moment | None) -> Moment | None:
        """The moment from which every primary that was gone has been up once."""
        if since is None:
            return None
        firsts = []
        for pair in self._pairs:
            ups = [
                moment
                for moment in self._primary_events(pair, "up")
                if compare(moment, since) is not Known.BEFORE
            ]
            if not ups:
                return None
            firsts.append(ups[0])
        return max(firsts, key=lambda moment: moment.t_ns)

    def _primary_events(self, pair: Pair, event: str) -> list[Moment]:
        events = self._evidence.links(self._guest)
        start = self._evidence.snapshot(self._guest, "start")
        links = with_driver(events, start.links if start else ())
        return [
            moment
            for moment, link in zip(events, links, strict=True)
            if isinstance(moment.fact, LinkEvent)
            and moment.fact.event == event
            and role_of(link, pair) == "primary"
            and self._begin_ns <= moment.hi_ns
            and moment.lo_ns < self._limit_ns
        ]


def _first(
    moments: Iterable[Moment], *, name: str = "", status: str = "", after: Moment | None = None
) -> Moment | None:
    """The first event of one QEMU with that name or MIGRATION status."""
    for moment in moments:
        fact = moment.fact
        if not isinstance(fact, QmpEvent):
            continue
        if after is not None and compare(moment, after) is Known.BEFORE:
            continue
        if fact.name == (name or "MIGRATION") and fact.data.get("status", "") == status:
            return moment
    return None


def _last_status(moments: Iterable[Moment]) -> str:
    found = ""
    for moment in moments:
        if isinstance(moment.fact, QmpEvent) and moment.fact.name == "MIGRATION":
            found = str(moment.fact.data.get("status"))
    return found
