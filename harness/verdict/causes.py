"""Why packets were lost, as far as facts show it: a table of rules.

A rule turns the facts of one migration into a window of time with a reason. A packet that
was *certainly* sent in the window, towards the guest that migrates, has that reason; the
first rule of the table that applies wins. Everything else is ``cause unknown``. A reason
says between which facts a packet was sent and what is known to hold there; it is no proof
that this packet was lost for it.

To add a rule: a function from ``Scene`` to a ``Window`` or None, a line in ``RULES``, a test
in which it applies and one in which it must not.

Neighbours: ``attribution`` gives each lost packet its reason; facts come from ``evidence``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.measure import Matched
from harness.measure.bounds import FOREVER
from harness.observe import HostEvent, LinkEvent, QmpEvent
from harness.verdict.evidence import Evidence, Migration, Pair
from harness.verdict.links import is_up, role_of, with_driver
from harness.verdict.moments import Known, Moment, compare

UNKNOWN = "cause unknown"


@dataclass(frozen=True, slots=True)
class Window:
    """A packet sent from ``from_ns`` to ``to_ns`` has this ``reason``, by ``rule``."""

    rule: str
    from_ns: int
    to_ns: int
    reason: str


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

    def host(self, role: str, events: Iterable[str], *, after: Moment) -> Moment | None:
        """The first of these events on one side's host, about this pair, after a moment."""
        side = self.evidence.qmp(self.migration.guest, role)
        hosts = {
            moment.fact.host
            for moment in side
            if isinstance(moment.fact, QmpEvent) and self.migration.holds(moment)
        }
        wanted = frozenset(events)
        for name in hosts:
            for moment in self.evidence.host(name):
                fact = moment.fact
                if (
                    isinstance(fact, HostEvent)
                    and fact.event in wanted
                    and self._is_about_the_pair(fact)
                    and compare(after, moment) is Known.BEFORE
                    and self.migration.holds(moment)
                ):
                    return moment
        return None

    def _is_about_the_pair(self, fact: HostEvent) -> bool:
        mac = fact.data.get("mac")
        if isinstance(mac, str):
            return mac.lower() == self.pair.mac
        return fact.guest == self.migration.guest

    def between(self, rule: str, early: Moment, late: Moment, reason: str) -> Window | None:
        """The time certainly after one moment and before another; None if there is none."""
        if early.broken or late.broken or compare(early, late) is not Known.BEFORE:
            return None
        if early.hi_ns >= late.lo_ns:
            return None
        return Window(rule, early.hi_ns, late.lo_ns, reason)

    def when(self, moment: Moment) -> str:
        return self.evidence.when(moment)


def guest_stopped(scene: Scene) -> Window | None:
    """STOP of the source to RESUME, of the destination or of the source that goes on."""
    stop = scene.qmp("source", "STOP")
    if stop is None:
        return None
    ends = [scene.qmp("destination", "RESUME"), scene.qmp("source", "RESUME")]
    for resume in ends:
        if resume is not None and compare(stop, resume) is Known.BEFORE:
            return scene.between(
                "guest-stopped",
                stop,
                resume,
                f"sent while the guest was stopped ({scene.when(stop)} to {scene.when(resume)})",
            )
    return None


def filter_open_before_driver(scene: Scene) -> Window | None:
    """The VF already gets the frames, and the guest's driver does not receive yet."""
    stop = scene.qmp("source", "STOP")
    if stop is None:
        return None
    opened = scene.host("destination", ("vf-filter-opened",), after=stop)
    up = scene.primary((), after=opened, up=True) if opened else None
    if opened is None or up is None:
        return None
    return scene.between(
        "filter-open-before-driver",
        opened,
        up[0],
        f"sent after the VF's filter was opened ({scene.when(opened)}) and before {up[1]} was up "
        f"({scene.when(up[0])}): frames went to a VF that did not receive yet",
    )


def standby_drops(scene: Scene) -> Window | None:
    """A registered primary makes net_failover drop what arrives on the standby."""
    resume = scene.qmp("destination", "RESUME")
    enslaved = scene.primary(("enslaved",), after=resume) if resume else None
    if enslaved is None:
        return None
    up = scene.primary((), after=enslaved[0], up=True)
    if up is None:
        return None
    return scene.between(
        "standby-drops",
        enslaved[0],
        up[0],
        f"sent after the new primary was enslaved ({scene.when(enslaved[0])}) and before it was "
        f"up ({scene.when(up[0])}): the guest drops frames on the standby while a primary is "
        "registered (net_failover)",
    )


def giving_up_primary(scene: Scene) -> Window | None:
    """The guest takes its driver off the primary, which frames still go to."""
    unplug = scene.qmp("source", "UNPLUG_PRIMARY")
    down = scene.primary(("down", "removed"), after=unplug) if unplug else None
    if unplug is None or down is None:
        return None
    return scene.between(
        "giving-up-primary",
        unplug,
        down[0],
        f"sent between UNPLUG_PRIMARY ({scene.when(unplug)}) and the primary's going down in the "
        f"guest ({scene.when(down[0])}): the guest was giving up the primary that frames went to",
    )


_CLOSED = {
    "fdb-cleared": (
        "the lab's clearing of the bridge entry",
        "frames could still go to the primary's port",
    ),
    "vf-filter-closed": (
        "the closing of the VF's filter",
        "frames still went to the VF that the guest had given up",
    ),
    "vf-mac-cleared": (
        "the clearing of the VF's MAC address",
        "frames still went to the VF that the guest had given up",
    ),
}


def stale_primary_port(scene: Scene) -> Window | None:
    """The guest's primary is gone, and the host still sends its frames there."""
    unplug = scene.qmp("source", "UNPLUG_PRIMARY")
    down = scene.primary(("down", "removed"), after=unplug) if unplug else None
    if down is None:
        return None
    closed = scene.host("source", _CLOSED, after=down[0])
    if closed is None or not isinstance(closed.fact, HostEvent):
        return None
    what, therefore = _CLOSED[closed.fact.event]
    return scene.between(
        "stale-primary-port",
        down[0],
        closed,
        f"sent between the guest's removal of its primary ({scene.when(down[0])}) and {what} "
        f"({scene.when(closed)}): {therefore}",
    )


def before_first_arrival(matched: Matched) -> Window | None:
    """What was sent before anything got through: the way to the receiver was not shown open."""
    if not matched.arrivals:
        return None
    first = int(matched.index[matched.first].min())
    if not first:
        return None
    last = int((matched.sent_ns + matched.sent_err_ns)[:first].max())
    return Window(
        "before-first-arrival",
        -FOREVER,
        last,
        "sent before the first packet of the stream that arrived",
    )


Rule = Callable[[Scene], Window | None]

RULES: tuple[Rule, ...] = (
    guest_stopped,
    filter_open_before_driver,
    standby_drops,
    giving_up_primary,
    stale_primary_port,
)
"""In the order in which they are asked."""


def windows(evidence: Evidence, receiver: str, matched: Matched) -> tuple[Window, ...]:
    """The windows that hold for the packets of a stream to ``receiver``, the winners first.

    Of the rules only ``before_first_arrival`` speaks of packets that are not sent to the guest
    that migrates: nothing here explains the loss of what the guest sent.
    """
    opening = before_first_arrival(matched)
    found = [opening] if opening else []
    for rule in RULES:
        for migration in evidence.migrations:
            for pair in evidence.pairs:
                if migration.guest == receiver == pair.guest:
                    window = rule(Scene(evidence, migration, pair))
                    if window is not None and window not in found:
                        found.append(window)
    return tuple(found)
