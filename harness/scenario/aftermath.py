"""After a migration: where the guest is, and that it runs there and nowhere else.

Source and destination may be different QEMUs, and either may be the one under test. So what a
QEMU does to the other by itself (a destination that cannot load and ends, a source that
takes a lost guest for a migrated one, a guest that runs twice) is what the case wants to
know: a step that failed. A QEMU that something else has ended (SIGKILL) is a lab that broke.

Neighbours: ``verbs`` migrates, and retires the side that is not left.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.errors import DeadlineExceeded, VmExited
from harness.reach.deadline import Deadline
from harness.scenario.outcome import StepFailed
from harness.vm import MigrationInfo, RunState, Vm

AFTERMATH_S = 10.0
"""How long after the end of a migration the other side may take to say so too."""

_CRASHES = {
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP,
}  # fmt: skip
"""Signals that a program brings upon itself."""


@dataclass(frozen=True, slots=True)
class Side:
    """The QEMU of one side of a migration, and what it says it is."""

    vm: Vm
    version: str
    machine: str

    @property
    def host(self) -> str:
        return self.vm.machine.name

    def __str__(self) -> str:
        return f"{self.host} (QEMU {self.version}, {self.machine})"


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The side that the guest is to go on at, and what is wrong, if anything is."""

    left: Literal["source", "destination"]
    wrong: StepFailed | None = None


def after_completion(
    source: Side, destination: Side, deadline: Deadline, *, since: int = 0
) -> Aftermath:
    """After a source that says `completed`: the destination has to run, the source not to.

    ``since`` is the position in the destination's events before the migration.
    """
    guest = source.vm.guest
    try:
        destination.vm.wait_event(
            lambda event: event.name == "RESUME",
            deadline.at_most(AFTERMATH_S),
            since=since,
            what="RESUME of the destination",
        )
    except VmExited as error:
        _must_be_its_own(destination.vm)
        return Aftermath(
            "source",
            _failed(
                f"{guest}: the migration completed, says the source {source}, but the destination "
                f"{destination} did not run it and ended: the guest was lost ({error.message})",
                source, destination, error.evidence,
            ),
        )  # fmt: skip
    except DeadlineExceeded as error:
        return Aftermath(
            "source",
            _failed(
                f"{guest}: the migration completed, says the source {source}, but the guest does "
                f"not run on the destination {destination}, which is {destination.vm.refresh()}: "
                f"{error.message}",
                source, destination, destination.vm.log_tail(),
            ),
        )  # fmt: skip
    if source.vm.refresh() is RunState.RUNNING:
        return Aftermath("destination", _twice(source, destination, "completed"))
    return Aftermath("destination")


def after_failure(
    source: Side,
    destination: Side,
    info: MigrationInfo,
    *,
    since: int,
    wanted: bool = False,
    ran: bool = True,
) -> Aftermath:
    """After a migration that did not complete: the source has to run, the destination not to.

    ``since`` is the position in the source's events before the migration. ``wanted``: that it
    did not complete is what the step is for, and not wrong. ``ran``: the guest was not stopped
    before it. VmExited when neither itself nor a step has ended the destination.
    """
    guest = source.vm.guest
    what = f"{guest}: the migration {info.status}" + (f": {info.error}" if info.error else "")
    evidence: Iterable[str] = ()
    # A destination that fails to load says so and ends by itself.
    if destination.vm.ended_within(Deadline(AFTERMATH_S)):
        _must_be_its_own(destination.vm)
        ended = _how(destination.vm)
        what += f"; the destination {destination} ended {ended}; the source is {source}"
        evidence = destination.vm.log_tail()
    elif destination.vm.refresh() is RunState.RUNNING:
        if _runs(source.vm, since):
            return Aftermath("source", _twice(source, destination, info.status))
        what += f"; yet the guest runs on the destination {destination} and not on {source}"
        return Aftermath("source", _failed(what, source, destination, ()))
    if ran and not _runs(source.vm, since):
        what += f"; and the guest runs on neither side: the source is {source.vm.state}"
    elif wanted:
        return Aftermath("source")
    return Aftermath("source", _failed(what, source, destination, evidence))


def _runs(source: Vm, since: int) -> bool:
    """Whether the source runs. It may have stopped for the switchover, and say `failed` before it
    goes on (before 11.0, which has `failing`): that is waited for."""
    if source.refresh() is RunState.RUNNING:
        return True
    try:
        source.wait_event(
            lambda event: event.name == "RESUME",
            Deadline(AFTERMATH_S),
            since=since,
            what="RESUME of the source",
        )
    except DeadlineExceeded:
        return False
    return source.refresh() is RunState.RUNNING


def _must_be_its_own(vm: Vm) -> None:
    """VmExited unless the QEMU, which has ended, did so by itself (or by a crash), or was told to
    by a step."""
    status = vm.exit_status
    if vm.killed:
        return
    if status is None or (status < 0 and -status not in _CRASHES):
        vm.must_run()


def _how(vm: Vm) -> str:
    status = vm.exit_status or 0
    if status < 0:
        return f"by signal {signal.Signals(-status).name}"
    return f"by itself with status {status}"


def _twice(source: Side, destination: Side, status: str) -> StepFailed:
    return _failed(
        f"{source.vm.guest}: after the migration ({status}, says the source) it runs on both "
        f"sides, {source} and {destination}: two guests with the same addresses and disks",
        source,
        destination,
        (),
    )


def _failed(message: str, source: Side, destination: Side, evidence: Iterable[str]) -> StepFailed:
    hint = ""
    if source.machine != destination.machine:
        hint = (
            f"the machine types differ ({source.machine} on {source.host}, {destination.machine} "
            f"on {destination.host}): pin one that both QEMUs have, with the guest's `machine`"
        )
    return StepFailed(message, hint=hint, evidence=tuple(evidence))
