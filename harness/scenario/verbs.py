"""The verbs: what a case, a Python test or a person does to a lab that is up.

Each records when it began and ended and what came of it; none judges. A verb that could
not be carried out because the *lab* broke raises LabError. One that was carried out and did
not lead where it should (a migration that failed, a wait that ran out) raises StepFailed
after recording it: the verdict tells what that means.

Neighbours: ``run`` calls these for the steps of a case; ``lab`` makes what they need.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from harness.case import Exec, Migrate, Pause, PrimaryIs, Step, Wait
from harness.errors import DeadlineExceeded, HarnessError, InputError, LabError, VmError
from harness.lab import Instance, Lab, LabGuest
from harness.observe import TRAFFIC_STEP, VLAN_DRIVER, LinkState, StepFact
from harness.observe.record import now_ns
from harness.probe import snapshot
from harness.reach.deadline import Deadline
from harness.reach.machine import Completed
from harness.vm import MigrationInfo, RunState

_CANCEL_S = 60.0
"""QEMU itself waits up to 30 s for the guest's eject before a cancel is complete."""

_AFTERMATH_S = 10.0
"""How long after the end of a migration the other side may take to say so too."""


class StepFailed(HarnessError):
    """A step was carried out and did not come to its wanted end; judged, not an error."""

    exit_code = 1


