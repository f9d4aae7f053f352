"""Where a host's bridges had the address of a failover pair, and from when until when.

Put together from the facts ``fdb-learned``, ``fdb-moved`` and ``fdb-removed``
(``harness.lab.bridges`` says what they hold). A record without them, or one in which they
contradict each other, gives no stay, and nothing follows from it.

Neighbours: ``causes`` asks where the frames for a guest went.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.observe import HostEvent
from harness.verdict.evidence import Evidence
from harness.verdict.moments import FDB_EVENTS, Moment

_BEGINS = ("fdb-learned", "fdb-moved")


@dataclass(frozen=True, slots=True)
class Stay:
    """From ``begin`` on ``host``'s ``bridge`` sent the frames for an address to ``port``.

    ``behind``: what is there (``standby``, ``primary``, ``uplink``, or a machine's name on a
    network's bridge). ``end`` is the fact that ended it, None where none did; then ``then``,
    what is behind the next port, is empty, as it is where the entry was removed.
    """

    host: str
    bridge: str
    port: str
    behind: str
    begin: Moment
    end: Moment | None = None
    then: str = ""


def stays(evidence: Evidence, host: str, mac: str) -> tuple[Stay, ...]:
    """The stays of an address on a host's bridges, in the order in which they began."""
    by_bridge: dict[str, list[Stay]] = {}
    for moment in sorted(evidence.host(host), key=lambda moment: moment.rank):
        fact = moment.fact
        if not isinstance(fact, HostEvent) or fact.event not in FDB_EVENTS:
            continue
        if str(fact.data.get("mac", mac)).lower() != mac:
            continue
        if fact.event == "fdb-lost":
            for known in by_bridge.values():
                _end(known, moment, "")
            continue
        bridge = str(fact.data.get("bridge", ""))
        known = by_bridge.setdefault(bridge, [])
        behind = str(fact.data.get("behind", ""))
        if known and known[-1].end is None and _left(fact) != known[-1].port:
            return ()
        _end(known, moment, behind if fact.event in _BEGINS else "")
        if fact.event in _BEGINS:
            known.append(Stay(host, bridge, fact.device, behind, moment))
    found = [stay for known in by_bridge.values() for stay in known]
    return tuple(sorted(found, key=lambda stay: stay.begin.rank))


def _left(fact: HostEvent) -> str:
    """The port that the address left by this fact."""
    return fact.device if fact.event == "fdb-removed" else str(fact.data.get("from", ""))


def _end(known: list[Stay], moment: Moment, then: str) -> None:
    if known and known[-1].end is None:
        known[-1] = replace(known[-1], end=moment, then=then)
