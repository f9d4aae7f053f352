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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from harness.case import Stream
from harness.errors import HarnessError
from harness.lab import Lab
from harness.observe import StreamFact
from harness.observe.record import now_ns
from harness.reach.deadline import Deadline
from harness.record import RunDir
from harness.scenario.ends import End, specs_of
from harness.scenario.flowing import Awaited, wait_arriving
from harness.scenario.greeting import greet
from harness.scenario.vlans import join_vlans
from harness.traffic.arrivals import read_arrivals
from harness.traffic.client import Capture, Sender
from harness.traffic.following import Following
from harness.traffic.guestdump import echo_replies
from harness.traffic.guestlink import GuestLink
from harness.traffic.records import Records, write_records
from harness.traffic.stream import StreamSpec

_FLOWING_S = 20.0
_FLOWING_AFTER = 4
"""Packets after which a sender says that it sends."""
_LATE_S = 30.0
"""By how much a stream that ends by itself may end late."""
_DUMP_S = 120.0


@dataclass(slots=True)
class _Running:
    """A stream under way. ``problems`` are reasons why its record is not whole."""

    name: str
    terms: Stream
    spec: StreamSpec
    source: End
    target: End
    sender: Sender | None = None
    began: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def at(self) -> End:
        """Where it arrives: the replies to an echo where the requests were sent."""
        return self.source if self.spec.protocol == "icmp-echo" else self.target

    @property
    def arrivals_id(self) -> int:
        """By which id a guest's probe knows the record of the arrivals."""
        number = self.spec.stream_id
        return echo_replies(number) if self.spec.protocol == "icmp-echo" else number


