"""The traffic of a case on a lab that is up: start it, prove that it flows, end it, keep it.

Packets from a namespace are sent and captured there; the guest's end is labprobe's. Each
stream leaves two files, its sends and its arrivals, and one StreamFact that says whether
both are whole. Nothing is counted here.

Neighbours: ``harness.traffic`` has the programs and the formats; ``run`` calls this.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Literal

from harness.case import Stream
from harness.errors import HarnessError, LabError
from harness.lab import Lab
from harness.observe import StreamFact
from harness.observe.record import now_ns
from harness.record import RunDir
from harness.traffic.arrivals import read_arrivals
from harness.traffic.client import Capture, Sender
from harness.traffic.guestlink import GuestLink
from harness.traffic.records import Records, write_records
from harness.traffic.stream import StreamSpec

_FIRST_PORT = 20_000
_FLOWING_S = 20.0
_DUMP_S = 120.0


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a stream: a namespace's NIC or a guest's."""

    machine: str
    kind: Literal["namespace", "guest"]
    interface: str
    mac: str
    address: str


@dataclass(slots=True)
class _Running:
    """A stream under way. ``problems`` are reasons why its record is not whole."""

    name: str
    terms: Stream
    spec: StreamSpec
    source: _End
    target: _End
    sender: Sender | None = None
    problems: list[str] = field(default_factory=list)


