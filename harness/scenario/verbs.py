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
    Condition,
    Exec,
    Kill,
    Migrate,
    Pause,
    Qmp,
    State,
    Steer,
    Wait,
)
from harness.errors import DeadlineExceeded
from harness.observe import VLAN_DRIVER, LinkState
from harness.probe import snapshot
from harness.reach.deadline import Deadline
from harness.reach.machine import Completed
from harness.scenario import devices, guests, orchestrating
from harness.scenario.inventory import inventory
from harness.scenario.migrating import Migrating
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import Carriers
from harness.scenario.waiting import role_state, wait_until


class Verbs(Migrating):
    """The verbs on one lab."""

    carriers: ClassVar[Carriers] = {
        Migrate: lambda verbs, it: verbs.migrate_as(it),
        Steer: lambda verbs, it: verbs.steer(it.guest, it.do),
        Kill: lambda verbs, it: verbs.kill(it.guest),
        Qmp: lambda verbs, it: verbs.qmp(it),
        Wait: lambda verbs, it: verbs.wait(it.condition, within=it.within),
        Pause: lambda verbs, it: verbs.pause(it.root),
        Exec: lambda verbs, it: verbs.exec(
            it.machine, it.command, rc=it.rc, says=it.says, within=it.within
        ),
        **devices.CARRIERS,
        **guests.CARRIERS,
        **orchestrating.CARRIERS,
    }

    # -- waiting ---------------------------------------------------------------------------

    def wait(self, wanted: Condition, *, within: float) -> None:
        """Wait until a condition holds; StepFailed when it does not ``within`` seconds."""
        self.guest(wanted.guest)
        about = wanted.model_dump(exclude_none=True, by_alias=True)
        deadline = Deadline(within)
        with self.step("wait", **about) as told:
            try:
                if wanted.migration is not None:
                    self.wait_migration(wanted, deadline, told)
                elif wanted.side is not None:
                    self.wait_event(wanted, deadline)
                else:
                    wait_until(self, wanted, deadline)
            except DeadlineExceeded as error:
                raise StepFailed(error.message) from error

    def wait_primary(self, guest: str, standby: str, state: State, *, within: float) -> None:
        """Wait until the pair's primary is ``up``, ``present``, ``down`` or ``absent``."""
        self.wait(Condition(guest=guest, primary=standby, state=state), within=within)

    def pause(self, seconds: float) -> None:
        """Let time pass while the traffic goes on."""
        with self.step("pause", seconds=seconds):
            threading.Event().wait(seconds)

    def exec(
        self,
        machine: str,
        command: str,
        *,
        rc: int = 0,
        says: str | None = None,
        within: float = 10.0,
    ) -> Completed:
        """Run a shell command on a machine; StepFailed unless it ends with ``rc``, and its
        output holds ``says``."""
        with self.step("exec", machine=machine, command=command) as told:
            if machine in self.lab.guests:
                self.guest(machine)  # its agent is asked where it runs now
            done = self.lab.machine(machine).run(["sh", "-c", command], timeout=within, check=False)
            told.update(rc=done.status, stdout=done.stdout[-2000:], stderr=done.stderr[-2000:])
            if done.status != rc:
                raise StepFailed(
                    f"{machine}: `{command}` ended with status {done.status}, wanted {rc}",
                    evidence=(done.stderr.strip() or done.stdout.strip()).splitlines()[-5:],
                )
            if says is not None and says not in done.stdout + done.stderr:
                said = (done.stdout + done.stderr).strip()[-500:] or "nothing"
                raise StepFailed(f"{machine}: `{command}` did not say '{says}'; it said: {said}")
        return done

    # -- observation -----------------------------------------------------------------------

    def snapshot(self, moment: str) -> None:
        """Ask every guest that runs for its netdevs, and its QEMU what it has, for the record."""
        for guest in self.lab.guests.values():
            if guest.running:
                self.lab.facts.add(snapshot(guest.machine, guest.name, moment))
                self.lab.facts.add(inventory(guest, moment))


def pair_state(links: Iterable[LinkState], mac: str) -> str:
    """``complete`` once all three netdevs of the pair are up, else what each of them is."""
    mine = [link for link in links if link.mac == mac and link.driver != VLAN_DRIVER]
    up = [link for link in mine if link.operstate == "up"]
    if len(up) == 3 and role_state(mine, mac, "primary") == "up":
        return "complete"
    return ", ".join(f"{link.name} {link.driver} {link.operstate}" for link in mine) or "no netdev"


__all__ = ["DeadlineExceeded", "StepFailed", "Verbs", "pair_state"]
