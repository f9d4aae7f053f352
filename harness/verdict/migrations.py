"""Judge how migrations ended, that their states follow the grammar, and that steps worked.

Neighbours: ``grammar`` knows the legal state sequences; ``judge`` makes findings.
"""

from __future__ import annotations

from typing import Literal

from harness.case.check_migrations import begun
from harness.case.states import StatusItem, matches
from harness.case.step import Placed
from harness.observe import TRAFFIC_STEP, QmpEvent
from harness.verdict.evidence import Evidence, Migration
from harness.verdict.grammar import judge_states, named
from harness.verdict.model import Judged, Outcome, worst
from harness.versions import TERMINAL, QemuWords

RoleName = Literal["source", "destination"]


def states(evidence: Evidence, migration: Migration, role: RoleName) -> tuple[tuple[str, str], ...]:
    """(status, time in words) of the MIGRATION events of one side of a migration."""
    return tuple(
        (str(moment.fact.data.get("status")), evidence.when(moment))
        for moment in sorted(evidence.qmp(migration.guest, role), key=lambda moment: moment.rank)
        if isinstance(moment.fact, QmpEvent)
        and moment.fact.name == "MIGRATION"
        and migration.holds(moment)
    )


def host_of(evidence: Evidence, migration: Migration, role: RoleName) -> str:
    """The host of one side of a migration, empty if it sent no event."""
    for moment in evidence.qmp(migration.guest, role):
        if isinstance(moment.fact, QmpEvent) and migration.holds(moment):
            return moment.fact.host
    return ""


def judge_end(evidence: Evidence, wanted: str | tuple[str, ...]) -> Judged:
    """Whether every migration that the case asks for ended with the wanted status: the same
    for all, or one for each."""
    asked = len(begun(evidence.bound.placed))
    each = wanted if isinstance(wanted, tuple) else (wanted,) * asked
    judged = [_end(evidence, *one) for one in zip(evidence.migrations, each, strict=False)]
    if len(judged) < asked:
        judged.append(
            Judged(Outcome.CANNOT_TELL, f"{asked - len(judged)} of {asked} migrations never began")
        )
    return worst(judged)


def judge_sequence(
    evidence: Evidence, number: int, role: RoleName, wanted: tuple[StatusItem, ...]
) -> Judged:
    """Whether migration ``number`` (from 0) went through exactly these statuses, by one side."""
    if number >= len(evidence.migrations):
        return Judged(Outcome.CANNOT_TELL, f"migration {number + 1} of the case never began")
    migration = evidence.migrations[number]
    told = states(evidence, migration, role)
    if not told:
        return Judged(
            Outcome.CANNOT_TELL,
            f"step {migration.step}: no MIGRATION event of the {role}'s QEMU was recorded",
        )
    seen = tuple(status for status, _ in told)
    reason = f"step {migration.step}: " + ", ".join(f"{status} {at}" for status, at in told)
    return Judged(Outcome.PASSED if matches(wanted, seen) else Outcome.FAILED, reason)


def _end(evidence: Evidence, migration: Migration, wanted: str) -> Judged:
    seen = states(evidence, migration, "source")
    if not seen:
        return Judged(
            Outcome.CANNOT_TELL,
            f"step {migration.step}: no MIGRATION event of the source's QEMU was recorded",
        )
    status, at = seen[-1]
    if status not in TERMINAL:
        return Judged(
            Outcome.CANNOT_TELL,
            f"step {migration.step}: the source's last status is {status}, at {at}",
        )
    reason = f"step {migration.step}: {status} at {at}, says the source's QEMU"
    arrived = states(evidence, migration, "destination")
    if status == "completed" and arrived and arrived[-1][0] == "failed":
        # Without a return path the source only knows that it has sent everything.
        reason += f"; but failed at {arrived[-1][1]}, says the destination's"
        return Judged(Outcome.FAILED, reason)
    return Judged(Outcome.PASSED if status == wanted else Outcome.FAILED, reason)


def judge_grammar(evidence: Evidence, role: RoleName) -> tuple[str, Judged]:
    """The QEMU version(s) of one side of the migrations, and whether the states fit them."""
    judged, versions = [], []
    for migration in evidence.migrations:
        host = host_of(evidence, migration, role)
        version = evidence.qemu_versions.get((migration.guest, host), "")
        words = evidence.qemu_words.get((migration.guest, host), QemuWords())
        versions.append(named(version, words))
        seen = [status for status, _ in states(evidence, migration, role)]
        # A destination is not told that the source gave up: its connection ends.
        ended = [status for status, _ in states(evidence, migration, "source")][-1:]
        given_up = role == "destination" and ended in (["failed"], ["cancelled"])
        open_end = f"the source's migration {ended[0]}" if given_up else ""
        judged.append(judge_states(role, seen, version, words, open_end=open_end))
    return " and ".join(dict.fromkeys(versions)), worst(judged)


def judge_traffic(evidence: Evidence) -> Judged | None:
    """Why no step was begun although the lab was up: the streams did not flow. None if they did."""
    for fact in evidence.steps:
        if fact.step == TRAFFIC_STEP and fact.outcome == "failed":
            return Judged(Outcome.FAILED, str(fact.data.get("reason", "")) or "it says no reason")
    return None


def judge_steps(evidence: Evidence) -> list[tuple[Placed, Judged]]:
    """The steps that did not work, in their order; empty when all did.

    Of those that were never begun after one that failed, the first of each place is told.
    """
    wrong: list[tuple[Placed, Judged]] = []
    skipped: set[int] = set()
    for placed in evidence.bound.placed:
        label = placed.label
        facts = [fact for fact in evidence.steps if fact.step == label]
        ends = [fact for fact in facts if fact.phase == "end"]
        if ends and ends[-1].outcome == "done":
            continue
        if ends:
            reason = str(ends[-1].data.get("reason", "")) or "it says no reason"
            wrong.append((placed, Judged(Outcome.FAILED, f"step {label} failed: {reason}")))
        elif facts or placed.place not in skipped:
            what = "began but has no recorded end" if facts else "never began"
            wrong.append((placed, Judged(Outcome.CANNOT_TELL, f"step {label} {what}")))
            skipped.add(placed.place)
    return wrong
