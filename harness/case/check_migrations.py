"""What is said of migrations, and where they lead: checked over the whole list of steps.

Neighbours: ``check`` calls these; ``migrating`` has the verbs.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.case.migrating import EventIs, Migrate, MigrationIs
from harness.case.model import CaseFile
from harness.case.statuses import ENDS
from harness.case.step import Step
from harness.document import Document
from harness.errors import Problem
from harness.topology.model import Topology


def begun(case: CaseFile) -> list[Migrate]:
    """The migrations that are to begin, in their order."""
    return [step.migrate for step in case.steps if step.migrate and step.migrate.ends != "refused"]


def check_migrations(document: Document, case: CaseFile) -> Iterator[Problem]:
    """Steps that steer or await a migration which is not going on; lists of another length."""
    ongoing: dict[str, int] = {}
    for number, step in enumerate(case.steps):
        action = step.action
        if isinstance(action, Migrate):
            if action.guest in ongoing:
                yield document.problem(
                    ("steps", number, "migrate", "guest"),
                    f"'{action.guest}' is migrating already when this step comes",
                    "wait for its end first: wait: {for: {guest: ..., migration: completed}}",
                )
            elif not action.wait and action.ends != "refused":
                ongoing[action.guest] = number
            continue
        condition = step.wait.condition if step.wait else None
        guest = _concerned(step)
        if guest and guest not in ongoing:
            yield document.problem(
                ("steps", number, step.verb),
                f"no migration of '{guest}' is going on when this step comes",
                "begin one that its step does not wait for: migrate: {..., wait: no}",
            )
        if isinstance(condition, MigrationIs) and condition.migration in ENDS:
            ongoing.pop(condition.guest, None)
    for guest, number in ongoing.items():
        yield document.problem(
            ("steps", number, "migrate", "wait"),
            f"no later step waits for the end of this migration of '{guest}'",
            "add wait: {for: {guest: ..., migration: completed}, within: 60s}, or leave out "
            "`wait: no`",
        )
    yield from _lists(document, case)


def _concerned(step: Step) -> str:
    """The guest whose migration has to be going on when this step comes; empty: none has."""
    if step.wait and isinstance(step.wait.condition, MigrationIs | EventIs):
        return step.wait.condition.guest
    if step.migration:
        return step.migration.guest
    if step.kill:
        return step.kill.guest
    if step.qmp and step.qmp.side == "destination":
        return step.qmp.guest
    return ""


def _lists(document: Document, case: CaseFile) -> Iterator[Problem]:
    wanted, count = case.expect.migration, len(begun(case))
    if isinstance(wanted, tuple) and len(wanted) != count:
        yield document.problem(
            ("expect", "migration"), f"{len(wanted)} ends for {count} migrations of the case"
        )
    if case.expect.states and len(case.expect.states) != count:
        yield document.problem(
            ("expect", "states"),
            f"{len(case.expect.states)} items for {count} migrations of the case",
        )


def check_destinations(document: Document, case: CaseFile, topology: Topology) -> Iterator[Problem]:
    """A guest cannot migrate to where it is when the step comes."""
    where = {name: guest.host for name, guest in topology.guests.items()}
    ongoing: dict[str, str] = {}
    for number, step in enumerate(case.steps):
        condition = step.wait.condition if step.wait else None
        if isinstance(condition, MigrationIs) and condition.migration == "completed":
            where |= {condition.guest: ongoing.get(condition.guest, "")}
        if step.migrate is None or step.migrate.guest not in where:
            continue
        guest, to = step.migrate.guest, step.migrate.to
        if where[guest] == to:
            others = [host for host in topology.hosts if host != to]
            yield document.problem(
                ("steps", number, "migrate", "to"),
                f"guest '{guest}' is on '{to}' already when this step comes",
                f"other hosts: {', '.join(others)}" if others else "there is no other host",
            )
        if not step.migrate.wait:
            ongoing[guest] = to
        elif step.migrate.ends == "completed":
            where[guest] = to
