"""A fact in words: who says it, and what. The first line says it all; those behind it go into
detail.

Neighbours: ``timeline`` prints them; ``harness.verdict.links`` knows the netdevs' roles and what
two messages about one differ in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.observe import (
    Accelerator,
    Fact,
    GuestBoot,
    GuestClock,
    GuestStart,
    HostEvent,
    Inventory,
    KernelMessage,
    LinkEvent,
    LinkState,
    Note,
    PathFact,
    ProbeLoad,
    QmpEvent,
    Snapshot,
    StepFact,
    StreamFact,
    TcpFact,
)
from harness.verdict import Evidence
from harness.verdict.links import LinkChange, changes, describe, differences, role_of

_LEVELS = ("emergency", "alert", "critical", "error", "warning")


class Teller:
    """Words for the facts of one run."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        guests = {fact.guest for fact in evidence.facts if isinstance(fact, LinkEvent)}
        self._changes = {
            id(change.moment.fact): change
            for guest in guests
            for change in changes(evidence.links(guest), evidence.snapshot(guest, "start"))
        }

    def who(self, fact: Fact) -> str:
        """Who says it."""
        if isinstance(fact, QmpEvent):
            return f"{fact.role or 'QEMU'} {fact.guest}@{fact.host}"
        if isinstance(fact, KernelMessage):
            return f"kernel {fact.guest or fact.host}"
        if isinstance(fact, LinkEvent | Snapshot | GuestClock | GuestBoot | ProbeLoad):
            return f"guest {fact.guest}"
        if isinstance(fact, HostEvent):
            return f"host {fact.host}"
        if isinstance(fact, GuestStart):
            return f"guest {fact.guest}"
        if isinstance(fact, Accelerator):
            return f"machine {fact.machine}"
        return "harness"

    def what(self, fact: Fact) -> tuple[str, ...]:
        """What it says."""
        if isinstance(fact, QmpEvent):
            return (_words(fact.name, _data(fact.data)),)
        if isinstance(fact, LinkEvent):
            return (self._link(fact, self._changes[id(fact)]),)
        if isinstance(fact, KernelMessage):
            # As dmesg prints it, so that the console's log can be searched for it.
            level = f"{_LEVELS[fact.level]}: " if fact.level < len(_LEVELS) else ""
            stamp = f"[{fact.stamp_us // 1_000_000:5}.{fact.stamp_us % 1_000_000:06}]"
            return (f"{stamp} {level}{fact.text}",)
        if isinstance(fact, Snapshot):
            links = [self._named(fact.guest, link) + _addresses(link) for link in fact.links]
            return (f"snapshot {fact.moment}: {len(links)} netdevs", *links)
        if isinstance(fact, HostEvent):
            about = fact.guest and f"of {fact.guest}"
            return (_words(fact.event, fact.device, about, _data(fact.data)),)
        if isinstance(fact, StepFact):
            return (_words("step", fact.step, fact.phase, fact.outcome),)
        return (_record(fact),)

    def _link(self, fact: LinkEvent, change: LinkChange) -> str:
        differs = ", ".join(_differences(fact, change))
        if not differs and fact.event == "changed":
            return f"link changed: {change.link.name}, in nothing that is recorded"
        told = f"link {fact.event}: {self._named(fact.guest, change.link)}"
        return f"{told}: {differs}" if differs else told

    def _named(self, guest: str, link: LinkState) -> str:
        """A netdev in words, by its part in a failover pair if it has one."""
        pairs = [pair for pair in self._evidence.pairs if pair.guest == guest]
        for pair in pairs:
            if role := role_of(link, pair):
                return _words(pair.standby if len(pairs) > 1 else "", role, describe(link))
        return describe(link)


def _differences(fact: LinkEvent, change: LinkChange) -> Iterator[str]:
    """What differs from the message before, in the words of order expectations where they have
    some."""
    before, link = change.before, change.link
    had = set(before.addresses) if before else set()
    which = {
        "address-added": [one for one in link.addresses if one not in had],
        "address-removed": sorted(had - set(link.addresses)),
    }
    if fact.event == "removed":
        return
    for name in differences(before, link):
        yield _words(name, ", ".join(which.get(name, ())))
    if fact.why:
        yield fact.why
    if before is None:
        return
    if before.name != link.name:
        yield f"it was {before.name}"
    if before.mac != link.mac:
        yield f"its MAC address was {before.mac}"
    if before.master and before.master != link.master:
        yield f"its master was {before.master}"
    if before.operstate != link.operstate:
        yield f"operstate was {before.operstate}"
    if before.mtu and before.mtu != link.mtu:
        yield f"mtu {before.mtu} to {link.mtu}"


def _record(fact: Fact) -> str:
    """What the harness says of its own doing."""
    if isinstance(fact, StreamFact | TcpFact | PathFact):
        state = "complete" if fact.complete else f"incomplete: {fact.problem}"
    if isinstance(fact, StreamFact | TcpFact):
        return f"stream {fact.stream} {fact.sender} to {fact.receiver}, {state}"
    if isinstance(fact, PathFact):
        legs = "replies" if fact.leg == "reply" else f"{fact.leg}s"
        return (
            f"stream {fact.stream} ({legs}) at the taps of {fact.guest}'s {fact.role} on "
            f"{fact.host}, {state}"
        )
    if isinstance(fact, ProbeLoad):
        return (
            f"its probe so far ({fact.moment}): {fact.cpu_ns / 1e9:.3f} s of processor time, at "
            f"most {fact.peak_octets / 2**20:.1f} MiB, {fact.sent_octets / 2**10:.1f} KiB sent"
        )
    if isinstance(fact, Accelerator):
        return f"accelerator {fact.accelerator} ({fact.evidence})"
    if isinstance(fact, GuestStart):
        return guest_start(fact.how, fact.state, fact.made, fact.why)
    if isinstance(fact, Note):
        return fact.text
    if isinstance(fact, Inventory):
        return (
            f"inventory {fact.moment} of {fact.guest}'s QEMU: devices {' '.join(fact.devices)}; "
            f"netdevs {' '.join(fact.netdevs)}; {fact.objects} objects"
        )
    if isinstance(fact, GuestBoot):
        return "was reset"
    if isinstance(fact, GuestClock):
        return f"clock {fact.guest_ns}"
    return fact.kind


def guest_start(how: str, state: str, made: str, why: str) -> str:
    """How a guest came to run, from what a GuestStart says."""
    return f"booted: {why}" if how == "booted" else f"loaded from state {state[:16]}, made {made}"


def _addresses(link: LinkState) -> str:
    return ": " + ", ".join(link.addresses) if link.addresses else ""


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _data(data: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in data.items()
    )
