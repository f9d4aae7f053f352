"""The TCP streams of a case on a lab that is up: connect them, prove that octets arrive, end
them, keep the records of both ends.

Each leaves two files, one an end, and one TcpFact that says whether both are whole. Nothing is
judged here.

Neighbours: ``harness.traffic`` has the programs and the formats, ``ends`` says who is who,
``streams`` does the same for numbered packets; ``run`` calls both.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.case import Stream
from harness.case.model import TcpFlow
from harness.errors import DeadlineExceeded, HarnessError
from harness.lab import Lab
from harness.observe import TcpFact
from harness.observe.record import now_ns
from harness.record import RunDir
from harness.scenario.ends import End, ends_of
from harness.scenario.flowing import NotFlowing
from harness.scenario.greeting import greet
from harness.traffic.guestlink import GuestLink
from harness.traffic.tcpclient import TcpEnd
from harness.traffic.tcprecord import Role, TcpRecord, TcpSpec, write_tcp_record

_FIRST_PORT = 22_000
_FIRST_ID = 1_000
"""Of streams of numbered packets the ids count from 1; labprobe knows both kinds by their id."""
_FLOWING_S = 20.0
_WHOLE_S = 15.0
"""How long the receiver may take for the rest once the sender has ended: more than a
retransmission that backed off to eight seconds."""
_SLACK_S = 60.0
"""By how much a stream that ends by itself may take longer than its rate says."""
_POLL_S = 0.1


@dataclass(slots=True)
class _Running:
    """A stream under way. ``problems`` are reasons why its record is not whole."""

    name: str
    terms: Stream
    flow: TcpFlow
    spec: TcpSpec
    source: End
    target: End
    sender: TcpEnd | None = None
    sink: TcpEnd | None = None
    flowing_ns: int = 0
    stopped_ns: int = 0
    problems: list[str] = field(default_factory=list)


class TcpTraffic:
    """All TCP streams of a case. ``begin``, ``prove_flow``, then ``finish``; ``abort`` when a lab
    broke."""

    def __init__(self, lab: Lab, streams: Mapping[str, Stream], run_dir: RunDir) -> None:
        self._lab = lab
        self._run_dir = run_dir
        self._begun = False
        self._streams = [
            self._resolve(number, name, terms, terms.tcp)
            for number, (name, terms) in enumerate(streams.items(), 1)
            if terms.tcp is not None
        ]

    def _resolve(self, number: int, name: str, terms: Stream, flow: TcpFlow) -> _Running:
        source, target = ends_of(self._lab.plan, name, terms)
        spec = TcpSpec.between(
            source.address, target.address, name=name, stream_id=_FIRST_ID + number,
            port=_FIRST_PORT + number, rate=flow.rate / 8, octets=flow.total, dscp=terms.dscp,
        )  # fmt: skip
        return _Running(name, terms, flow, spec, source, target)

    # -- start -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Receivers first, then senders."""
        self._begun = True
        greet(self._lab, ((stream.source, stream.target) for stream in self._streams))
        for stream in self._streams:
            self._listen(stream)
        for stream in self._streams:
            self._connect(stream)

    def prove_flow(self) -> None:
        """Return once octets have come to every receiver. NotFlowing when to one nothing comes."""
        for stream in self._streams:
            self._wait_flowing(stream)
            stream.flowing_ns = now_ns()

    def _listen(self, stream: _Running) -> None:
        spec = stream.spec
        if stream.target.kind == "guest":
            link = self._link(stream.target)
            link.start_tcp_sink(spec.stream_id, spec.port, version=spec.version)
        else:
            stream.sink = self._end(stream.target, spec, "sink")

    def _connect(self, stream: _Running) -> None:
        spec = stream.spec
        if stream.source.kind == "guest":
            self._link(stream.source).start_tcp_sender(
                spec.stream_id, str(spec.destination), spec.port,
                rate=spec.rate, octets=spec.total or 0, dscp=spec.dscp,
            )  # fmt: skip
        else:
            stream.sender = self._end(stream.source, spec, "sender")

    def _end(self, end: End, spec: TcpSpec, role: Role) -> TcpEnd:
        return TcpEnd.start(lambda argv: self._spawn(end.machine, argv), spec, role)

    def _wait_flowing(self, stream: _Running) -> None:
        """What a sender's socket has taken proves nothing: the receiver has to say it."""
        try:
            if stream.sink is not None:
                stream.sink.wait_flowing(_FLOWING_S)
            else:
                self._link(stream.target).wait_flowing(stream.spec.stream_id, _FLOWING_S)
        except DeadlineExceeded as error:
            raise NotFlowing(
                f"the traffic does not flow: stream {stream.name}: nothing came to "
                f"{stream.target.machine} over TCP within {_FLOWING_S:g} s; no step was begun",
                hint="can the two ends of the stream reach each other?",
                evidence=error.evidence,
            ) from error

    def _spawn(self, machine: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        space = self._lab.namespaces[machine].space
        pipe = subprocess.PIPE
        return self._lab.sandbox.popen(space, argv, stdin=pipe, stdout=pipe, stderr=pipe).outer

    def _link(self, end: End) -> GuestLink:
        return self._lab.guests[end.machine].link

    # -- end -------------------------------------------------------------------------------

    def finish(self) -> None:
        """End each stream when its time is over, or it has sent all; keep both ends' records.

        Of streams that were never begun (what came before them did not flow) there are none.
        """
        if not self._begun:
            return
        began, pause = time.monotonic(), threading.Event()
        for stream in sorted(self._streams, key=lambda one: one.terms.after):
            if stream.flow.total is None:
                pause.wait(max(0.0, began + stream.terms.after - time.monotonic()))
            self._keep(stream)

    def abort(self) -> None:
        """End everything at once; nothing is kept."""
        for stream in self._streams:
            for end in (stream.sender, stream.sink):
                if end is not None:
                    end.kill()

    def _keep(self, stream: _Running) -> None:
        """The sender first: it ends the stream, and the receiver sees that."""
        total = stream.flow.total
        within = 0.0 if total is None else total / stream.spec.rate + _SLACK_S
        self._record(stream, "sender", within)
        self._record(stream, "sink", _WHOLE_S)
        guest_sends, guest_gets = (end.kind == "guest" for end in (stream.source, stream.target))
        self._lab.facts.add(
            TcpFact(
                t_ns=now_ns(),
                stream=stream.name,
                sender=stream.source.machine,
                receiver=stream.target.machine,
                rate=stream.flow.rate,
                octets=total,
                ip_version=6 if stream.spec.version == 6 else 4,
                dscp=stream.terms.dscp,
                flowing_ns=stream.flowing_ns,
                stopped_ns=stream.stopped_ns,
                sender_record=_file(stream, "sender"),
                sink_record=_file(stream, "sink"),
                sender_clock="guest" if guest_sends else "run",
                sink_clock="guest" if guest_gets else "run",
                complete=not stream.problems,
                problem="; ".join(stream.problems),
            )
        )

    def _record(self, stream: _Running, role: Role, within: float) -> None:
        """Wait for an end's end, stop it if that does not come, and write its record."""
        end, running = (
            (stream.source, stream.sender) if role == "sender" else (stream.target, stream.sink)
        )
        try:
            if running is not None:
                if within:
                    running.wait_ended(within)
                if role == "sender":
                    stream.stopped_ns = now_ns()
                record = running.stop()
            else:
                record = self._of_guest(self._link(end), stream, role, within)
            write_tcp_record(self._run_dir.file(_file(stream, role)), record)
        except HarnessError as error:
            stream.stopped_ns = stream.stopped_ns or now_ns()
            stream.problems.append(f"its {role} at {end.machine}: {error.message}")

    def _of_guest(self, link: GuestLink, stream: _Running, role: Role, within: float) -> TcpRecord:
        ident, pause, end = stream.spec.stream_id, threading.Event(), time.monotonic() + within
        while time.monotonic() < end and not self._has_ended(link.dump_tcp(ident), stream):
            pause.wait(_POLL_S)
        if role == "sender":
            stream.stopped_ns = now_ns()
        link.stop_tcp(ident)
        return link.dump_tcp(ident)

    @staticmethod
    def _has_ended(so_far: TcpRecord, stream: _Running) -> bool:
        """Whether a guest's end has no more to do: labprobe is asked, for it does not tell."""
        totals = so_far.totals
        if so_far.role == "sink":
            return totals.whole or totals.broken != 0
        return totals.broken != 0 or totals.octets == stream.spec.total


def _file(stream: _Running, role: Role) -> str:
    return f"{RunDir.STREAMS}/{stream.name}.tcp-{role}.json"
