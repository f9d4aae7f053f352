"""The guest's netdevs by role, and as they changed over time.

A failover pair is recognised by its MAC address, which its netdevs share, and by what is
enslaved to what; the driver tells the roles apart (``net_failover`` is the master,
``virtio_net`` the standby, anything else the primary).

Neighbours: ``netdevs`` and ``order`` ask this module who is who.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from harness.case.netdevs import ABSENT, Interface, Role
from harness.observe import VLAN_DRIVER, LinkEvent, LinkState, Snapshot
from harness.verdict.evidence import Pair
from harness.verdict.moments import Moment

_MASTER, _STANDBY = "net_failover", "virtio_net"


def role_of(link: LinkState, pair: Pair) -> Role | None:
    """The part a netdev has in a pair, by MAC address and driver; None if it has none."""
    if link.mac.lower() != pair.mac or link.driver in (None, VLAN_DRIVER):
        return None
    if link.driver == _MASTER:
        return "failover"
    return "standby" if link.driver == _STANDBY else "primary"


def describe(link: LinkState) -> str:
    """A netdev in words."""
    parts = [link.driver or "driver unknown", link.mac]
    if link.master:
        parts.append(f"master {link.master}")
    parts.append("up" if is_up(link) else f"operstate {link.operstate}")
    return f"{link.name} ({', '.join(parts)})"


def is_up(link: LinkState) -> bool:
    """Operationally up; a driver that reports no operstate is believed by its carrier."""
    return link.operstate == "up" or (link.operstate == "unknown" and link.carrier is True)


@dataclass(frozen=True, slots=True)
class PairView:
    """The netdevs of one pair at one time, by role."""

    links: tuple[LinkState, ...]
    failover: tuple[LinkState, ...]
    standby: tuple[LinkState, ...]
    primary: tuple[LinkState, ...]

    def role(self, role: Role) -> tuple[LinkState, ...]:
        if role == "failover":
            return self.failover
        return self.standby if role == "standby" else self.primary


def view(links: Iterable[LinkState], pair: Pair) -> PairView:
    """Sort a guest's netdevs into the roles of a pair.

    A netdev belongs to the pair by its MAC address, or because it is enslaved to the pair's
    failover netdev (so that a slave with a wrong MAC address is seen, not overlooked).
    """
    every = tuple(links)
    failover = tuple(link for link in every if role_of(link, pair) == "failover")
    masters = {link.name for link in failover}

    def belongs(link: LinkState) -> bool:
        return link.mac.lower() == pair.mac or link.master in masters

    slaves = [
        link for link in every if belongs(link) and link.driver not in (_MASTER, VLAN_DRIVER, None)
    ]
    return PairView(
        links=every,
        failover=failover,
        standby=tuple(link for link in slaves if link.driver == _STANDBY),
        primary=tuple(link for link in slaves if link.driver != _STANDBY),
    )


def wrong_with(view_: PairView, pair: Pair, role: Role, wanted: str) -> str:
    """What is wrong with a role, in words; empty when it is as wanted."""
    found = view_.role(role)
    if wanted == ABSENT:
        return f"there is {_list(found)}" if found else ""
    if not found:
        return f"there is none; the guest has {_list(view_.links)}"
    if len(found) > 1:
        return f"there are {len(found)}: {_list(found)}"
    link = found[0]
    wrong = []
    if link.driver != wanted:
        wrong.append(f"its driver is {link.driver}")
    if link.mac.lower() != pair.mac:
        wrong.append(f"its MAC address is not the pair's {pair.mac}")
    if role != "failover":
        if not view_.failover:
            wrong.append("there is no failover netdev that could be its master")
        elif link.master != view_.failover[0].name:
            wrong.append(f"it is not enslaved to {view_.failover[0].name}")
    if not is_up(link):
        wrong.append(f"it is not up (operstate {link.operstate})")
    return f"{describe(link)}: {', '.join(wrong)}" if wrong else ""


def wrong_addresses(view_: PairView, role: Role, wanted: tuple[Interface, ...]) -> str:
    """Which addresses a role's netdevs have and should not, or lack; empty when none.

    A role that is absent has none, which is right where none are wanted; a pair of which there
    is no netdev at all is not what the case speaks of.
    """
    found = view_.role(role)
    if not found:
        there = view_.failover or view_.standby or view_.primary
        if there and not wanted:
            return ""
        return f"there is none; the guest has {_list(view_.links)}"
    wrong = []
    for link in found:
        has = {ip_interface(one): one for one in link.addresses}
        extra = [text for address, text in has.items() if address not in wanted]
        missing = [str(address) for address in wanted if address not in has]
        if extra:
            wrong.append(f"{describe(link)} carries {', '.join(extra)}")
        if missing:
            wrong.append(f"{describe(link)} does not carry {', '.join(missing)}")
    return "; ".join(wrong)


def shown_addresses(view_: PairView, role: Role) -> str:
    """The addresses of the role's netdevs, or ``absent``."""
    return (
        "; ".join(
            f"{link.name} ({link.driver or 'driver unknown'}) carries "
            + (", ".join(link.addresses) or "no address")
            for link in view_.role(role)
        )
        or ABSENT
    )


