"""What was captured on the taps of failover pairs, made records of which packet was seen where.

For each numbered stream through a pair, each host that its guest has been on and each role
that has a tap there: a file of the numbers seen, and a fact that names it. A capture that
is missing or not whole gives a fact too, with the reason. Nothing is counted here.

Neighbours: ``harness.lab.taps`` captures, ``harness.traffic.frompcap`` makes the files that
Wireshark opens, ``run`` calls this when the traffic has ended; ``harness.report.seen`` reads
the records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

import harness
from harness.errors import HarnessError, RecordError
from harness.lab import Lab
from harness.lab.taps import SNAPLEN, TapCapture
from harness.observe import PathFact
from harness.observe.record import now_ns
from harness.reach.machine import Machine
from harness.record import RunDir
from harness.scenario.ends import End
from harness.traffic.arrivals import Leg, read_seen
from harness.traffic.frompcap import merge_pcaps
from harness.traffic.pcapng import ClockReading
from harness.traffic.records import Records, write_records
from harness.traffic.stream import StreamSpec

LegName = Literal["packet", "request", "reply"]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A leg of a stream through a pair, and how it goes over the pair's taps."""

    stream: str
    guest: str
    standby: str
    name: LegName
    leg: Leg


@dataclass(slots=True)
class _Place:
    """What is known of a leg at one role's taps on one host, over all QEMUs there."""

    wanted: _Wanted
    role: Literal["standby", "primary"]
    host: str
    pieces: list[Records] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def keep_paths(lab: Lab, run_dir: RunDir, specs: Mapping[str, tuple[StreamSpec, End, End]]) -> None:
    """End the captures on all taps, keep them, and record what they saw of the streams."""
    if not lab.watch_taps:
        return
    guests = lab.guests.values()
    pairs = {(guest.name, pair.standby) for guest in guests for pair in guest.plan.pairs}
    keeper = PathKeeper(run_dir, specs, pairs)
    for guest in guests:
        for watch in guest.end_taps():
            for capture in watch.fetch(run_dir.file(RunDir.CAPTURES)):
                keeper.take(lab.hosts[capture.host].machine, capture)
    for fact in keeper.facts():
        lab.facts.add(fact)


class PathKeeper:
    """Makes records and facts of captures; ``take`` each of them, then ask for the ``facts``.

    ``pairs`` are the failover pairs of the lab: guest and id of the standby.
    """

    def __init__(
        self,
        run_dir: RunDir,
        specs: Mapping[str, tuple[StreamSpec, End, End]],
        pairs: Collection[tuple[str, str]],
    ) -> None:
        self._run_dir = run_dir
        self._wanted = list(_wanted(specs, pairs))
        self._places: dict[tuple[str, str, str, str], _Place] = {}

    def take(self, machine: Machine, capture: TapCapture) -> None:
        """Keep a capture that was fetched from ``machine``, and what it saw of each leg."""
        mine = []
        for one in self._wanted:
            if (one.guest, one.standby) != (capture.guest, capture.standby):
                continue
            key = (one.stream, one.name, capture.role, capture.host)
            place = self._places.setdefault(key, _Place(one, capture.role, capture.host))
            if capture.problem:
                place.problems.append(capture.problem)
            mine.append(place)
        try:
            name = _convert(machine, self._run_dir, capture)
            if name is None:
                return
            seen = read_seen(self._run_dir.file(name), [place.wanted.leg for place in mine])
            for place, records in zip(mine, seen, strict=True):
                place.pieces.append(records)
        except HarnessError as error:
            for place in mine:
                place.problems.append(error.message.replace(f"{self._run_dir.path}/", ""))

    def facts(self) -> tuple[PathFact, ...]:
        """Write the records; the facts that name them."""
        return tuple(_kept(self._run_dir, place) for place in self._places.values())


def _wanted(
    specs: Mapping[str, tuple[StreamSpec, End, End]], pairs: Collection[tuple[str, str]]
) -> Iterator[_Wanted]:
    """The pair is the receiver's, else the sender's."""
    for name, (spec, source, target) in specs.items():
        towards = _at_a_pair(target, pairs)
        end = target if towards else source
        if not _at_a_pair(end, pairs):
            continue
        legs: tuple[tuple[LegName, bool], ...] = (("packet", False),)
        if spec.protocol == "icmp-echo":
            legs = (("request", False), ("reply", True))
        for leg, reply in legs:
            # What goes to the guest leaves through its tap.
            outgoing = towards is not reply
            yield _Wanted(name, end.machine, end.interface, leg, Leg(spec, reply, outgoing))


def _at_a_pair(end: End, pairs: Collection[tuple[str, str]]) -> bool:
    return end.kind == "guest" and (end.machine, end.interface) in pairs


def _convert(machine: Machine, run_dir: RunDir, capture: TapCapture) -> str | None:
    """Make the capture's two files one; its name in the run directory."""
    from_guest, to_guest = capture.from_guest, capture.to_guest
    if from_guest is None or to_guest is None:
        return None
    name = (
        f"{RunDir.CAPTURES}/{capture.host}-{capture.guest}.{capture.number}-{capture.standby}-"
        f"{capture.role}.pcapng"
    )

    def reading(real_ns: int) -> ClockReading:
        at = machine.clock.stamp("realtime", real_ns)
        return ClockReading(real_ns, real_ns - at.t_ns, at.err_ns)

    merged = merge_pcaps(
        from_guest.path,
        to_guest.path,
        run_dir.file(name),
        interface=capture.ifname,
        snaplen=SNAPLEN,
        program=f"tcpdump, failover-harness {harness.__version__}",
        clock=reading,
        now_ns=machine.clock.sample().realtime_ns,
        dropped=capture.dropped,
    )
    for file, found in ((from_guest, merged.inbound), (to_guest, merged.outbound)):
        if found != file.frames:
            raise RecordError(
                f"{name}: has {found} frames of one direction, and tcpdump wrote {file.frames}"
            )
        file.path.unlink()
    return name


def _kept(run_dir: RunDir, place: _Place) -> PathFact:
    wanted, spec = place.wanted, place.wanted.leg.spec
    leg = "" if wanted.name == "packet" else f"{wanted.name}."
    name = f"{RunDir.STREAMS}/{wanted.stream}.{leg}{place.role}@{place.host}.seen"
    problems = list(dict.fromkeys(place.problems))
    if place.pieces:
        records = Records(
            stream_id=spec.stream_id,
            clock="run",
            t_ns=np.concatenate([piece.t_ns for piece in place.pieces]),
            seq=np.concatenate([piece.seq for piece in place.pieces]),
        )
        write_records(run_dir.file(name), records)
    elif not problems:
        problems.append(f"nothing was captured on {place.host}")
    return PathFact(
        t_ns=now_ns(),
        stream=wanted.stream,
        guest=wanted.guest,
        standby=wanted.standby,
        role=place.role,
        host=place.host,
        leg=wanted.name,
        records=name if place.pieces else "",
        complete=not problems,
        problem="; ".join(problems),
    )
