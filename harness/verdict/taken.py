"""Which path the packets of a stream took through its failover pair.

A path is told only where the captures on the taps of the pair were whole: on every host
that a QEMU of the guest was on, of every role that has a tap, for every leg. Where one is
missing or lacks a frame, nothing is told.

Neighbours: ``harness.measure.paths`` classifies; ``paths`` judges what is found here,
``attribution`` gives reasons by it, ``harness.report.paths`` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.case.pairs import PrimaryKind, pair_of, primary_kind
from harness.errors import RecordError
from harness.measure import Counts, StreamMetrics, delays, split
from harness.measure.paths import LegSeen, PathCounts, PathName, PathsTaken, check, paths_taken
from harness.measure.trace import Ints
from harness.observe import HostEvent, QmpEvent
from harness.verdict.evidence import Evidence, SeenAt

_LEGS = {"udp": ("packet",), "icmp-echo": ("request", "reply")}


@dataclass(frozen=True, slots=True, eq=False)
class StreamPaths:
    """The paths of one stream's packets through one pair.

    ``counts`` has every path that occurred; ``weights`` are those of ``measure.parts``.
    """

    guest: str
    standby: str
    primary: PrimaryKind
    taken: PathsTaken
    counts: dict[PathName, PathCounts]
    first_of: dict[int, int]
    """Number of the first packet of each loss period -> its place among those sent."""


def paths_of(evidence: Evidence, name: str) -> StreamPaths | str:
    """The paths of a stream, made once per evidence; or why they cannot be told."""
    known: dict[str, StreamPaths | str] = evidence.paths
    if name not in known:
        try:
            known[name] = _made(evidence, name)
        except RecordError as error:
            known[name] = error.message
    return known[name]


def _made(evidence: Evidence, name: str) -> StreamPaths | str:
    terms, topology = evidence.bound.traffic[name], evidence.bound.topology
    pair = pair_of(terms, topology)
    if pair is None:
        return "it does not go through a failover pair"
    measured = evidence.streams.get(name)
    if measured is None or measured.metrics is None:
        return "it has no metrics"
    kind = primary_kind(topology, *pair)
    legs = _legs(evidence, name, pair, kind, _LEGS[terms.protocol])
    if isinstance(legs, str):
        return legs
    metrics = measured.metrics
    matched = metrics.matched
    taken = paths_taken(matched, legs)
    counts = taken.counts(split(matched, []).weights, delays(matched))
    check(counts, Counts(metrics.sent, metrics.lost, metrics.reordered, metrics.extra_copies))
    return StreamPaths(*pair, kind, taken, counts, _firsts(metrics))


def _firsts(metrics: StreamMetrics) -> dict[int, int]:
    return {period.seq: period.first for period in metrics.loss.periods}


def _legs(
    evidence: Evidence,
    name: str,
    pair: tuple[str, str],
    kind: PrimaryKind,
    names: Sequence[str],
) -> list[LegSeen] | str:
    """What was seen of each leg, over all hosts; or which capture is missing or not whole."""
    guest, _ = pair
    seen = [one for one in evidence.seen if one.fact.stream == name]
    if not seen:
        return "nothing was captured on the taps of its pair"
    if strange := [one for one in seen if (one.fact.guest, one.fact.standby) != pair]:
        at = f"{strange[0].fact.guest} {strange[0].fact.standby}"
        return f"it was captured on the taps of {at}, not of {' '.join(pair)}"
    hosts = _hosts(evidence, guest)
    if not hosts:
        return f"there is no record of which hosts {guest} was on"
    legs = []
    for leg in names:
        roles: dict[str, Ints] = {}
        for role in ("standby", "primary") if kind == "tap" else ("standby",):
            mine = [one for one in seen if (one.fact.leg, one.fact.role) == (leg, role)]
            if doubt := _doubt(mine, role, hosts):
                return doubt
            roles[role] = np.concatenate([one.seq for one in mine])
        nowhere = np.empty(0, dtype=np.int64)
        # A virtual function has no tap; where there is no primary nothing is seen on it.
        primary = None if kind == "function" else roles.get("primary", nowhere)
        legs.append(LegSeen(roles["standby"], primary))
    if kind == "function" and not _standby_was_seen(evidence, pair):
        return (
            "no packet of any stream was seen on its standby's tap, so it is not shown that the "
            "capture there works, and what was not seen proves nothing"
        )
    return legs


def _standby_was_seen(evidence: Evidence, pair: tuple[str, str]) -> bool:
    """Whether anything was: without that, "not on the standby's tap" is an empty capture."""
    return any(
        one.seq.size and one.fact.role == "standby" and (one.fact.guest, one.fact.standby) == pair
        for one in evidence.seen
    )


def _hosts(evidence: Evidence, guest: str) -> list[str]:
    """Every host on which the record shows a QEMU of the guest."""
    found = []
    for fact in evidence.facts:
        if isinstance(fact, HostEvent):
            mine = fact.event == "qemu-started" and fact.device == guest
        else:
            mine = isinstance(fact, QmpEvent) and fact.guest == guest
        if mine and isinstance(fact, HostEvent | QmpEvent):
            found.append(fact.host)
    return list(dict.fromkeys(found))


def _doubt(seen: Sequence[SeenAt], role: str, hosts: Sequence[str]) -> str:
    """Why the captures at one role's taps prove nothing; empty when they do."""
    for one in seen:
        if one.problem:
            return one.problem
        if not one.fact.complete or one.fact.problem:
            return one.fact.problem or f"the capture on {one.fact.host} is not whole"
    there = [one.fact.host for one in seen]
    if missing := [host for host in hosts if host not in there]:
        return f"nothing was captured on the {role}'s tap on {', '.join(missing)}"
    if len(set(there)) < len(there):
        return f"what was seen on the {role}'s tap was recorded more than once"
    return ""
