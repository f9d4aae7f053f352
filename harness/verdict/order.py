"""Judge the order of events across source, destination, guest and hosts.

A chain `a, b, c` says: in every migration a happens before b and b before c; where one of
them happens several times, every occurrence of a comes before every occurrence of b. It
is a partial order: events that no chain relates may come in any order.

An order that is violated fails; an event that never happened fails if somebody was there
to see it; two events closer than their errors cannot be told.

Neighbours: ``moments`` knows what is known about order, ``links`` who is who.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

from harness.case.events import EventName
from harness.observe import HostEvent, LinkEvent, QmpEvent, StepFact
from harness.verdict.evidence import Evidence, Migration
from harness.verdict.links import changes, differences, role_of
from harness.verdict.model import Judged, Outcome, worst
from harness.verdict.moments import Known, Moment, compare


def judge_chain(evidence: Evidence, chain: tuple[EventName, ...]) -> Judged:
    """Whether the chain holds in every migration that began."""
    if not evidence.migrations:
        return Judged(Outcome.CANNOT_TELL, "no migration began")
    return worst(
        _in_migration(evidence, one, chain)
        for one in evidence.migrations
        if all(_is_step_of(evidence, one, name) for name in chain)
    )


def _is_step_of(evidence: Evidence, migration: Migration, name: EventName) -> bool:
    """Whether an event can belong to a migration: a numbered step belongs to one only."""
    number = name.step_number
    if number is None:
        return True
    begins = [_place(one.step) for one in evidence.migrations]
    mine = _place(migration.step)
    return mine <= number and not any(mine < begin <= number for begin in begins)


def _place(label: str) -> int:
    """The place of a step, or of the `repeat` around it, from the label of its facts."""
    return int(label.split()[0].partition(".")[0])


def _in_migration(evidence: Evidence, migration: Migration, chain: tuple[EventName, ...]) -> Judged:
    missing = []
    found: dict[EventName, tuple[Moment, ...]] = {}
    for name in chain:
        every = list(_named(evidence, migration, name))
        found[name] = tuple(moment for moment in every if migration.holds(moment))
        if doubtful := [moment for moment in every if migration.touches(moment)]:
            missing.append(
                Judged(
                    Outcome.CANNOT_TELL,
                    f"`{name}` at {evidence.when(doubtful[0])} may belong to step "
                    f"{migration.step} or not",
                )
            )
        elif not found[name]:
            missing.append(_missing(evidence, migration, name))
    pairs = [
        _pair(evidence, (one, found[one]), (other, found[other]))
        for one, other in pairwise(chain)
        if found[one] and found[other]
    ]
    told = ", ".join(
        f"{name} {evidence.when(moment)}" for name in chain for moment in found[name][:1]
    )
    return worst([*missing, *pairs], passed=told)


def _pair(
    evidence: Evidence,
    one: tuple[EventName, tuple[Moment, ...]],
    other: tuple[EventName, tuple[Moment, ...]],
) -> Judged:
    """Every occurrence of ``one`` before every occurrence of ``other``?"""
    unknown = ""
    for early, late in product(one[1], other[1]):
        known = compare(early, late)
        told = (
            f"`{one[0]}` at {evidence.when(early)}{_of(one[1])}, "
            f"`{other[0]}` at {evidence.when(late)}{_of(other[1])}"
        )
        if known is Known.AFTER:
            return Judged(Outcome.FAILED, f"the other way round: {told}")
        if known is Known.UNKNOWN and not unknown:
            unknown = f"closer than the errors of their clocks: {told}"
            if broken := [moment.process for moment in (early, late) if moment.broken]:
                unknown = f"the record of the {broken[0]} contradicts itself: {told}"
    if unknown:
        return Judged(Outcome.CANNOT_TELL, unknown)
    return Judged(Outcome.PASSED, f"{one[0]}, then {other[0]}")


def _of(moments: tuple[Moment, ...]) -> str:
    return f" (one of {len(moments)})" if len(moments) > 1 else ""


def _missing(evidence: Evidence, migration: Migration, name: EventName) -> Judged:
    """An event that is not there: it failed to happen, or nobody was there to see it."""
    if name.side == "guest":
        witness = evidence.links(migration.guest)
        silent = f"{migration.guest}'s monitor recorded no link events"
    elif name.side == "step":
        return Judged(Outcome.CANNOT_TELL, f"`{name}` was not recorded: it was not reached")
    elif name.side == "host":
        witness = evidence.host(name.host)
        silent = f"nothing was recorded of host {name.host}"
    else:
        witness = evidence.qmp(migration.guest, name.side)
        silent = f"no event of the {name.side}'s QEMU was recorded"
    if not witness:
        return Judged(Outcome.CANNOT_TELL, f"`{name}`: {silent}")
    return Judged(Outcome.FAILED, f"`{name}` never happened in step {migration.step}")


def _named(evidence: Evidence, migration: Migration, name: EventName) -> Iterator[Moment]:
    """The moments of the whole record that an event's name means."""
    if name.side == "guest":
        yield from _links_named(evidence, migration, name)
    elif name.side == "step":
        for moment in evidence.moments:
            fact = moment.fact
            if isinstance(fact, StepFact) and fact.phase == name.what:
                number, _, verb = fact.step.partition(" ")
                if name.step in (number, verb):
                    yield moment
    elif name.side == "host":
        for moment in evidence.host(name.host):
            fact = moment.fact
            if (
                isinstance(fact, HostEvent)
                and fact.event == name.what
                and (fact.guest in ("", migration.guest))
                and (not name.device or fact.device == name.device)
            ):
                yield moment
    else:
        for moment in evidence.qmp(migration.guest, name.side):
            if isinstance(moment.fact, QmpEvent) and _is(moment.fact, name):
                yield moment


def _is(event: QmpEvent, name: EventName) -> bool:
    if name.is_status:
        return event.name == "MIGRATION" and event.data.get("status") == name.what
    if event.name != name.what:
        return False
    device = event.data.get("device-id", event.data.get("device", event.data.get("name")))
    return not name.device or device == name.device


def _links_named(evidence: Evidence, migration: Migration, name: EventName) -> Iterator[Moment]:
    pairs = [
        pair
        for pair in evidence.pairs
        if pair.guest == migration.guest and name.standby in ("", pair.standby)
    ]
    start = evidence.snapshot(migration.guest, "start")
    for change in changes(evidence.links(migration.guest), start):
        fact = change.moment.fact
        if (
            isinstance(fact, LinkEvent)
            and name.what in {fact.event, *differences(change.before, change.link)}
            and any(role_of(change.link, pair) == name.role for pair in pairs)
        ):
            yield change.moment