class Traffic:
    """All streams of a case. ``start`` (or ``begin`` and ``prove_flow``), then ``finish``;
    ``abort`` instead when a lab broke."""

    def __init__(self, lab: Lab, streams: Mapping[str, Stream], run_dir: RunDir) -> None:
        self._lab = lab
        self._run_dir = run_dir
        self._captures: dict[tuple[str, str], Capture] = {}
        self._bound: list[socket.socket] = []
        self.specs: Mapping[str, tuple[StreamSpec, End, End]] = specs_of(lab.plan, streams)
        """Each stream by name: what is sent, its source and its target."""
        self._streams = [_Running(name, streams[name], *ends) for name, ends in self.specs.items()]

    # -- start -----------------------------------------------------------------------------

    def start(self) -> None:
        """Receivers first, then senders; returns once packets of every stream have arrived.

        LabError when a sender does not send, NotFlowing when of a stream nothing arrives.
        """
        self.begin()
        self.prove_flow()

    def begin(self) -> None:
        """Start receivers, then senders."""
        join_vlans(self._lab, self.specs.values())
        greet(self._lab, ((source, target) for _, source, target in self.specs.values()))
        for stream in self._streams:
            self._receive(stream)
        for stream in self._streams:
            self._send(stream)

    def prove_flow(self) -> None:
        """Return once packets of every stream have arrived; errors as of ``start``."""
        for stream in self._streams:
            if stream.sender is not None:
                stream.sender.wait_flowing(_FLOWING_S + _FLOWING_AFTER / stream.spec.rate)
        seen = {
            key: Following(
                capture.path,
                [one.spec for one in self._streams if (one.at.machine, one.at.interface) == key],
            )
            for key, capture in self._captures.items()
        }
        slowest = min((stream.spec.rate for stream in self._streams), default=1.0)
        wait_arriving(
            [self._awaited(stream, seen) for stream in self._streams],
            Deadline(_FLOWING_S + 2 / slowest),
        )

    def _awaited(self, stream: _Running, seen: Mapping[tuple[str, str], Following]) -> Awaited:
        at = stream.at

        def captured() -> int:
            following = seen[at.machine, at.interface]
            following.look()
            return following.counts[stream.name]

        def recorded() -> int:
            dump = self._link(at.machine).dump(stream.arrivals_id, timeout=_DUMP_S)
            return len(dump.records.seq)

        return Awaited(
            stream.name,
            where=f"{at.machine}'s {at.interface} ({at.address})",
            arrived=captured if at.kind == "namespace" else recorded,
            sent=lambda: self._told_of_sends(stream),
        )

    def _told_of_sends(self, stream: _Running) -> str:
        what = "requests" if stream.spec.protocol == "icmp-echo" else "packets"
        if stream.sender is not None:
            sent, failed = (done := stream.sender.stop()).sent, done.failed
        else:
            totals = self._link(stream.source.machine).stop(stream.spec.stream_id)
            sent, failed = totals.sent, totals.failed
        refused = f" ({failed} more were refused by its kernel)" if failed else ""
        to = f"to {stream.target.address}, of which" if what == "packets" else "but of the replies"
        return f"{stream.source.machine} sent {sent} {what}{refused} {to}"

    def _receive(self, stream: _Running) -> None:
        at, spec = stream.at, stream.spec
        if at.kind == "guest":
            link = self._link(at.machine)
            if spec.protocol == "icmp-echo":
                link.start_echo_sink(spec.stream_id, version=spec.version)
            else:
                link.start_sink(spec.stream_id, spec.destination_port, version=spec.version)
            return
        key = (at.machine, at.interface)
        if key not in self._captures:
            self._captures[key] = Capture.start(
                lambda argv: self._spawn(at.machine, argv),
                interface=at.interface,
                path=self._run_dir.file(f"{RunDir.CAPTURES}/{at.machine}-{at.interface}.pcapng"),
                outgoing=True,
            )
        # The namespace has no netdev of a VLAN: nobody there answers tagged packets.
        if spec.protocol == "udp" and spec.vlan is None:
            self._hold_port(at, spec.destination_port)

    def _hold_port(self, end: End, port: int) -> None:
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
        stream.began = time.monotonic()
        if stream.source.kind == "guest":
            self._link(stream.source.machine).start_sender(
                spec.stream_id,
                str(spec.destination),
                spec.destination_port if spec.protocol == "udp" else None,
                rate=spec.rate,
                size=spec.size,
                count=spec.packets or 0,
                source_port=spec.source_port,
                dscp=spec.dscp,
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

    def finish(
        self, *, since: float | None = None, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """End each stream when its time is over, wait for late packets, keep all records.

        A stream that ends by itself is waited for, so that all its packets are sent. ``since``:
        the ``time.monotonic()`` at which the last step was over; now when absent.
        ``meanwhile`` is done once nothing is sent any more, while late packets are waited for.
        """
        began = time.monotonic() if since is None else since
        pause = threading.Event()
        endless = [stream for stream in self._streams if stream.spec.packets is None]
        for stream in sorted(endless, key=lambda one: one.terms.after):
            pause.wait(max(0.0, began + stream.terms.after - time.monotonic()))
            self._stop_sending(stream)
        for stream in self._streams:
            if stream.spec.packets is not None:
                self._await_end(stream, stream.spec.packets)
        silent = time.monotonic()
        meanwhile()
        late = max((stream.terms.waiting_time for stream in self._streams), default=0.0)
        pause.wait(max(0.0, silent + late - time.monotonic()))
        dropped = self._stop_captures()
        for stream in self._streams:
            self._keep(stream, dropped)
            self._forget(stream)
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

    def _stop_sending(self, stream: _Running, *, join: float | None = None) -> None:
        """Tell a sender to stop, or with ``join`` wait so many seconds for it to end by itself."""
        try:
            if stream.sender is None:
                totals = self._link(stream.source.machine).stop(stream.spec.stream_id)
                sent, failed, why = totals.sent, totals.failed, ""
            else:
                sender = stream.sender
                summary = sender.stop() if join is None else sender.join(join)
                sent, failed = summary.sent, summary.failed
                why = ": " + ", ".join(f"{n} {what}" for what, n in summary.errors.items())
            if failed:
                stream.problems.append(
                    f"{stream.source.machine}'s kernel refused {failed} sends{why}"
                )
            if stream.spec.packets is not None and sent + failed != stream.spec.packets:
                stream.problems.append(f"{sent} packets were sent instead of {stream.spec.packets}")
        except HarnessError as error:
            stream.problems.append(f"its sender did not end properly: {error.message}")

    def _await_end(self, stream: _Running, packets: int) -> None:
        """Wait until a stream that ends by itself has sent all; what kept it is its problem."""
        left = max(0.0, stream.began + packets / stream.spec.rate - time.monotonic())
        if stream.sender is not None:
            self._stop_sending(stream, join=left + _LATE_S)
            return
        link, pause = self._link(stream.source.machine), threading.Event()
        deadline = Deadline(2 * left + _LATE_S)
        pause.wait(left)
        try:
            # Its schedule may have moved: an emulated guest stands still now and then.
            while link.dump(stream.spec.stream_id, timeout=_DUMP_S).totals.attempted < packets:
                if deadline.expired:
                    break
                pause.wait(min(1.0, deadline.left))
        except HarnessError as error:
            stream.problems.append(f"its sender cannot be asked: {error.message}")
        self._stop_sending(stream)

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
        spec, at = stream.spec, stream.at
        dscp_changed: int | None = None  # the probe of a guest does not see it
        try:
            if stream.source.kind == "guest":
                sends = self._dumped(stream, stream.source, spec.stream_id)
                write_records(self._run_dir.sends(stream.name), sends)
            if at.kind == "guest":
                self._link(at.machine).stop(stream.arrivals_id)
                arrivals = self._dumped(stream, at, stream.arrivals_id)
            else:
                if problem := captures[at.machine, at.interface]:
                    stream.problems.append(problem)
                path = self._captures[at.machine, at.interface].path
                extracted = read_arrivals(path, [spec])
                arrivals = extracted.records[stream.name]
                dscp_changed = extracted.dscp_changed[stream.name]
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
                ip_version=4 if spec.version == 4 else 6,
                dscp=spec.dscp,
                vlan=spec.vlan,
                count=spec.count,
                duration_ns=None if spec.duration_s is None else round(spec.duration_s * 1e9),
                dscp_changed=dscp_changed,
            )
        )

    def _forget(self, stream: _Running) -> None:
        """Free the stream's ids in guests, for streams to come in the same lab."""
        for end, number in (
            (stream.source, stream.spec.stream_id),
            (stream.at, stream.arrivals_id),
        ):
            if end.kind == "guest":
                with suppress(HarnessError):  # as good as forgotten: the guest is gone
                    self._link(end.machine).forget(number)

    def _dumped(self, stream: _Running, end: End, stream_id: int) -> Records:
        """One of the guest's records of the stream."""
        dump = self._link(end.machine).dump(stream_id, timeout=_DUMP_S)
        if not dump.totals.complete:
            stream.problems.append(
                f"{end.machine}: {dump.totals.unrecorded} packets were not recorded, "
                f"{dump.totals.overrun} did not fit the socket of the probe"
            )
        return dump.records
