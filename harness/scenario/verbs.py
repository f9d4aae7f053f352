"""The verbs: what a case, a Python test or a person does to a lab that is up.

Each records when it began and ended and what came of it; none judges. A verb that could
not be carried out because the *lab* broke raises LabError. One that was carried out and did
not lead where it should (a migration that failed, a wait that ran out) raises StepFailed
after recording it: the verdict tells what that means.

A verb that comes with its own module has its function there and its entry in ``carriers``.

Neighbours: ``steps`` numbers and records, ``migrating`` has the verbs of migrations; ``run``
calls all of them for the steps of a case; ``lab`` makes what they need.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import ClassVar

from harness.case import (
    EventIs,
    Exec,
    Kill,
    Migrate,
    MigrationIs,
    Pause,
    PrimaryIs,
    Qmp,
    Steer,
    Wait,
)
from harness.errors import DeadlineExceeded
from harness.observe import VLAN_DRIVER, LinkState
from harness.probe import snapshot
from harness.reach.deadline import Deadline
from harness.reach.machine import Completed
from harness.scenario.migrating import Migrating
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import Carriers


class Verbs(Migrating):
    """The verbs on one lab."""

    carriers: ClassVar[Carriers] = {
        Migrate: lambda verbs, it: verbs.migrate_as(it),
        Steer: lambda verbs, it: verbs.steer(it.guest, it.do),
        Kill: lambda verbs, it: verbs.kill(it.guest),
        Qmp: lambda verbs, it: verbs.qmp(it),
        Wait: lambda verbs, it: verbs.wait(it),
        Pause: lambda verbs, it: verbs.pause(it.root),
        Exec: lambda verbs, it: verbs.exec(it.machine, it.command, rc=it.rc, within=it.within),
    }

    # -- waiting ---------------------------------------------------------------------------

    def wait(self, wanted: Wait) -> None:
        """Wait until a condition of a case holds; StepFailed when it does not within its time."""
        if isinstance(wanted.condition, MigrationIs):
            self.wait_migration(wanted.condition, within=wanted.within)
        elif isinstance(wanted.condition, EventIs):
            self.wait_event(wanted.condition, within=wanted.within)
        else:
            self.wait_primary(wanted.condition, within=wanted.within)

    def wait_primary(self, wanted: PrimaryIs, *, within: float) -> None:
        """Wait until the pair's primary is ``up``, ``present`` or ``absent`` in the guest."""
        guest = self.guest(wanted.guest)
        mac = next(p.mac for p in guest.plan.pairs if p.standby == wanted.primary)
        deadline = Deadline(within)
        with self.step("wait", primary=f"{wanted.guest}/{wanted.primary}", state=wanted.state):
            # What is known of the guest may be older than the step before this one.
            guest.link.catch_up(timeout=deadline.left)
            try:
                guest.links.wait(
                    lambda links: primary_state(links, mac) in _ACCEPTED[wanted.state],
                    deadline,
                    what=f"{guest.name}: primary of {wanted.primary} {wanted.state}",
                    show=lambda links: primary_state(links, mac),
                )
            except DeadlineExceeded as error:
                raise StepFailed(error.message) from error

    def pause(self, seconds: float) -> None:
        """Let time pass while the traffic goes on."""
        with self.step("pause", seconds=seconds):
            threading.Event().wait(seconds)

    def exec(self, machine: str, command: str, *, rc: int = 0, within: float = 10.0) -> Completed:
        """Run a shell command on a machine; StepFailed unless it ends with ``rc``."""
        with self.step("exec", machine=machine, command=command) as told:
            done = self.lab.machine(machine).run(["sh", "-c", command], timeout=within, check=False)
            told.update(rc=done.status, stdout=done.stdout[-2000:], stderr=done.stderr[-2000:])
            if done.status != rc:
                raise StepFailed(
                    f"{machine}: `{command}` ended with status {done.status}, wanted {rc}",
                    evidence=(done.stderr.strip() or done.stdout.strip()).splitlines()[-5:],
                )
        return done

    # -- observation -----------------------------------------------------------------------

    def snapshot(self, moment: str) -> None:
        """Ask every guest for its netdevs, for the record."""
        for guest in self.lab.guests.values():
            self.lab.facts.add(snapshot(guest.machine, guest.name, moment))


_ACCEPTED = {"up": ("up",), "present": ("up", "present"), "absent": ("absent",)}


def primary_state(links: Iterable[LinkState], mac: str) -> str:
    """``up``, ``present`` or ``absent``: the primary of the pair with this MAC address.

    The primary is the netdev with the pair's address that is neither the failover netdev nor
    the standby; ``up`` means enslaved, with carrier.
    """
    for link in links:
        if link.mac == mac and link.driver not in ("net_failover", "virtio_net", VLAN_DRIVER):
            ready = link.master is not None and link.operstate == "up" and link.carrier
            return "up" if ready else "present"
    return "absent"


def pair_state(links: Iterable[LinkState], mac: str) -> str:
    """``complete`` once all three netdevs of the pair are up, else what each of them is."""
    mine = [link for link in links if link.mac == mac and link.driver != VLAN_DRIVER]
    up = [link for link in mine if link.operstate == "up"]
    if len(up) == 3 and primary_state(mine, mac) == "up":
        return "complete"
    return ", ".join(f"{link.name} {link.driver} {link.operstate}" for link in mine) or "no netdev"


__all__ = ["DeadlineExceeded", "StepFailed", "Verbs", "pair_state", "primary_state"]