class Traffic:
    """All streams of a case. ``start``, then ``finish``; ``abort`` instead when a lab broke."""

    def __init__(self, lab: Lab, streams: Mapping[str, Stream], run_dir: RunDir) -> None:
        self._lab = lab
        self._run_dir = run_dir
        self._captures: dict[tuple[str, str], Capture] = {}
        self._bound: list[socket.socket] = []
        self._streams = [
            self._resolve(number, name, stream)
            for number, (name, stream) in enumerate(streams.items(), 1)
        ]

    # -- start -----------------------------------------------------------------------------

    def start(self) -> None:
        """Receivers first, then senders; returns once every sender's packets have left."""
        for stream in self._streams:
            self._receive(stream)
        for stream in self._streams:
            self._send(stream)
        for stream in self._streams:
            if stream.sender is not None:
                stream.sender.wait_flowing(_FLOWING_S)

    def _receive(self, stream: _Running) -> None:
        # The replies to an echo arrive where the requests were sent.
        end = stream.source if stream.spec.protocol == "icmp-echo" else stream.target
        if end.kind == "guest":
            self._link(end.machine).start_sink(
                stream.spec.stream_id, stream.spec.destination_port, version=stream.spec.version
            )
            return
        key = (end.machine, end.interface)
        if key not in self._captures:
            self._captures[key] = Capture.start(
                lambda argv: self._spawn(end.machine, argv),
                interface=end.interface,
                path=self._run_dir.file(f"{RunDir.CAPTURES}/{end.machine}-{end.interface}.pcapng"),
                outgoing=True,
            )
        if stream.spec.protocol == "udp":
            self._hold_port(end, stream.spec.destination_port)

    def _hold_port(self, end: _End, port: int) -> None:
        """Bind the port, so that the kernel does not answer "port unreachable" to the sender."""
        family = socket.AF_INET6 if ":" in end.address else socket.AF_INET
        space = self._lab.namespaces[end.machine].space
        holder = self._lab.sandbox.socket(space, family, socket.SOCK_DGRAM)
        # Nobody reads from it: keep what it piles up small.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        holder.bind((end.address, port))
        self._bound.append(holder)

    def _send(self, stream: _Running) -> None:
        spec = stream.spec
        if stream.source.kind == "guest":
            self._link(stream.source.machine).start_sender(
                spec.stream_id,
                str(spec.destination),
                spec.destination_port,
                rate=spec.rate,
                size=spec.size,
                source_port=spec.source_port,
            )
            return
        stream.sender = Sender.start(
            lambda argv: self._spawn(stream.source.machine, argv),
            spec,
            interface=stream.source.interface,
            sends=self._run_dir.sends(stream.name),
        )

    def _spawn(self, machine: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        space = self._lab.namespaces[machine].space
        pipe = subprocess.PIPE
        return self._lab.sandbox.popen(space, argv, stdin=pipe, stdout=pipe, stderr=pipe).outer

    def _link(self, guest: str) -> GuestLink:
        return self._lab.guests[guest].link

    # -- end -------------------------------------------------------------------------------

    def finish(self) -> None:
        """End each stream when its time is over, wait for late packets, keep all records."""
        began = time.monotonic()
        pause = threading.Event()
        for stream in sorted(self._streams, key=lambda one: one.terms.after):
            pause.wait(max(0.0, began + stream.terms.after - time.monotonic()))
            self._stop_sending(stream)
        pause.wait(max((stream.terms.waiting_time for stream in self._streams), default=0.0))
        dropped = self._stop_captures()
        for stream in self._streams:
            self._keep(stream, dropped)
        self._release()

    def abort(self) -> None:
        """End everything at once; nothing is kept but what is on disk already."""
        for stream in self._streams:
            if stream.sender is not None:
                stream.sender.kill()
        for capture in self._captures.values():
            capture.kill()
        self._release()

    def _release(self) -> None:
        for holder in self._bound:
            holder.close()
        self._bound.clear()

    def _stop_sending(self, stream: _Running) -> None:
        try:
            if stream.sender is None:
                totals = self._link(stream.source.machine).stop(stream.spec.stream_id)
                if totals.failed:
                    stream.problems.append(f"the guest's kernel refused {totals.failed} sends")
            else:
                summary = stream.sender.stop()
                if summary.failed:
                    reasons = ", ".join(f"{n} {why}" for why, n in summary.errors.items())
                    stream.problems.append(f"the kernel refused {summary.failed} sends: {reasons}")
        except HarnessError as error:
            stream.problems.append(f"its sender did not end properly: {error.message}")

    def _stop_captures(self) -> dict[tuple[str, str], str]:
        """Why a capture is not whole, by its place; the empty string where it is."""
        told = {}
        for key, capture in self._captures.items():
            try:
                summary = capture.stop()
                dropped = summary.dropped
                told[key] = f"the capture at {key[0]} missed {dropped} frames" if dropped else ""
                if capture.problem:
                    told[key] = f"the capture at {key[0]}: {capture.problem}"
            except HarnessError as error:
                told[key] = f"the capture at {key[0]} did not end properly: {error.message}"
        return told

    def _keep(self, stream: _Running, captures: Mapping[tuple[str, str], str]) -> None:
        spec, at = stream.spec, stream.target
        if spec.protocol == "icmp-echo":
            at = stream.source
        try:
            if stream.source.kind == "guest":
                sends = self._dumped(stream, stream.source)
                write_records(self._run_dir.sends(stream.name), sends)
            if at.kind == "guest":
                arrivals = self._dumped(stream, at)
            else:
                if problem := captures[at.machine, at.interface]:
                    stream.problems.append(problem)
                path = self._captures[at.machine, at.interface].path
                arrivals = read_arrivals(path, [spec]).records[stream.name]
            write_records(self._run_dir.arrivals(stream.name), arrivals)
        except HarnessError as error:
            stream.problems.append(error.message)
        self._lab.facts.add(
            StreamFact(
                t_ns=now_ns(),
                stream=stream.name,
                protocol=spec.protocol,
                sender=stream.source.machine,
                receiver=stream.target.machine,
                rate=spec.rate,
                size=spec.size,
                tmax_ns=round(stream.terms.waiting_time * 1e9),
                sends=f"{RunDir.STREAMS}/{stream.name}.sends",
                arrivals=f"{RunDir.STREAMS}/{stream.name}.arrivals",
                sends_clock="guest" if stream.source.kind == "guest" else "run",
                arrivals_clock="guest" if at.kind == "guest" else "run",
                complete=not stream.problems,
                problem="; ".join(stream.problems),
            )
        )

    def _dumped(self, stream: _Running, end: _End) -> Records:
        """The guest's record of its end of the stream."""
        link = self._link(end.machine)
        if end is not stream.source:
            link.stop(stream.spec.stream_id)
        dump = link.dump(stream.spec.stream_id, timeout=_DUMP_S)
        if not dump.totals.complete:
            stream.problems.append(
                f"{end.machine}: {dump.totals.unrecorded} packets were not recorded, "
                f"{dump.totals.overrun} did not fit the socket of the probe"
            )
        return dump.records

    # -- who is who ------------------------------------------------------------------------

    def _resolve(self, number: int, name: str, stream: Stream) -> _Running:
        for source in self._ends(stream.sender):
            for target in self._ends(stream.receiver):
                near, far = ip_interface(source.address), ip_interface(target.address)
                if near.version == far.version and near.network == far.network:
                    return self._running(number, name, stream, source, target)
        raise LabError(
            f"stream {name}: {stream.sender} and {stream.receiver} have no addresses in one subnet",
            hint="give both an address of the same network",
        )

    def _running(
        self, number: int, name: str, stream: Stream, source: _End, target: _End
    ) -> _Running:
        source, target = (
            _End(end.machine, end.kind, end.interface, end.mac, str(ip_interface(end.address).ip))
            for end in (source, target)
        )
        ports = (
            {"source_port": _FIRST_PORT + 1000 + number, "destination_port": _FIRST_PORT + number}
            if stream.protocol == "udp"
            else {}
        )
        spec = StreamSpec.between(
            source.address,
            target.address,
            name=name,
            protocol=stream.protocol,
            source_mac=source.mac,
            destination_mac=target.mac,
            stream_id=number,
            rate=stream.flow.rate,
            size=stream.flow.size,
            **ports,
        )
        return _Running(name, stream, spec, source, target)

    def _ends(self, machine: str) -> list[_End]:
        """The addressed NICs of a namespace or guest."""
        for namespace in self._lab.plan.namespaces:
            if namespace.name == machine:
                return [
                    _End(machine, "namespace", link.ifname or link.nic, link.mac, address)
                    for link in namespace.links
                    for address in link.addresses
                ]
        guest = self._lab.plan.guests[machine]
        return [
            _End(machine, "guest", nic_id, guest.macs[nic_id], str(address))
            for nic_id, nic in guest.nics.items()
            for address in nic.address
        ]