class Verbs:
    """The verbs on one lab. Steps are numbered from 1 in the order in which they begin."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._number = 0

    @contextmanager
    def _step(self, verb: str, **about: object) -> Iterator[dict[str, object]]:
        """Records begin and end; what the block puts into the yielded dict goes to the end."""
        self._number += 1
        with self._recorded(f"{self._number} {verb}", about) as told:
            yield told

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Records how the traffic's start went: a step before the first, without a number."""
        with self._recorded(TRAFFIC_STEP, {}):
            yield

    @contextmanager
    def _recorded(self, name: str, about: dict[str, object]) -> Iterator[dict[str, object]]:
        told: dict[str, object] = {}
        self.lab.facts.add(StepFact(t_ns=now_ns(), step=name, phase="begin", data=about))
        try:
            with self.lab.progress.step(f"step {name} " + " ".join(map(str, about.values()))):
                yield told
        except BaseException as error:
            told["reason"] = str(error)
            self._end(name, "failed", told)
            raise
        self._end(name, "done", told)

    def _end(self, name: str, outcome: Any, told: dict[str, object]) -> None:
        self.lab.facts.add(
            StepFact(t_ns=now_ns(), step=name, phase="end", outcome=outcome, data=told)
        )

    def carry_out(self, step: Step) -> None:
        """A step as a case writes it."""
        match step.action:
            case Migrate() as migrate:
                self.migrate(migrate.guest, migrate.to, within=migrate.within)
            case Wait() as wait:
                self.wait_primary(wait.condition, within=wait.within)
            case Pause() as pause:
                self.pause(pause.root)
            case Exec() as command:
                self.exec(command.machine, command.command, rc=command.rc, within=command.within)

    # -- migration -------------------------------------------------------------------------

    def migrate(self, guest: str, to: str, *, within: float = 60.0) -> MigrationInfo:
        """Migrate (precopy) and wait for the end; the source's QEMU is then retired.

        StepFailed when the migration failed: the guest is then still where it was.
        StepFailed too when it was not over ``within`` seconds; it is then cancelled. VmExited
        when a QEMU ended meanwhile.
        """
        moving = self.guest(guest)
        deadline = Deadline(within)
        with self._step("migrate", guest=guest, to=to) as told:
            source = moving.current
            if source.host.name == to:
                raise InputError(f"{guest}: is on {to} already")
            destination = moving.start(self._host(to), incoming=True)
            source.vm.role, destination.vm.role = "source", "destination"
            moving.expect_at(destination)
            uri = self._listen(destination, deadline)
            since = len(source.vm.events)
            source.vm.migrate(uri)
            try:
                info = source.vm.wait_migration(deadline, since=since)
            except DeadlineExceeded as error:
                self._give_up(moving, source, destination, error)
            told["query-migrate"] = {
                "status": info.status,
                "downtime": info.downtime_ms,
                "total-time": info.total_time_ms,
                "setup-time": info.setup_time_ms,
                "error-desc": info.error,
            }
            if info.status != "completed":
                self._stay(moving, source, destination, info)
            destination.vm.wait_event(
                lambda event: event.name == "RESUME",
                deadline.at_most(_AFTERMATH_S),
                what="RESUME of the destination",
            )
            moving.arrived_at(destination)
            moving.retire(source, self.lab.logs)
            destination.vm.role = ""
        return info

    def _listen(self, destination: Instance, deadline: Deadline) -> str:
        """Let the destination listen at a port that its kernel chooses; the URI."""
        address = destination.host.plan.management_address
        if address is None:
            raise LabError(f"{destination.host.name}: has no address for migrations")
        destination.vm.migrate_incoming(f"tcp:{address}:0")
        port = destination.vm.incoming_port()
        return f"tcp:{address}:{port}"

    def _give_up(
        self, guest: LabGuest, source: Instance, destination: Instance, error: DeadlineExceeded
    ) -> NoReturn:
        """A migration that was not over in time is cancelled, and the step has failed: QEMU or
        the guest did not get on (a primary that is not ejected), not the lab."""
        seen = source.vm.query_migrate().status
        source.vm.migrate_cancel()
        source.vm.wait_migration(Deadline(_CANCEL_S))
        guest.retire(destination, self.lab.logs)
        source.vm.role = ""
        raise StepFailed(f"{error.message}; it was {seen}, and was cancelled") from error

    def _stay(
        self, guest: LabGuest, source: Instance, destination: Instance, info: MigrationInfo
    ) -> None:
        """After a migration that failed: find out who is left, and say so."""
        source.vm.role = ""
        # A destination that fails to load says so and ends by itself; one that was killed
        # ends without a word. Either way the lab is not what the case describes any more.
        if destination.vm.ended_within(Deadline(_AFTERMATH_S)):
            destination.vm.must_run()
        guest.retire(destination, self.lab.logs)
        if source.vm.refresh() is not RunState.RUNNING:
            raise VmError(
                f"{guest.name}: the migration {info.status} and the source does not run; "
                f"it is {source.vm.state}"
            )
        raise StepFailed(
            f"{guest.name}: the migration {info.status}" + (f": {info.error}" if info.error else "")
        )

    # -- waiting ---------------------------------------------------------------------------

    def wait_primary(self, wanted: PrimaryIs, *, within: float) -> None:
        """Wait until the pair's primary is ``up``, ``present`` or ``absent`` in the guest."""
        guest = self.guest(wanted.guest)
        mac = next(p.mac for p in guest.plan.pairs if p.standby == wanted.primary)
        deadline = Deadline(within)
        with self._step("wait", primary=f"{wanted.guest}/{wanted.primary}", state=wanted.state):
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
        with self._step("pause", seconds=seconds):
            threading.Event().wait(seconds)

    def exec(self, machine: str, command: str, *, rc: int = 0, within: float = 10.0) -> Completed:
        """Run a shell command on a machine; StepFailed unless it ends with ``rc``."""
        with self._step("exec", machine=machine, command=command) as told:
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

    def guest(self, name: str) -> LabGuest:
        """A guest by its name; InputError lists those there are."""
        try:
            return self.lab.guests[name]
        except KeyError:
            there = ", ".join(self.lab.guests)
            raise InputError(f"no guest {name!r}", hint=f"there are: {there}") from None

    def _host(self, name: str) -> Any:
        try:
            return self.lab.hosts[name]
        except KeyError:
            there = ", ".join(self.lab.hosts)
            raise InputError(f"no host {name!r}", hint=f"there are: {there}") from None


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
