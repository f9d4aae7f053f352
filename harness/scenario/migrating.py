"""Migrations as steps: begun, followed to their end, steered, disturbed.

A `migrate` step lasts until its migration has ended, or with `wait: no` until it has begun;
then ``ongoing`` has it, other steps can happen meanwhile, and the step that waits for its
end (`completed`, `failed`, `cancelled`) concludes it: the guest goes on with the side that
is left, the other QEMU is retired.

Neighbours: ``ongoing`` is one of them, ``aftermath`` looks where the guest is at the end;
``verbs`` has the other verbs and the table of all; ``harness.vm`` speaks to QEMU.
"""

from __future__ import annotations

from typing import Literal, NoReturn

from harness.case import Condition, Migrate, Qmp, QmpCommand
from harness.errors import DeadlineExceeded, InputError, LabError, VmExited
from harness.lab import Instance, Lab, LabGuest
from harness.observe import Note
from harness.observe.record import now_ns
from harness.reach.deadline import Deadline
from harness.scenario.aftermath import Aftermath, after_completion, after_failure
from harness.scenario.ongoing import (
    Ongoing,
    is_status,
    must_say,
    not_as_refused,
    not_so_completed,
)
from harness.scenario.orchestrating import after_migration, before_migration
from harness.scenario.outcome import StepFailed
from harness.scenario.steps import Steps
from harness.vm import MigrationInfo, RunState, Vm
from harness.vm.migration import ENDED, GOES_ON
from harness.vm.session import QmpRefused

_CANCEL_S = 60.0
"""QEMU itself waits up to 30 s for the guest's eject before a cancel is complete."""
_AT_ONCE_S = 10.0
"""For what a QEMU does without a guest or a network to wait for."""
_PORTS = 10
"""So many are tried until one is free."""


