"""Follows on which port of a bridge the address of a failover pair is, and records it.

Where a bridge sends the frames for a guest is decided by what it last heard from it: after
a migration they go to the host that the guest has left, and after a fail-over to the port
of the other netdev, until a frame of the guest comes by another way. The moments at which
that changes are the facts ``fdb-learned``, ``fdb-moved`` and ``fdb-removed``, of the hosts'
own bridges and of the networks' (those of host ``lab``). ``device`` is the port that has the
address now (or had it, where the entry was removed); ``data`` holds

=================  ====================================================================
``mac``            the address
``bridge``         the bridge's netdev
``behind``         what is behind the port: ``standby`` or ``primary`` (a guest's tap),
                   ``uplink`` (a host's NIC), or the machine on a network's bridge
``from``           the port that had the address before, where it moved
``from_behind``    what is behind that
=================  ====================================================================

``fdb-lost`` (``data``: ``problem``) is the last fact of a machine that can tell no more.

Only the kernel's announcements are followed, of the pairs' addresses alone; a bridge that
changes nothing costs nothing.

Neighbours: ``lab`` begins and ends one for each machine with bridges; ``handoff`` removes an
entry itself (``fdb-cleared``); ``harness.verdict.causes`` reads the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.errors import DeadlineExceeded, ReachError
from harness.observe import HostEvent, Note
from harness.observe.record import now_ns
from harness.plan.model import Plan
from harness.reach.links import FdbChange, FdbWatch
from harness.reach.machine import Machine

Record = Callable[[HostEvent | Note], None]


def ports_of_lab(plan: Plan) -> dict[str, str]:
    """Port of a network's bridge -> the machine behind it."""
    links = [link for space in plan.namespaces for link in space.links]
    links += [link for host in plan.hosts.values() for link in host.links]
    return {link.port: link.machine for link in links}


def ports_of_host(plan: Plan, host: str, nics: Mapping[str, str]) -> dict[str, str]:
    """Port of a host's bridge -> what is behind it. ``nics``: the host's NICs -> netdevs."""
    uplinks = [nic for bridge in plan.hosts[host].bridges for nic in bridge.nics]
    ports = {nics[nic]: "uplink" for nic in uplinks}
    for guest in plan.guests.values():
        if (placement := guest.placements.get(host)) is None:
            continue
        standbys = {pair.standby for pair in guest.pairs}
        for tap in placement.taps:
            if tap.primary or tap.nic in standbys:
                ports[tap.ifname] = "primary" if tap.primary else "standby"
    return ports


def guests_by_mac(plan: Plan) -> dict[str, str]:
    """The address of each failover pair -> its guest."""
    return {pair.mac.lower(): guest.name for guest in plan.guests.values() for pair in guest.pairs}


class BridgeWatch:
    """The bridges of one machine, from ``begin`` to ``end``.

    ``ports``: what is behind a port, as in the module's head; ``guests``: address -> guest.
    """

    def __init__(
        self,
        host: str,
        machine: Machine,
        ports: Mapping[str, str],
        guests: Mapping[str, str],
        record: Record,
    ) -> None:
        self._host = host
        self._machine = machine
        self._ports = ports
        self._guests = guests
        self._record = record
        self._watch: FdbWatch | None = None

    def begin(self) -> None:
        """Follow from now on; a lab without failover pairs has nothing to follow."""
        if self._guests:
            self._watch = self._machine.links.watch_fdb(self._guests, self._changed)

    def end(self) -> None:
        """Record nothing more: what goes when the lab goes down is no news."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        try:
            watch.stop()
        except (ReachError, DeadlineExceeded) as error:
            # A machine that is gone tells nothing any more; its loss is told by others.
            self._record(Note(t_ns=now_ns(), text=f"{self._host}: bridge entries: {error.message}"))

    def _changed(self, change: FdbChange) -> None:
        """On the thread that reads from the machine's agent: only record."""
        if change.lost:
            self._event("fdb-lost", change, {"problem": change.lost})
            return
        data = {
            "mac": change.mac,
            "bridge": change.bridge,
            "behind": self._ports.get(change.port, ""),
        }
        if change.change == "moved":
            data |= {"from": change.former, "from_behind": self._ports.get(change.former, "")}
        self._event(f"fdb-{change.change}", change, data)

    def _event(self, event: str, change: FdbChange, data: dict[str, str]) -> None:
        self._record(
            HostEvent(
                t_ns=change.at.t_ns,
                err_ns=change.at.err_ns,
                host=self._host,
                event=event,
                guest=self._guests.get(change.mac, ""),
                device=change.port,
                data=data,
            )
        )
