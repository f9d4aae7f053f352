"""The verbs: what a case, a Python test or a person does to a lab that is up.

Each records when it began and ended and what came of it; none judges. A verb that could
not be carried out because the *lab* broke raises LabError. One that was carried out and did
not lead where it should (a migration that failed, a wait that ran out) raises StepFailed
after recording it: the verdict tells what that means.

A verb that comes with its own module has its function there and its entry in ``carriers``.

Neighbours: ``steps`` numbers and records; ``run`` calls these for the steps of a case; ``lab``
makes what they need.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import ClassVar, Literal, NoReturn

from harness.case import Condition, Exec, Migrate, Pause, State, Wait
from harness.errors import DeadlineExceeded, InputError, LabError, VmExited
from harness.lab import Instance, LabGuest
from harness.observe import VLAN_DRIVER, LinkState, Note
from harness.observe.record import now_ns
from harness.probe import snapshot
from harness.reach.deadline import Deadline
from harness.reach.machine import Completed
from harness.scenario import devices, guests
from harness.scenario.aftermath import Aftermath, Side, after_completion, after_failure
from harness.scenario.inventory import inventory
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import Carriers, Steps
from harness.scenario.waiting import role_state, wait_until
from harness.vm import MigrationInfo, RunState

_CANCEL_S = 60.0
"""QEMU itself waits up to 30 s for the guest's eject before a cancel is complete."""


class Verbs(Steps):
    """The verbs on one lab."""

    carriers: ClassVar[Carriers] = {
        Migrate: lambda verbs, it: verbs.migrate(it.guest, it.to, within=it.within),
        Wait: lambda verbs, it: verbs.wait(it.condition, within=it.within),
        Pause: lambda verbs, it: verbs.pause(it.root),
        Exec: lambda verbs, it: verbs.exec(
            it.machine, it.command, rc=it.rc, says=it.says, within=it.within
        ),
        **devices.CARRIERS,
        **guests.CARRIERS,
    }

    # -- migration -------------------------------------------------------------------------

    def migrate(self, guest: str, to: str, *, within: float = 60.0) -> MigrationInfo:
        """Migrate (precopy) and wait for the end; the source's QEMU is then retired.

        StepFailed when the migration failed, or left the guest running on neither side or on
        both: it then goes on where it was. StepFailed too when it was not over ``within``
        seconds; it is then cancelled. VmExited when something ended a QEMU meanwhile, or when
        the destination's refused to start.
        """
        moving = self.guest(guest)
        deadline = Deadline(within)
        with self.step("migrate", guest=guest, to=to) as told:
            source = moving.current
            if source.host.name == to:
                raise InputError(f"{guest}: is on {to} already")
            destination = self._destination(moving, to)
            source.vm.role, destination.vm.role = "source", "destination"
            moving.expect_at(destination)
            uri = self._listen(destination, deadline)
            since = len(source.vm.events)
            source.vm.migrate(uri)
            try:
                info = source.vm.wait_migration(deadline, since=since)
            except DeadlineExceeded as error:
                self._give_up(moving, source, destination, error, since=since)
            told["query-migrate"] = {
                "status": info.status,
                "downtime": info.downtime_ms,
                "total-time": info.total_time_ms,
                "setup-time": info.setup_time_ms,
                "error-desc": info.error,
            }
            sides = _side(moving, source), _side(moving, destination)
            if info.status == "completed":
                aftermath = after_completion(*sides, deadline)
            else:
                aftermath = after_failure(*sides, info, since=since)
            self._go_on(moving, source, destination, aftermath)
        return info

    def _destination(self, guest: LabGuest, to: str) -> Instance:
        """A QEMU on ``to`` that waits for the guest. One that refuses to start is cleared away:
        the guest goes on where it is."""
        before = guest.instances
        try:
            return guest.start(self.host(to), incoming=True)
        except VmExited:
            for instance in guest.instances[len(before) :]:
                guest.retire(instance, self.lab.logs)
            raise

    def _listen(self, destination: Instance, deadline: Deadline) -> str:
        """Let the destination listen at a port that its kernel chooses; the URI."""
        address = destination.host.plan.management_address
        if address is None:
            raise LabError(f"{destination.host.name}: has no address for migrations")
        destination.vm.migrate_incoming(f"tcp:{address}:0")
        port = destination.vm.incoming_port()
        return f"tcp:{address}:{port}"

    def _give_up(
        self,
        guest: LabGuest,
        source: Instance,
        destination: Instance,
        error: DeadlineExceeded,
        *,
        since: int,
    ) -> NoReturn:
        """A migration that was not over in time is cancelled, and the step has failed: QEMU or
        the guest did not get on (a primary that is not ejected), not the lab."""
        seen = source.vm.query_migrate().status
        source.vm.migrate_cancel()
        info = source.vm.wait_migration(Deadline(_CANCEL_S), since=since)
        late = f"{error.message}; it was {seen}, and was cancelled"
        left: Literal["source", "destination"] = "source"
        if info.status == "completed":  # it was quicker than the cancel
            late, left = f"{error.message}; it was {seen}, and completed late", "destination"
        failure = StepFailed(late)
        failure.__cause__ = error
        self._go_on(guest, source, destination, Aftermath(left, failure))
        raise failure

    def _go_on(
        self, guest: LabGuest, source: Instance, destination: Instance, aftermath: Aftermath
    ) -> None:
        """Go on with the side that is left and retire the other; StepFailed if anything is
        wrong, once the guest runs again somewhere."""
        if aftermath.left == "destination":
            guest.arrived_at(destination)
            guest.retire(source, self.lab.logs)
            destination.vm.role = ""
        else:
            guest.retire(destination, self.lab.logs)
            source.vm.role = ""
            if aftermath.wrong and source.vm.refresh() is not RunState.RUNNING:
                # What it has recorded of the traffic can be had only from a guest that runs.
                source.vm.resume()
                text = f"{guest.name}: the harness let it run again on {source.host.name}"
                self.lab.facts.add(Note(t_ns=now_ns(), text=text))
        if aftermath.wrong:
            raise aftermath.wrong

    # -- waiting ---------------------------------------------------------------------------

    def wait(self, wanted: Condition, *, within: float) -> None:
        """Wait until a condition holds; StepFailed when it does not ``within`` seconds."""
        self.guest(wanted.guest)
        about = wanted.model_dump(exclude_none=True, by_alias=True)
        with self.step("wait", **about):
            wait_until(self, wanted, Deadline(within))

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


def _side(guest: LabGuest, instance: Instance) -> Side:
    host = instance.host.name
    return Side(instance.vm, guest.qemu_versions[host], guest.machine_types[host])


def pair_state(links: Iterable[LinkState], mac: str) -> str:
    """``complete`` once all three netdevs of the pair are up, else what each of them is."""
    mine = [link for link in links if link.mac == mac and link.driver != VLAN_DRIVER]
    up = [link for link in mine if link.operstate == "up"]
    if len(up) == 3 and role_state(mine, mac, "primary") == "up":
        return "complete"
    return ", ".join(f"{link.name} {link.driver} {link.operstate}" for link in mine) or "no netdev"


__all__ = ["DeadlineExceeded", "StepFailed", "Verbs", "pair_state"]
