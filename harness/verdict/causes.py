"""Why packets were lost, as far as facts show it: a table of rules.

A rule turns the facts of one migration into windows of time with a reason. A packet that was
*certainly* sent in a window, towards the guest that migrates (or, by the rules of ``SENT_BY``,
by that guest), has that reason; the first rule of the table that applies wins. Everything
else is ``cause unknown``. A reason says between which facts a packet was sent and what is
known to hold there; it is no proof that this packet was lost for it.

To add a rule: a function from ``Scene`` to its windows, a line in ``RULES`` or ``SENT_BY``, a
test in which it applies and one in which it must not.

Neighbours: ``scene`` has what rules ask; ``attribution`` gives each lost packet its reason.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.measure import Matched
from harness.measure.bounds import FOREVER
from harness.observe import LAB, HostEvent, QmpEvent
from harness.verdict.evidence import Evidence
from harness.verdict.moments import Known, Moment, compare
from harness.verdict.scene import Scene, Window, Windows

UNKNOWN = "cause unknown"


def _asked(unplug: Moment) -> str:
    """What has asked the guest to give up its primary."""
    return "UNPLUG_PRIMARY" if isinstance(unplug.fact, QmpEvent) else "the request to detach it"


def guest_stopped(scene: Scene) -> Windows:
    """STOP of the source to RESUME, of the destination or of the source that goes on."""
    stop = scene.qmp("source", "STOP")
    if stop is None:
        return ()
    for resume in (scene.qmp("destination", "RESUME"), scene.qmp("source", "RESUME")):
        if resume is not None and compare(stop, resume) is Known.BEFORE:
            return scene.between(
                "guest-stopped",
                [stop],
                [resume],
                f"sent while the guest was stopped ({scene.when(stop)} to {scene.when(resume)})",
            )
    return ()


def stale_network_port(scene: Scene) -> Windows:
    """The guest runs on the destination, and a network's bridge sends its frames to the host
    that it has left."""
    source, destination = scene.host_of("source"), scene.host_of("destination")
    resume = scene.qmp("destination", "RESUME")
    found: list[Window] = []
    for stay in scene.stays_on(LAB) if resume else ():
        if resume and stay.end and stay.behind == source and stay.then == destination:
            found += scene.between(
                "stale-network-port",
                [resume, stay.begin],
                [stay.end],
                f"sent after RESUME ({scene.when(resume)}) and before the network's bridge "
                f"{stay.bridge} learned the guest's address at {destination}'s port "
                f"({scene.when(stay.end)}): frames still went to {source}'s",
            )
    return tuple(found)


def address_behind_uplink(scene: Scene) -> Windows:
    """The guest's host has the guest's address behind the port that its frames come in by, and
    a bridge sends no frame back out of the port it came in by (should_deliver() in the
    kernel's net/bridge/br_forward.c; nobody switches hairpin mode on here).

    What a guest sends comes back to the host's bridge that way when the network, or the
    host's own NIC, reflects it. Of a VF, only while its filter is closed: else the NIC gives
    it the frames, and the bridge does not see them.
    """
    stop, resume = scene.qmp("source", "STOP"), scene.qmp("destination", "RESUME")
    unplug = scene.unplug
    found: list[Window] = []
    for role, start, stopped in (("source", unplug, stop), ("destination", resume, None)):
        starts = [start]
        ends = [stopped] if stopped else []
        if scene.has_vf(role):
            closed = scene.closed_since(role, start)
            opened = scene.host(role, ("vf-filter-opened",), after=closed) if closed else None
            starts.append(closed)
            ends += [opened] if opened else []
        for stay in scene.stays(role) if all(starts) else ():
            if stay.behind == "uplink" and stay.end:
                found += scene.between(
                    "address-behind-uplink",
                    [*(one for one in starts if one), stay.begin],
                    [*ends, stay.end],
                    f"sent while {stay.host}'s bridge {stay.bridge} had the guest's address "
                    f"behind its uplink ({scene.when(stay.begin)} to {scene.when(stay.end)}): a "
                    "bridge sends no frame back out of the port it came in by",
                )
    return tuple(found)


def idle_primary_port(scene: Scene) -> Windows:
    """The destination's bridge has the guest's address behind the primary's tap (QEMU announces
    the guest by all its NICs), and the guest does not use that primary yet."""
    resume = scene.qmp("destination", "RESUME")
    up = scene.primary((), after=resume, up=True) if resume else None
    if resume is None or up is None:
        return ()
    found: list[Window] = []
    for stay in scene.stays("destination"):
        if stay.behind == "primary":
            until = f" to {scene.when(stay.end)}" if stay.end else " on"
            found += scene.between(
                "idle-primary-port",
                [resume, stay.begin],
                [up[0], *([stay.end] if stay.end else [])],
                f"sent while {stay.host}'s bridge {stay.bridge} had the guest's address behind "
                f"the primary's port ({scene.when(stay.begin)}{until}), and before {up[1]} was up "
                f"in the guest ({scene.when(up[0])})",
            )
    return tuple(found)


def filter_open_before_driver(scene: Scene) -> Windows:
    """The VF already gets the frames, and the guest's driver does not receive yet."""
    stop = scene.qmp("source", "STOP")
    if stop is None:
        return ()
    event, what = "vf-filter-opened", "the VF's filter was opened"
    if scene.is_never_closed("destination"):
        event, what = "vf-bus-master-on", "the guest's driver had taken the VF"
    opened = scene.host("destination", (event,), after=stop)
    up = scene.primary((), after=opened, up=True) if opened else None
    if opened is None or up is None:
        return ()
    return scene.between(
        "filter-open-before-driver",
        [opened],
        [up[0]],
        f"sent after {what} ({scene.when(opened)}) and before {up[1]} was up "
        f"({scene.when(up[0])}): frames went to a VF that did not receive yet",
    )


