"""Judge what the guest's netdevs look like at a moment, and the addresses they carry.

``start`` and ``end`` are the guest's own answers at those times. ``precopy`` is followed
from the start snapshot through the guest's link events, over the whole time from the
source's `MIGRATION active` to its STOP: what certainly held then has to be as expected,
and what may have held (because the errors overlap a border) decides nothing.

At ``end`` there are two witnesses, the snapshot and the events; where they disagree
nothing is told.

Neighbours: ``links`` sorts netdevs into roles; ``judge`` makes findings of the judgements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.case.netdevs import ABSENT, Interface, Role
from harness.observe import LinkState, QmpEvent
from harness.verdict.evidence import Evidence, Migration, Pair
from harness.verdict.links import (
    History,
    PairView,
    history,
    shown,
    shown_addresses,
    view,
    wrong_addresses,
    wrong_with,
)
from harness.verdict.model import Judged, Outcome, worst
from harness.verdict.moments import Known, Moment, compare, seconds

_GIVEN_UP = ("cancelling", "cancelled", "failing", "failed")
"""Statuses with which precopy ends where the source is never stopped."""


@dataclass(frozen=True, slots=True)
class _Demand:
    """What is asked of one role of a pair.

    ``wrong`` says what is wrong with it, or nothing; ``shown`` what it is; ``told`` is what
    two witnesses have to agree on for a netdev.
    """

    role: Role
    wrong: Callable[[PairView], str]
    shown: Callable[[PairView], str]
    told: Callable[[LinkState], tuple[object, ...]]
    gone: bool = False
    """The netdev is to be absent: since when it is, is worth telling."""


def judge_role(
    evidence: Evidence, moment: str, guest: str, standby: str, role: Role, wanted: str
) -> Judged:
    """Whether one role of one pair is as wanted at ``start``, ``precopy`` or ``end``."""
    pair = evidence.pair(guest, standby)
    if pair is None:
        return _no_pair(guest, standby)
    demand = _Demand(
        role,
        wrong=lambda found: wrong_with(found, pair, role, wanted),
        shown=lambda found: shown(found, role),
        told=lambda link: (link.index, link.driver, link.mac.lower(), link.master),
        gone=wanted == ABSENT,
    )
    return _judge(evidence, moment, pair, demand)


def judge_addresses(
    evidence: Evidence,
    moment: str,
    guest: str,
    standby: str,
    role: Role,
    wanted: tuple[Interface, ...],
) -> Judged:
    """Whether one role of one pair carries exactly the ``wanted`` addresses at a moment."""
    pair = evidence.pair(guest, standby)
    if pair is None:
        return _no_pair(guest, standby)
    demand = _Demand(
        role,
        wrong=lambda found: wrong_addresses(found, role, wanted),
        shown=lambda found: shown_addresses(found, role),
        told=lambda link: (link.index, *sorted(link.addresses)),
    )
    return _judge(evidence, moment, pair, demand)


def _no_pair(guest: str, standby: str) -> Judged:
    return Judged(Outcome.CANNOT_TELL, f"the plan has no failover pair {standby} of {guest}")


def _judge(evidence: Evidence, moment: str, pair: Pair, demand: _Demand) -> Judged:
    if moment == "precopy":
        migrations = [one for one in evidence.migrations if one.guest == pair.guest]
        if not migrations:
            return Judged(Outcome.CANNOT_TELL, f"no migration of {pair.guest} began")
        # One that was given up in wait-unplug has no precopy to judge.
        migrations = [one for one in migrations if _has_precopy(evidence, one)] or migrations[:1]
        return worst(_precopy(evidence, one, pair, demand) for one in migrations)
    judged = _snapshot(evidence, moment, pair, demand)
    if moment == "end" and judged.outcome is not Outcome.CANNOT_TELL:
        return _second_witness(evidence, pair, demand) or judged
    return judged


def _snapshot(evidence: Evidence, moment: str, pair: Pair, demand: _Demand) -> Judged:
    snapshot = evidence.snapshot(pair.guest, moment)
    if snapshot is None:
        return Judged(
            Outcome.CANNOT_TELL, f"{pair.guest} was not asked for its netdevs at the {moment}"
        )
    found = view(snapshot.links, pair)
    at = f"{pair.guest}'s snapshot at {seconds(snapshot.t_ns, evidence.zero_ns)}"
    if wrong := demand.wrong(found):
        return Judged(Outcome.FAILED, f"{at}: {wrong}")
    return Judged(Outcome.PASSED, f"{at}: {demand.shown(found)}")


def _same(one: PairView, other: PairView, demand: _Demand) -> bool:
    def told(found: PairView) -> list[str]:
        return sorted(repr(demand.told(link)) for link in found.role(demand.role))

    return told(one) == told(other)


def _second_witness(evidence: Evidence, pair: Pair, demand: _Demand) -> Judged | None:
    """Cannot tell if the link events lead to another end than the end snapshot shows."""
    end = evidence.snapshot(pair.guest, "end")
    if end is None:
        return None
    start, events = evidence.beginning(pair.guest, end.t_ns)
    if start is None:
        return None
    past = history(start, [m for m in events if m.t_ns <= end.t_ns])
    derived = view(past.states[-1], pair)
    found = view(end.links, pair)
    if _same(derived, found, demand):
        return None
    # An event that came with the end snapshot may be missing on either side of it.
    borderline = [
        m
        for m in evidence.links(pair.guest)
        if m.lo_ns <= end.t_ns + end.err_ns and m.hi_ns >= end.t_ns - end.err_ns
    ]
    why = (
        "a netdev changed while the snapshot was being taken"
        if borderline
        else "the record of one of them is incomplete"
    )
    return Judged(
        Outcome.CANNOT_TELL,
        f"two witnesses disagree at the end: the snapshot shows {demand.shown(found)}, "
        f"{pair.guest}'s link events lead to {demand.shown(derived)}; {why}",
    )


def _border(
    evidence: Evidence, migration: Migration, status: str = "", name: str = ""
) -> Moment | None:
    """The source's first MIGRATION ``status``, or first event ``name``, in a migration."""
    for moment in evidence.qmp(migration.guest, "source"):
        fact = moment.fact
        if not isinstance(fact, QmpEvent) or not migration.holds(moment):
            continue
        if status and fact.name == "MIGRATION" and fact.data.get("status") == status:
            return moment
        if name and fact.name == name:
            return moment
    return None


