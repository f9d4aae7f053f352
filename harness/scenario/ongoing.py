"""A migration that has begun, and what is wrong with one that ends otherwise than it had to.

Neighbours: ``migrating`` begins, follows and ends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.case import Migrate
from harness.lab import Instance, LabGuest
from harness.observe import QmpEvent
from harness.reach.deadline import Deadline
from harness.scenario.aftermath import Side
from harness.scenario.outcome import StepFailed
from harness.vm import MigrationInfo
from harness.vm.session import QmpRefused


@dataclass(slots=True)
class Ongoing:
    """A migration that has begun. ``since`` is the position in the source's events before it,
    ``position`` that of the first which no step has waited for yet."""

    guest: LabGuest
    source: Instance
    destination: Instance
    terms: Migrate
    since: int
    position: int
    ran: bool
    """Whether the guest ran when it began."""
    uri: str = ""
    """Where the destination listens."""

    def side(self, instance: Instance) -> Side:
        host = instance.host.name
        return Side(instance.vm, self.guest.qemu_versions[host], self.guest.machine_types[host])

    def next_status(self, deadline: Deadline, *, what: str) -> str:
        """The next status that the source reports and that no step has waited for."""
        vm = self.source.vm
        event = vm.wait_event(is_status, deadline, since=self.position, what=what)
        self.position = vm.events.index(event, self.position) + 1
        return str(event.data.get("status"))

    @property
    def has_arrived(self) -> bool:
        """Whether the guest has begun to run on the destination."""
        return any(event.name == "RESUME" for event in self.destination.vm.events)

    def seen(self, status: str) -> bool:
        """Whether the source has reported a status since it began."""
        return any(
            is_status(event) and event.data.get("status") == status
            for event in self.source.vm.events[self.since :]
        )


def is_status(event: QmpEvent) -> bool:
    return event.name == "MIGRATION"


def not_as_refused(error: QmpRefused, terms: Migrate) -> StepFailed | None:
    """What is wrong with a migration that QEMU did not begin; None when it was not to."""
    if terms.ends == "refused" and (terms.error or "") in error.description:
        return None
    wanted = f": {terms.error}" if terms.error else ""
    return StepFailed(f"{error.message}; wanted: {terms.ends}{wanted}")


def not_so_completed(ongoing: Ongoing, wanted: str, info: MigrationInfo) -> StepFailed | None:
    """What is wrong with a migration that completed, and left the guest where it should be."""
    guest = ongoing.guest.name
    if wanted != "completed":
        return StepFailed(f"{guest}: the migration completed, wanted: {wanted}")
    if ongoing.terms.mode == "postcopy" and not ongoing.seen("postcopy-active"):
        return StepFailed(
            f"{guest}: the migration completed before postcopy began",
            hint="give it more to do (memory that the guest uses), or less `bandwidth`",
        )
    if (bound := ongoing.terms.passes) and not bound.meets(info.passes or 0):
        return StepFailed(f"{guest}: {info.passes} passes over its memory, wanted {bound}")
    return None


def must_say(guest: str, wanted: str, words: Sequence[str]) -> StepFailed | None:
    if any(wanted in line for line in words):
        return None
    return StepFailed(
        f"{guest}: the migration failed, and neither side says {wanted!r}",
        evidence=tuple(line for line in words if line),
    )