def vf_without_driver(scene: Scene) -> Windows:
    """Nothing closes the VF's filter (``filter_handoff: off``), and no driver serves the VF: the
    guest has let go of the source's, or has not yet taken the destination's."""
    found: list[Window] = []
    stop, resume = scene.qmp("source", "STOP"), scene.qmp("destination", "RESUME")
    unplug = scene.unplug
    down = scene.primary(("down", "removed"), after=unplug) if unplug else None
    if unplug and down and stop and scene.is_never_closed("source"):
        off = scene.host("source", ("vf-bus-master-off",), after=unplug)
        cleared = scene.host("source", ("vf-mac-cleared",), after=down[0])
        if off is not None:
            end, what, until = stop, "the guest was stopped", "whose filter nothing closed"
            if cleared and compare(cleared, stop) is Known.BEFORE:
                end, what = cleared, "the VF's MAC address was cleared"
                until = "which still had the guest's address"
            found += scene.between(
                "vf-without-driver",
                [down[0]],
                [end],
                f"sent after the guest had given up its primary ({scene.when(down[0])}; its driver "
                f"let go of the VF at {scene.when(off)}) and before {what} "
                f"({scene.when(end)}): frames still went to that VF, {until}",
            )
    if resume and scene.is_never_closed("destination"):
        on = scene.host("destination", ("vf-bus-master-on",), after=resume)
        if on is not None:
            # Where a management layer attaches the VF, it has no address before that.
            given = scene.host("destination", ("vf-mac-set",), after=resume)
            since = f"RESUME ({scene.when(resume)})"
            if given is not None:
                since = f"the VF was given the guest's address ({scene.when(given)})"
            found += scene.between(
                "vf-without-driver",
                [given or resume],
                [on],
                f"sent after {since} and before the guest's driver took the "
                f"VF ({scene.when(on)}): frames went to that VF, whose filter nothing closed",
            )
    return tuple(found)


_NET_FAILOVER = "the guest drops frames on the standby while a primary is registered (net_failover)"


def standby_drops(scene: Scene) -> Windows:
    """A registered primary makes net_failover drop what arrives on the standby.

    Where the bridge's entries are known and the primary has a tap, only what the bridge sent
    to the standby's: before the primary is removed, and from its coming to the first frame
    that the guest sends by it, whether it is up by then or not.
    """
    found = [*_standby_at_unplug(scene)]
    resume = scene.qmp("destination", "RESUME")
    enslaved = scene.primary(("enslaved",), after=resume) if resume else None
    up = scene.primary((), after=enslaved[0], up=True) if enslaved else None
    if enslaved is None or up is None or scene.is_never_closed("destination"):
        return tuple(found)
    known = scene.stays("destination")
    if scene.has_vf("destination") or not known:
        return *found, *scene.between(
            "standby-drops",
            [enslaved[0]],
            [up[0]],
            f"sent after the new primary was enslaved ({scene.when(enslaved[0])}) and before it "
            f"was up ({scene.when(up[0])}): {_NET_FAILOVER}",
        )
    gone = scene.primary(("removed", "released"), after=enslaved[0])
    for stay in known:
        if stay.behind != "standby":
            continue
        end = stay.end or up[0]
        what = "it was up" if end is up[0] else f"{stay.host}'s bridge {stay.bridge} learned "
        if end is not up[0]:
            what += "the primary's port" if stay.then == "primary" else "another port"
        found += scene.between(
            "standby-drops",
            [enslaved[0], stay.begin],
            [end, *([gone[0]] if gone else [])],
            f"sent after the new primary was enslaved ({scene.when(enslaved[0])}) and before "
            f"{what} ({scene.when(end)}): frames went to the standby's port, and {_NET_FAILOVER}",
        )
    return tuple(found)