def _has_precopy(evidence: Evidence, migration: Migration) -> bool:
    given_up = any(_border(evidence, migration, status=word) for word in _GIVEN_UP)
    return not given_up or _border(evidence, migration, status="active") is not None


def _precopy(evidence: Evidence, migration: Migration, pair: Pair, demand: _Demand) -> Judged:
    active = _border(evidence, migration, status="active")
    if active is None:
        return Judged(
            Outcome.CANNOT_TELL,
            f"step {migration.step}: the source never reported MIGRATION active, "
            "so there was no precopy",
        )
    start, events = evidence.beginning(pair.guest, active.t_ns)
    if start is None:
        return Judged(
            Outcome.CANNOT_TELL, f"{pair.guest} was not asked for its netdevs at the start"
        )
    if not events:
        return Judged(Outcome.CANNOT_TELL, f"{pair.guest}'s monitor recorded no link events")
    past = history(start, events)
    if past.ambiguous:
        return Judged(Outcome.CANNOT_TELL, past.ambiguous)
    stop = _border(evidence, migration, name="STOP")
    ends = [_border(evidence, migration, status=word) for word in _GIVEN_UP]
    stop = stop or next((one for one in ends if one is not None), None)
    if stop is None:
        return Judged(
            Outcome.CANNOT_TELL,
            f"step {migration.step}: no STOP of the source was recorded, so nobody knows when "
            "precopy ended",
        )
    return _over(evidence, past, active, stop, pair, demand)


def _over(
    evidence: Evidence,
    past: History,
    active: Moment,
    stop: Moment,
    pair: Pair,
    demand: _Demand,
) -> Judged:
    """Judge every state of the netdevs from ``active`` to ``stop``.

    The state after the first k events held in between certainly if k lies between the
    events possibly before ``active`` and those certainly before ``stop``.
    """

    def before(event: Moment, border: Moment, *, surely: bool) -> bool:
        known = compare(event, border)
        return known is Known.BEFORE or (not surely and known is Known.UNKNOWN)

    first = sum(before(event, active, surely=True) for event in past.events)
    settled = sum(before(event, active, surely=False) for event in past.events)
    last = sum(before(event, stop, surely=True) for event in past.events)
    latest = sum(before(event, stop, surely=False) for event in past.events)
    ended = str(stop.fact.data.get("status", "STOP")) if isinstance(stop.fact, QmpEvent) else ""
    borders = (
        f"precopy from {evidence.when(active)} (source active) to {evidence.when(stop)} "
        f"(source {ended})"
    )
    doubts = []
    for number in range(first, max(latest, first) + 1):
        wrong = demand.wrong(view(past.states[number], pair))
        if not wrong:
            continue
        since = _since(evidence, past, number)
        if settled <= number <= last:
            return Judged(Outcome.FAILED, f"{borders}: {wrong}, {since}")
        doubts.append(
            f"{borders}: {wrong}, {since}, and whether that still held then is closer than "
            "the errors of the two clocks"
        )
    if doubts:
        return Judged(Outcome.CANNOT_TELL, doubts[0])
    reason = f"{borders}: {demand.shown(view(past.states[settled], pair))}"
    if demand.gone:
        reason += ", " + _since(evidence, past, settled)
    return Judged(Outcome.PASSED, reason)


def _since(evidence: Evidence, past: History, number: int) -> str:
    """Since when the state after ``number`` events holds, and who says so."""
    if not number:
        return "as in the start snapshot"
    event = past.events[number - 1]
    kind = getattr(event.fact, "event", "")
    name = getattr(getattr(event.fact, "link", None), "name", "")
    return f"last link event {name} {kind} at {evidence.when(event)}"


def pair_at(evidence: Evidence, moment: str, pair: Pair) -> PairView | None:
    """A pair's netdevs at ``start``, ``precopy`` (of the first migration) or ``end``.

    For people to look at; None when it is not known.
    """
    if moment != "precopy":
        snapshot = evidence.snapshot(pair.guest, moment)
        return view(snapshot.links, pair) if snapshot else None
    start = evidence.snapshot(pair.guest, "start")
    for migration in evidence.migrations:
        active = _border(evidence, migration, status="active")
        if migration.guest == pair.guest and start and active and evidence.links(pair.guest):
            past = history(start, evidence.links(pair.guest))
            settled = sum(compare(event, active) is not Known.AFTER for event in past.events)
            return view(past.states[settled], pair)
    return None