def shown(view_: PairView, role: Role) -> str:
    """The role's netdev in words, or ``absent``."""
    return _list(view_.role(role)) if view_.role(role) else ABSENT


def _list(links: Sequence[LinkState]) -> str:
    return ", ".join(describe(link) for link in links) or "no netdevs"


def differences(before: LinkState | None, link: LinkState) -> Iterator[str]:
    """What changed between two messages about a netdev, as an order names it.

    Of a netdev that was not known before, only what it has now is news.
    """
    had = set(before.addresses) if before else set()
    if set(link.addresses) - had:
        yield "address-added"
    if had - set(link.addresses):
        yield "address-removed"
    carrier = before.carrier if before else None
    if link.carrier is True and carrier is not True:
        yield "carrier-on"
    if link.carrier is False and carrier is True:
        yield "carrier-off"


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A link event with the netdev as it was before (None: not known) and as it is."""

    moment: Moment
    before: LinkState | None
    link: LinkState


def changes(events: Sequence[Moment], start: Snapshot | None) -> Iterator[LinkChange]:
    """A guest's link events, each next to what was known of its netdev before.

    That is what the last message said. The start snapshot serves for netdevs of which there
    was none: it comes from other questions to the kernel, which may show what no message has told
    yet (a tentative IPv6 address).
    """
    known = start.links if start else ()
    before: dict[int, LinkState] = {}
    snapshot = start
    for moment, link in zip(events, with_driver(events, known), strict=True):
        if snapshot is not None and moment.t_ns > snapshot.t_ns:
            before = {one.index: one for one in snapshot.links} | before
            snapshot = None
        yield LinkChange(moment, before.get(link.index), link)
        if isinstance(moment.fact, LinkEvent) and moment.fact.event == "removed":
            before.pop(link.index, None)
        else:
            before[link.index] = link


@dataclass(frozen=True, slots=True)
class History:
    """A guest's netdevs after the start snapshot and after each link event that followed.

    ``states[0]`` is the snapshot; ``states[i]`` holds after ``events[i - 1]``.
    ``ambiguous`` names a change that may or may not be in the snapshot already.
    """

    events: tuple[Moment, ...]
    states: tuple[tuple[LinkState, ...], ...]
    ambiguous: str = ""


def with_driver(events: Iterable[Moment], known: Iterable[LinkState]) -> list[LinkState]:
    """The link of each event; a driver that a message left out is the one last known.

    (A netdev's last message comes when sysfs no longer has its driver.)
    """
    drivers = {link.index: link.driver for link in known}
    full: list[LinkState] = []
    for moment in events:
        if not isinstance(moment.fact, LinkEvent):
            continue
        link = moment.fact.link
        if moment.fact.event == "added" and link.driver is None:
            drivers.pop(link.index, None)
        if link.driver is None:
            link = link.model_copy(update={"driver": drivers.get(link.index)})
        drivers[link.index] = link.driver
        full.append(link)
    return full


def history(start: Snapshot, events: Sequence[Moment]) -> History:
    """Follow a guest's netdevs from its start snapshot through its link events."""
    table = {link.index: link for link in start.links}
    after: list[Moment] = []
    states = [tuple(table.values())]
    ambiguous = ""
    for moment, link in zip(events, with_driver(events, start.links), strict=True):
        fact = moment.fact
        if not isinstance(fact, LinkEvent) or fact.t_ns <= start.t_ns:
            continue
        gone = fact.event == "removed"
        overlaps = moment.lo_ns <= start.t_ns + start.err_ns
        changes = link.index in table if gone else table.get(link.index) != link
        if overlaps and changes and not ambiguous:
            ambiguous = f"{link.name} {fact.event} while the start snapshot was being taken"
        if gone:
            table.pop(link.index, None)
        else:
            _rename(table, link)
            table[link.index] = link
        after.append(moment)
        states.append(tuple(table.values()))
    return History(tuple(after), tuple(states), ambiguous)


def _rename(table: dict[int, LinkState], link: LinkState) -> None:
    """Slaves name their master by its name; the kernel says nothing of them when that changes."""
    before = table.get(link.index)
    if before is None or before.name == link.name:
        return
    for index, other in table.items():
        if other.master == before.name:
            table[index] = other.model_copy(update={"master": link.name})
