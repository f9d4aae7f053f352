"""What the rules of ``causes`` ask of the record: one migration, one failover pair of its guest.

Neighbours: ``causes`` has the rules, ``bridges`` knows where a bridge had the pair's address,
``links`` who is who among the guest's netdevs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.measure.bounds import FOREVER
from harness.observe import HostEvent, LinkEvent, QmpEvent
from harness.verdict.bridges import Stay, stays
from harness.verdict.evidence import Evidence, Migration, Pair
from harness.verdict.links import is_up, role_of, with_driver
from harness.verdict.moments import Known, Moment, compare


@dataclass(frozen=True, slots=True)
class Window:
    """A packet sent from ``from_ns`` to ``to_ns``, and not certainly after ``begun_by_ns``, has
    this ``reason``, by ``rule``."""

    rule: str
    from_ns: int
    to_ns: int
    reason: str
    begun_by_ns: int = FOREVER


Windows = tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """One migration, one failover pair of its guest, and what the rules look for there."""

    evidence: Evidence
    migration: Migration
    pair: Pair

    def qmp(self, role: str, name: str) -> Moment | None:
        """The first event of that name of one side's QEMU."""
        for moment in self.evidence.qmp(self.migration.guest, role):
            fact = moment.fact
            if isinstance(fact, QmpEvent) and fact.name == name and self.migration.holds(moment):
                return moment
        return None

    @property
    def unplug(self) -> Moment | None:
        """When the guest was asked to give up its primary: by QEMU, or by a management layer."""
        asked = self.qmp("source", "UNPLUG_PRIMARY")
        return asked or self.host("source", ("detach-requested",))

    def primary(
        self, events: Iterable[str], *, after: Moment, up: bool = False
    ) -> tuple[Moment, str] | None:
        """The first of these link events of the pair's primary certainly after a moment, and
        its driver; with ``up`` the first event of any kind that shows it up."""
        every = self.evidence.links(self.migration.guest)
        start = self.evidence.snapshot(self.migration.guest, "start")
        links = with_driver(every, start.links if start else ())
        wanted = frozenset(events)
        for moment, link in zip(every, links, strict=True):
            fact = moment.fact
            if (
                isinstance(fact, LinkEvent)
                and role_of(link, self.pair) == "primary"
                and (is_up(link) if up else fact.event in wanted)
                and compare(after, moment) is Known.BEFORE
                and self.migration.holds(moment)
            ):
                return moment, link.driver or "its driver"
        return None

    def host_of(self, role: str) -> str:
        """The host of one side's QEMU; empty when the record does not say."""
        for moment in self.evidence.qmp(self.migration.guest, role):
            if isinstance(moment.fact, QmpEvent) and self.migration.holds(moment):
                return moment.fact.host
        return ""

    def host(
        self, role: str, events: Iterable[str], *, after: Moment | None = None
    ) -> Moment | None:
        """The first of these events on one side's host, about this pair, after a moment."""
        wanted = frozenset(events)
        for moment in self._about_the_pair(role):
            if (
                isinstance(moment.fact, HostEvent)
                and moment.fact.event in wanted
                and (after is None or compare(after, moment) is Known.BEFORE)
                and self.migration.holds(moment)
            ):
                return moment
        return None

    def has_vf(self, role: str) -> bool:
        """Whether the pair's primary on one side's host is a virtual function."""
        return any(
            isinstance(moment.fact, HostEvent) and moment.fact.event.startswith("vf-")
            for moment in self._about_the_pair(role)
        )

    def is_never_closed(self, role: str) -> bool:
        """Whether one side's VF had the pair's address all the time, and nothing ever closed its
        filter: there is no hand-over."""
        events = {
            moment.fact.event
            for moment in self._about_the_pair(role)
            if isinstance(moment.fact, HostEvent)
        }
        return "vf-mac-set" in events and "vf-filter-closed" not in events

    def closed_since(self, role: str, start: Moment | None) -> Moment | None:
        """When one side's VF filter was closed: before ``start``, where it was closed then, or
        the first time after it. None where neither is known."""
        if start is None:
            return None
        state: Moment | None = None
        for moment in self._about_the_pair(role):
            fact = moment.fact
            if not isinstance(fact, HostEvent) or compare(moment, start) is not Known.BEFORE:
                continue
            if fact.event == "vf-filter-closed":
                state = moment
            elif fact.event in ("vf-filter-opened", "vf-filter-failed"):
                state = None
        return state or self.host(role, ("vf-filter-closed",), after=start)

    def _about_the_pair(self, role: str) -> list[Moment]:
        host = self.host_of(role)
        return [
            moment
            for moment in (self.evidence.host(host) if host else ())
            if isinstance(moment.fact, HostEvent) and self._is_about_the_pair(moment.fact)
        ]

    def _is_about_the_pair(self, fact: HostEvent) -> bool:
        mac = fact.data.get("mac")
        if isinstance(mac, str):
            return mac.lower() == self.pair.mac
        return fact.guest == self.migration.guest

    def stays(self, role: str) -> tuple[Stay, ...]:
        """Where the bridges of one side's host had the pair's address, in order."""
        host = self.host_of(role)
        return self.stays_on(host) if host else ()

    def stays_on(self, host: str) -> tuple[Stay, ...]:
        return stays(self.evidence, host, self.pair.mac)

    def knows_bridge(self, role: str) -> bool:
        """Whether frames for the primary go by the host's bridge, and its entries are known."""
        return not self.has_vf(role) and bool(self.stays(role))

    def primary_port(self, role: str, at: Moment) -> Stay | None:
        """The stay behind the primary's port that certainly holds at a moment."""
        for stay in self.stays(role):
            ended = stay.end is not None and compare(at, stay.end) is not Known.BEFORE
            if stay.behind == "primary" and compare(stay.begin, at) is Known.BEFORE and not ended:
                return stay
        return None

    def between(
        self,
        rule: str,
        starts: Sequence[Moment],
        ends: Sequence[Moment],
        reason: str,
        *,
        begun_by: Moment | None = None,
    ) -> Windows:
        """The time certainly after all of ``starts`` and before all of ``ends``, as one window;
        none if there is no such time."""
        used = (*starts, *ends, *([begun_by] if begun_by else []))
        if any(moment.broken for moment in used):
            return ()
        if any(compare(start, end) is not Known.BEFORE for start in starts for end in ends):
            return ()
        begin, end = max(one.hi_ns for one in starts), min(one.lo_ns for one in ends)
        if begin >= end:
            return ()
        return (Window(rule, begin, end, reason, begun_by.hi_ns if begun_by else FOREVER),)

    def when(self, moment: Moment) -> str:
        return self.evidence.when(moment)