def _standby_at_unplug(scene: Scene) -> Windows:
    """The bridge sends to the standby already; the guest has not removed the primary yet."""
    unplug = scene.unplug
    removed = scene.primary(("removed", "released"), after=unplug) if unplug else None
    if unplug is None or removed is None or scene.has_vf("source"):
        return ()
    found: list[Window] = []
    for stay in scene.stays("source"):
        if stay.behind == "standby":
            found += scene.between(
                "standby-drops",
                [unplug, stay.begin],
                [removed[0], *([stay.end] if stay.end else [])],
                f"sent after {stay.host}'s bridge {stay.bridge} learned the standby's port "
                f"({scene.when(stay.begin)}) and before the guest had removed its primary "
                f"({scene.when(removed[0])}): {_NET_FAILOVER}",
            )
    return tuple(found)


def giving_up_primary(scene: Scene) -> Windows:
    """The guest takes its driver off the primary, which frames still go to."""
    unplug = scene.unplug
    down = scene.primary(("down", "removed"), after=unplug) if unplug else None
    if unplug is None or down is None:
        return ()
    ends = [down[0]]
    if scene.knows_bridge("source"):
        stay = scene.primary_port("source", unplug)
        if stay is None:
            return ()  # frames went elsewhere
        ends += [stay.end] if stay.end else []
    return scene.between(
        "giving-up-primary",
        [unplug],
        ends,
        f"sent between {_asked(unplug)} ({scene.when(unplug)}) and the primary's going down in the "
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


def stale_primary_port(scene: Scene) -> Windows:
    """The guest's primary is gone, and the host still sends its frames there."""
    unplug = scene.unplug
    down = scene.primary(("down", "removed"), after=unplug) if unplug else None
    if unplug is None or down is None or scene.is_never_closed("source"):
        return ()
    closed = scene.host("source", _CLOSED, after=down[0])
    what, therefore = "", "frames still went to the primary's port"
    if scene.knows_bridge("source"):
        stay = scene.primary_port("source", unplug)
        if stay is None or stay.end is None:
            return ()
        closed = stay.end
        what = f"{stay.host}'s bridge {stay.bridge} " + (
            f"learned the {stay.then}'s port" if stay.then else "forgot that"
        )
    elif closed is not None and isinstance(closed.fact, HostEvent):
        what, therefore = _CLOSED[closed.fact.event]
    if closed is None:
        return ()
    return scene.between(
        "stale-primary-port",
        [down[0]],
        [closed],
        f"sent between the guest's removal of its primary ({scene.when(down[0])}) and {what} "
        f"({scene.when(closed)}): {therefore}",
    )


def sending_by_lost_primary(scene: Scene) -> Windows:
    """The guest sends by the primary that it is giving up, until it sends by the standby: the
    first frame by that is what moves the bridge's entry."""
    unplug = scene.unplug
    down = scene.primary(("down", "removed"), after=unplug) if unplug else None
    if unplug is None or down is None or not scene.knows_bridge("source"):
        return ()
    stay = scene.primary_port("source", unplug)
    if stay is None or stay.end is None or stay.then != "standby":
        return ()
    return scene.between(
        "sending-by-lost-primary",
        [unplug],
        [down[0]],
        f"sent by the guest between {_asked(unplug)} ({scene.when(unplug)}) and the primary's "
        f"going down in the guest ({scene.when(down[0])}), and not certainly after its first frame "
        f"by the standby ({scene.when(stay.end)}): the guest was giving up the primary that it had "
        "sent by",
        begun_by=stay.end,
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


Rule = Callable[[Scene], Windows]

RULES: tuple[Rule, ...] = (
    guest_stopped,
    stale_network_port,
    address_behind_uplink,
    idle_primary_port,
    filter_open_before_driver,
    vf_without_driver,
    standby_drops,
    giving_up_primary,
    stale_primary_port,
)
"""Of packets sent to the guest that migrates, in the order in which they are asked."""

SENT_BY: tuple[Rule, ...] = (sending_by_lost_primary,)
"""Of packets that the guest sends that migrates."""


def windows(evidence: Evidence, sender: str, receiver: str, matched: Matched) -> tuple[Window, ...]:
    """The windows that hold for the packets of a stream, the winners first."""
    opening = before_first_arrival(matched)
    found = [opening] if opening else []
    for rules, guest in ((RULES, receiver), (SENT_BY, sender)):
        for rule in rules:
            for migration in evidence.migrations:
                for pair in evidence.pairs:
                    if migration.guest == guest == pair.guest:
                        said = rule(Scene(evidence, migration, pair))
                        found += [window for window in said if window not in found]
    return tuple(found)
