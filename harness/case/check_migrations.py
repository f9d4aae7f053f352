"""What is said of migrations, and where they lead: checked over the whole list of steps.

Neighbours: ``check`` calls these; ``migrating`` has the verbs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.case.migrating import Migrate
from harness.case.model import CaseFile
from harness.case.statuses import ENDS
from harness.case.step import Placed, Step
from harness.document import Document
from harness.errors import Problem
from harness.topology.model import Topology


def begun(placed: Sequence[Placed]) -> list[Migrate]:
    """The migrations that are to begin, in their order."""
    every = [one.step.migrate for one in placed]
    return [migrate for migrate in every if migrate and migrate.ends != "refused"]


def check_migrations(document: Document, case: CaseFile) -> Iterator[Problem]:
    """Steps that steer or await a migration which is not going on; lists of another length."""
    ongoing: dict[str, Placed] = {}
    for one in case.placed:
        migrate, over = one.step.migrate, _over(one.step)
        if migrate and migrate.guest in ongoing:
            yield document.problem(
                (*one.path, "migrate", "guest"),
                f"'{migrate.guest}' is migrating already when this step comes",
                "wait for its end first: wait: {for: {guest: ..., migration: completed}}",
            )
        elif migrate and not migrate.wait and migrate.ends != "refused":
            ongoing[migrate.guest] = one
        if (guest := _concerned(one.step)) and guest not in ongoing:
            yield document.problem(
                (*one.path, one.step.verb),
                f"no migration of '{guest}' is going on when this step comes",
                "begin one that its step does not wait for: migrate: {..., wait: no}",
            )
        ongoing.pop(over, None)
    for guest, one in ongoing.items():
        yield document.problem(
            (*one.path, "migrate", "wait"),
            f"no later step waits for the end of this migration of '{guest}'",
            "add wait: {for: {guest: ..., migration: completed}, within: 60s}, or leave out "
            "`wait: no`",
        )
    yield from _lists(document, case)


def _over(step: Step) -> str:
    """The guest whose migration is over with this step, one that waits for that."""
    condition = step.wait.condition if step.wait else None
    return condition.guest if condition and condition.migration in ENDS else ""


def _concerned(step: Step) -> str:
    """The guest whose migration has to be going on when this step comes; empty: none has."""
    if step.wait and (step.wait.condition.migration or step.wait.condition.side):
        return step.wait.condition.guest
    if step.migration:
        return step.migration.guest
    if step.kill:
        return step.kill.guest
    if step.qmp and step.qmp.side == "destination":
        return step.qmp.guest
    return ""


def _lists(document: Document, case: CaseFile) -> Iterator[Problem]:
    wanted, count = case.expect.migration, len(begun(case.placed))
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
    for one in case.placed:
        condition, migrate = one.step.wait and one.step.wait.condition, one.step.migrate
        if condition and condition.migration == "completed" and condition.guest in ongoing:
            where[condition.guest] = ongoing[condition.guest]
        if migrate is None or migrate.guest not in where:
            continue
        guest, to = migrate.guest, migrate.to
        if where[guest] == to:
            others = [host for host in topology.hosts if host != to]
            yield document.problem(
                (*one.path, "migrate", "to"),
                f"guest '{guest}' is on '{to}' already when this step comes",
                f"other hosts: {', '.join(others)}" if others else "there is no other host",
            )
        if not migrate.wait:
            ongoing[guest] = to
        elif migrate.ends == "completed":
            where[guest] = to