class Migrating(Steps):
    """The verbs of migrations. ``ongoing``: guest -> the migration that nobody has concluded."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.ongoing: dict[str, Ongoing] = {}

    # -- begin to end ----------------------------------------------------------------------

    def migrate(
        self, guest: str, to: str, *, within: float = 60.0, **terms: object
    ) -> MigrationInfo:
        """Migrate and wait for the end, as a case does; ``terms`` are the other keys of the
        step (``mode="postcopy"``). The side that is not left is then retired.

        StepFailed when it did not end as wanted, or left the guest running on neither side or
        on both: it then goes on where it was. StepFailed too when it was not over ``within``
        seconds; it is then cancelled. VmExited when something ended a QEMU meanwhile, or when
        the destination's refused to start.
        """
        said = {"guest": guest, "to": to, "within": f"{within:f}s", **terms}
        return self.migrate_as(Migrate.model_validate(said))

    def migrate_as(self, terms: Migrate) -> MigrationInfo:
        """The same by the arguments of the step. With ``wait: no``, what QEMU says at once."""
        deadline = Deadline(terms.within)
        about = {name: value for name, value in terms if name in ("guest", "to")}
        about |= terms.model_dump(mode="json", exclude_defaults=True, exclude={"guest", "to"})
        with self.step("migrate", **about) as told:
            managed = terms.orchestration == "management"
            if managed:
                before_migration(self, self.guest(terms.guest), terms.leave_out, deadline)
            ongoing = self._begin(terms, deadline)
            if ongoing is None:
                return MigrationInfo("refused")
            if not terms.wait:
                self.ongoing[terms.guest] = ongoing
                return ongoing.source.vm.query_migrate()
            try:
                info = self._follow(ongoing, deadline)
            except DeadlineExceeded as error:
                self._give_up(ongoing, error)
            self._conclude(ongoing, info, terms.ends, terms.error, deadline, told)
            if managed:
                after_migration(self.guest(terms.guest), terms.leave_out, told)
        return info

    def _begin(self, terms: Migrate, deadline: Deadline) -> Ongoing | None:
        """Start the destination's QEMU and the migration; None when QEMU refused it as wanted."""
        guest = self.guest(terms.guest)
        if guest.name in self.ongoing:
            raise InputError(f"{guest.name}: is migrating already")
        source = guest.current
        if source.host.name == terms.to:
            raise InputError(f"{guest.name}: is on {terms.to} already")
        destination = self._destination(guest, terms.to)
        source.vm.role, destination.vm.role = "source", "destination"
        guest.expect_at(destination)
        ran = source.vm.refresh() is RunState.RUNNING
        since = len(source.vm.events)
        ongoing = Ongoing(guest, source, destination, terms, since, since, ran)
        try:
            self._start(ongoing)
        except QmpRefused as error:
            self._go_on(ongoing, Aftermath("source", not_as_refused(error, terms)))
            return None
        except StepFailed as error:  # a command for the destination
            self._go_on(ongoing, Aftermath("source", error))
        if terms.ends == "refused":
            source.vm.migrate_cancel()
            source.vm.wait_migration(Deadline(_CANCEL_S), since=since)
            wrong = StepFailed(f"{guest.name}: QEMU began the migration, and was to refuse it")
            self._go_on(ongoing, Aftermath("source", wrong))
        return ongoing

    def _start(self, ongoing: Ongoing) -> None:
        terms, vm = ongoing.terms, ongoing.destination.vm
        address = terms.listen or ongoing.destination.host.plan.management_address
        if address is None:
            raise LabError(f"{ongoing.destination.host.name}: has no address for migrations")
        for command in terms.destination:
            self._execute(vm, command)
        capabilities, parameters = terms.wanted_capabilities(), terms.wanted_parameters()
        vm.migrate_incoming(f"tcp:{address}:0", capabilities=capabilities, parameters=parameters)
        ongoing.uri = f"tcp:{address}:{vm.incoming_port()}"
        ongoing.source.vm.migrate(ongoing.uri, capabilities=capabilities, parameters=parameters)

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

    def _follow(self, ongoing: Ongoing, deadline: Deadline) -> MigrationInfo:
        """Do what the step asks for at each status, until the migration has ended."""
        terms, vm = ongoing.terms, ongoing.source.vm
        while True:
            status = ongoing.next_status(deadline, what="end of the migration")
            if status in ENDED:
                return vm.query_migrate()
            if terms.cancel and terms.cancel.at == status:
                self._tell(vm, "cancel")
            elif terms.kill and terms.kill.at == status:
                ongoing.destination.vm.kill()
            elif status == "pre-switchover" and terms.pause_before_switchover:
                self._tell(vm, "continue")
            elif status == "active" and terms.mode == "postcopy":
                self._tell(vm, "start-postcopy")

    def _tell(self, vm: Vm, do: str) -> None:
        """QEMU may have gone on already and refuse it: how the migration ends tells enough."""
        try:
            vm.execute(*GOES_ON[do])
        except QmpRefused as error:
            self.lab.facts.add(Note(t_ns=now_ns(), text=error.message))

    # -- where the guest is ----------------------------------------------------------------

    def guest(self, name: str) -> LabGuest:
        """As of ``Steps``. One that runs on the destination of a migration that no step has
        concluded yet is to be found there."""
        guest = super().guest(name)
        ongoing = self.ongoing.get(name)
        if ongoing and ongoing.has_arrived and guest.current is not ongoing.destination:
            guest.arrived_at(ongoing.destination)
        return guest

    # -- the end ---------------------------------------------------------------------------

    def _conclude(
        self,
        ongoing: Ongoing,
        info: MigrationInfo,
        wanted: str,
        error: str | None,
        deadline: Deadline,
        told: dict[str, object],
    ) -> None:
        """Look where the guest is and go on there; StepFailed unless all is as wanted."""
        told["query-migrate"] = {
            "status": info.status,
            "downtime": info.downtime_ms,
            "total-time": info.total_time_ms,
            "setup-time": info.setup_time_ms,
            "passes": info.passes,
            "error-desc": info.error,
        }
        source, destination = ongoing.side(ongoing.source), ongoing.side(ongoing.destination)
        if info.status == "completed":
            aftermath = after_completion(source, destination, deadline)
            aftermath = Aftermath(
                aftermath.left, aftermath.wrong or not_so_completed(ongoing, wanted, info)
            )
        else:
            aftermath = after_failure(
                source,
                destination,
                info,
                since=ongoing.since,
                wanted=info.status == wanted,
                ran=ongoing.ran,
            )
            if error and aftermath.wrong is None:
                words = (info.error, *destination.vm.log_tail(), *source.vm.log_tail())
                aftermath = Aftermath(aftermath.left, must_say(source.vm.guest, error, words))
        self._go_on(ongoing, aftermath)

    def _give_up(self, ongoing: Ongoing, error: DeadlineExceeded) -> NoReturn:
        """A migration that was not over in time is cancelled, and the step has failed: QEMU or
        the guest did not get on (a primary that is not ejected), not the lab."""
        vm = ongoing.source.vm
        seen = vm.query_migrate().status
        self._tell(vm, "cancel")
        info = vm.wait_migration(Deadline(_CANCEL_S), since=ongoing.since)
        late = f"{error.message}; it was {seen}, and was cancelled"
        left: Literal["source", "destination"] = "source"
        if info.status == "completed":  # it was quicker than the cancel
            late, left = f"{error.message}; it was {seen}, and completed late", "destination"
        failure = StepFailed(late)
        failure.__cause__ = error
        self._go_on(ongoing, Aftermath(left, failure))
        raise failure

    def _go_on(self, ongoing: Ongoing, aftermath: Aftermath) -> None:
        """Go on with the side that is left and retire the other; StepFailed if anything is
        wrong, once the guest runs again somewhere."""
        guest, source, destination = ongoing.guest, ongoing.source, ongoing.destination
        self.ongoing.pop(guest.name, None)
        there = destination if aftermath.left == "destination" else source
        if guest.current is not there:
            guest.arrived_at(there)
        if there is destination:
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

    def end_migrations(self) -> None:
        """End the migrations that no step has concluded (one that was to do it was not reached),
        so that the guests' records can be had."""
        for ongoing in list(self.ongoing.values()):
            vm = ongoing.source.vm
            text = f"{vm.guest}: its migration, {vm.query_migrate().status}, was ended at the end"
            try:
                self._tell(vm, "cancel")
                info = vm.wait_migration(Deadline(_CANCEL_S), since=ongoing.since)
                self._conclude(ongoing, info, info.status, None, Deadline(_AT_ONCE_S), {})
            except (StepFailed, DeadlineExceeded) as error:
                text += f": {error.message}"
            self.lab.facts.add(Note(t_ns=now_ns(), text=text))

    # -- meanwhile -------------------------------------------------------------------------

    def wait_migration(
        self, wanted: Condition, deadline: Deadline, told: dict[str, object]
    ) -> None:
        """Wait until a migration that was begun reports a status; one that it ends with
        concludes it. StepFailed when it ends otherwise."""
        ongoing, status = self._ongoing(wanted.guest), ""
        while status not in (wanted.migration, *ENDED):
            status = ongoing.next_status(deadline, what=f"{wanted} of {wanted.guest}")
        if status in ENDED:
            info, wait = ongoing.source.vm.query_migrate(), Deadline(_AT_ONCE_S)
            self._conclude(ongoing, info, wanted.migration or "", wanted.error, wait, told)

    def wait_event(self, wanted: Condition, deadline: Deadline) -> None:
        """Wait until the destination's QEMU has sent an event since it was started."""
        self._ongoing(wanted.guest).destination.vm.wait_event(
            lambda event: event.name == wanted.event, deadline, what=str(wanted)
        )

    def steer(self, guest: str, do: str) -> None:
        """Tell a migration what to do next; StepFailed when QEMU refuses."""
        with self.step("migration", guest=guest, do=do):
            ongoing = self._ongoing(guest)
            try:
                if do == "recover":
                    self._recover(ongoing)
                else:
                    ongoing.source.vm.execute(*GOES_ON[do])
            except QmpRefused as error:
                raise StepFailed(error.message) from error

    def _recover(self, ongoing: Ongoing) -> None:
        destination = ongoing.destination.vm
        destination.wait_event(
            lambda event: is_status(event) and event.data.get("status") == "postcopy-paused",
            Deadline(_AT_ONCE_S),
            what="postcopy-paused of the destination",
        )
        # A QEMU that waits for memory cannot be asked which port its kernel has chosen.
        host, _, port = ongoing.uri.rpartition(":")
        for number in range(int(port) + 1, int(port) + 1 + _PORTS):
            uri = f"{host}:{number % 65536 or 1024}"
            try:
                destination.recover_incoming(uri)
            except QmpRefused as error:
                refused = error
                continue
            ongoing.source.vm.resume_migration(uri)
            return
        raise refused

    def kill(self, guest: str) -> None:
        """End the QEMU that a guest migrates to, by SIGKILL."""
        with self.step("kill", guest=guest, side="destination"):
            self._ongoing(guest).destination.vm.kill()

    def qmp(self, wanted: Qmp) -> object:
        """A QMP command to a QEMU of a guest; its answer. StepFailed when QEMU refuses it and
        was not to, or otherwise than it was to."""
        about = {"guest": wanted.guest, "side": wanted.side, "execute": wanted.execute}
        with self.step("qmp", **about, arguments=dict(wanted.arguments)) as told:
            on_destination = wanted.side == "destination"
            vm = (
                self._ongoing(wanted.guest).destination.vm
                if on_destination
                else self.guest(wanted.guest).current.vm
            )
            told["answer"] = answer = self._execute(vm, wanted)
        return answer

    def _execute(self, vm: Vm, command: QmpCommand) -> object:
        try:
            answer = vm.execute(command.execute, command.arguments)
        except QmpRefused as error:
            if command.error is None or command.error not in error.description:
                raise StepFailed(error.message) from error
            return error.description
        if command.error is not None:
            raise StepFailed(
                f"{vm.title}: QEMU did {command.execute}, and was to refuse it: {command.error}"
            )
        return answer

    def _ongoing(self, guest: str) -> Ongoing:
        self.guest(guest)
        try:
            return self.ongoing[guest]
        except KeyError:
            raise StepFailed(
                f"{guest}: no migration of it is going on",
                hint="begin one that the step does not wait for: migrate: {..., wait: no}",
            ) from None
