"""The harness's session with labprobe in a guest (``images/guest/labprobe.c``).

The session outlives migrations: ``attach`` gives it the socket of the destination's QEMU
while that of the source may still be read. Lines are numbered by the guest; they are taken
in the order of their numbers whichever socket they came from, and what a migration swallowed
is asked for again. What cannot be had again is recorded as a Note.

Each link event goes to ``on_link`` as soon as it is received, its time being that of its
receipt. Facts go to ``on_fact``: GuestClock from each round trip, LinkEvent for each change of a
netdev, KernelMessage for each line of the kernel's log. The last two wait in ``undated`` until a
later round trip bounds their time from above.

Neighbours: ``guestlines`` puts lines in order, ``guestdump`` reads dumps; ``lab`` gives the
sockets; ``scenario`` starts and dumps streams.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from harness.errors import DeadlineExceeded, LabError, ReachError
from harness.measure.clocks import GuestClockMap
from harness.observe import Fact, GuestClock, LinkEvent, LinkState, Note, ProbeLoad, Snapshot
from harness.observe.record import now_ns
from harness.traffic.guestdump import (
    GuestDump,
    RawDump,
    StreamTotals,
    assemble,
    echo_replies,
    guest_dump,
    tcp_dump,
    totals,
)
from harness.traffic.guestlines import Line, LineOrder, parse_line
from harness.traffic.tcprecord import TcpRecord, TcpTotals, totals_of
from harness.traffic.undated import Undated

_PING_LOST_S = 3.0
"""After this long a ping counts as swallowed by a migration, and another is sent."""
_SEED_OCTETS = 32
_LOAD = ("guest_ns", "cpu_ns", "peak_octets", "sent_octets", "received_octets")
_EVENTS = ("added", "removed", "enslaved", "released", "up", "down", "changed")


class GuestLink:
    """A session with one guest's labprobe. Threads: one a socket, one that pings.

    ``on_fact`` is called from them, one call at a time; it must not call back.
    """

    def __init__(
        self,
        guest: str,
        on_fact: Callable[[Fact], None],
        *,
        on_link: Callable[[LinkEvent], None] | None = None,
        ping_interval: float = 0.2,
    ) -> None:
        self.guest = guest
        self.clock = GuestClockMap()
        self._on_fact = on_fact
        self._on_link = on_link
        self._lock = threading.Condition(threading.RLock())
        self._sockets: list[socket.socket] = []
        self._readers: list[threading.Thread] = []
        self._order = LineOrder()
        self._tags = itertools.count(1)
        self._answers: dict[int, Line] = {}
        self._collecting: dict[int, list[Line]] = {}
        self._pings: dict[int, int] = {}
        self._undated = Undated(guest, self.clock)
        self._states: list[LinkState] = []
        self._monitoring = False
        self._stale: int | None = None
        """The tag of `afresh`, until the new labprobe says its first line."""
        self._refused = ""
        self._flowing: set[int] = set()
        self._closed = threading.Event()
        self._pinger = threading.Thread(
            target=self._keep_pinging, args=(ping_interval,), name=f"ping {guest}", daemon=True
        )
        self._pinger.start()

    # -- sockets -------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """Whether there is a socket to speak to the guest through."""
        with self._lock:
            return bool(self._sockets)

    def attach(self, sock: socket.socket, *, loaded: bool = False) -> None:
        """Read this socket too, and send commands to it from now on.

        ``loaded``: the guest was loaded from a saved state. It gets the time of now and
        random numbers of its own, and its labprobe starts anew: nothing that it said or counted
        before counts. ``wait_monitoring`` tells when that is done.
        """
        with self._lock:
            self._stale = next(self._tags) if loaded else None
            self._sockets.append(sock)
            reader = threading.Thread(
                target=self._read, args=(sock,), name=f"labprobe {self.guest}", daemon=True
            )
            self._readers.append(reader)
            self._pings.clear()  # what was under way may be lost; ask anew at once
            self._order.ask_again()
            self._send("\n")  # ends what an earlier connection left half said
            if self._stale is not None:
                seed = secrets.token_hex(_SEED_OCTETS)
                self._send(f"@{self._stale} afresh {time.time_ns()} {seed}\n")
        reader.start()

    def detach(self) -> None:
        """Give up the socket attached last (its QEMU is gone) for the one before it."""
        with self._lock:
            if self._sockets:
                self._drop(self._sockets[-1])

    def close(self) -> None:
        """End the session; labprobe goes on. What is not dated yet is, by its receipt."""
        if self._closed.is_set():
            return
        self._closed.set()
        with self._lock:
            for sock in list(self._sockets):
                self._drop(sock)
            self._lock.notify_all()
        self._pinger.join(5)
        for reader in self._readers:
            reader.join(5)
        with self._lock:
            self._date(final=True)

    # -- commands ------------------------------------------------------------------------

    def wait_monitoring(self, timeout: float) -> None:
        """Until labprobe has reported the netdevs that were there when it started."""
        end = time.monotonic() + timeout
        with self._lock:
            while not self._monitoring:
                if self._refused:
                    raise LabError(f"guest {self.guest}: `afresh`: {self._refused}")
                self._must_be_connected()
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(
                        f"guest {self.guest}: labprobe said nothing of its netdevs within "
                        f"{timeout:g} s",
                        hint="see the guest's console: does labprobe run, has it its port?",
                    )
                self._lock.wait(left)

    def start_sink(
        self, stream_id: int, port: int, *, version: int = 4, timeout: float = 10.0
    ) -> None:
        """Record arrivals of a stream at a UDP port of the guest."""
        self._ask(f"sink {stream_id} {port} {version}", timeout)

    def start_echo_sink(self, stream_id: int, *, version: int = 4, timeout: float = 10.0) -> None:
        """Record the replies to a stream of echo requests (``start_sender`` with port None);
        ``stop`` and ``dump`` know them as ``echo_replies(stream_id)``."""
        self._ask(f"sink {echo_replies(stream_id)} icmp {version}", timeout)

    def start_sender(
        self, stream_id: int, destination: str, port: int | None, *, rate: float, size: int,
        count: int = 0, source_port: int = 0, dscp: int = 0, timeout: float = 10.0,
    ) -> None:  # fmt: skip
        """Send a stream from the guest; ``size`` octets of IP packet, ``count`` 0: endless.

        ``port`` None: echo requests. Packets go where the guest's routes lead: tagged ones
        through a VLAN netdev of the guest, with an address in the destination's subnet.
        """
        self._ask(
            f"send {stream_id} {destination} {'icmp' if port is None else port} {rate:.9g} {size} "
            f"{count} {source_port} {dscp}",
            timeout,
        )

    def start_tcp_sink(
        self, stream_id: int, port: int, *, version: int = 4, timeout: float = 10.0
    ) -> None:
        """Take one connection at a TCP port of the guest and check what comes."""
        self._not_flowing(stream_id)
        self._ask(f"tcp-sink {stream_id} {port} {version}", timeout)

    def start_tcp_sender(
        self, stream_id: int, destination: str, port: int, *, rate: float, octets: int = 0,
        dscp: int = 0, timeout: float = 10.0,
    ) -> None:  # fmt: skip
        """Send ``rate`` octets a second over TCP, ``octets`` in all (0: endless)."""
        self._not_flowing(stream_id)
        self._ask(f"tcp-send {stream_id} {destination} {port} {rate:.9g} {octets} {dscp}", timeout)

    def wait_flowing(self, stream_id: int, timeout: float) -> None:
        """Until labprobe has said that the stream flows: a sender has sent, a TCP sink received."""
        end = time.monotonic() + timeout
        with self._lock:
            while stream_id not in self._flowing:
                self._must_be_connected()
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(
                        f"guest {self.guest}: stream {stream_id} does not flow after {timeout:g} s",
                        hint="can the two ends of the stream reach each other?",
                    )
                self._lock.wait(left)

    def stop_tcp(self, stream_id: int, *, timeout: float = 10.0) -> TcpTotals:
        """End a TCP stream; the guest waits up to 2 s for the ACKs of what it has sent."""
        return totals_of(dict(self._ask(f"stop {stream_id}", timeout).data))

    def stop(self, stream_id: int, *, timeout: float = 10.0) -> StreamTotals:
        """End a stream; its records stay in the guest until ``forget`` or ``reset``."""
        return totals(self._ask(f"stop {stream_id}", timeout))

    def dump(self, stream_id: int, *, timeout: float = 60.0) -> GuestDump:
        """The records of a stream. RecordError when what came is not what was sent off."""
        return guest_dump(stream_id, self._fetch(stream_id, timeout))

    def dump_tcp(self, stream_id: int, *, timeout: float = 60.0) -> TcpRecord:
        """The record of a TCP stream's end in the guest. RecordError as ``dump``."""
        return tcp_dump(stream_id, self._fetch(stream_id, timeout))

    def _fetch(self, stream_id: int, timeout: float) -> RawDump:
        tag = next(self._tags)
        with self._lock:
            self._collecting[tag] = []
        try:
            end = self._ask(f"dump {stream_id}", timeout, tag=tag)
            with self._lock:
                pieces = self._collecting[tag]
        finally:
            with self._lock:
                self._collecting.pop(tag, None)
        return assemble(f"guest {self.guest}: dump of stream {stream_id}", pieces, end)

    def forget(self, stream_id: int, *, timeout: float = 10.0) -> None:
        """End a stream, if it has not ended, and drop its records: its id is free again."""
        self._ask(f"forget {stream_id}", timeout)

    def reset(self, *, timeout: float = 10.0) -> None:
        """End and forget all streams of the guest."""
        self._ask("reset", timeout)

    def beacon(self, interval_ms: int, *, timeout: float = 10.0) -> None:
        """Have the guest send its clock unasked; 0: no more."""
        self._ask(f"beacon {interval_ms}", timeout)

    def catch_up(self, *, timeout: float = 10.0) -> None:
        """Return once everything that the guest had to say until now has been taken in."""
        self._ask("beacon 0", timeout)

    def snapshot(self, moment: str, *, timeout: float = 10.0) -> Snapshot:
        """All netdevs of the guest now, as its monitor knows them; also given to on_fact."""
        with self._lock:
            self._states = []
        begin = now_ns()
        self._ask("links", timeout)
        end = now_ns()
        with self._lock:
            links = tuple(self._states)
        fact = Snapshot(
            t_ns=(begin + end) // 2, err_ns=(end - begin + 1) // 2, guest=self.guest,
            moment=moment, links=links,
        )  # fmt: skip
        self._on_fact(fact)
        return fact

    def load(
        self, moment: Literal["traffic-flows", "traffic-ends", "records-kept"], *,
        timeout: float = 10.0,
    ) -> ProbeLoad:  # fmt: skip
        """What labprobe has cost the guest from its start until now; also given to on_fact."""
        begin = now_ns()
        said = self._ask("load", timeout)
        fact = ProbeLoad(
            t_ns=(begin + said.received_ns) // 2, err_ns=(said.received_ns - begin + 1) // 2,
            guest=self.guest, moment=moment,
            **{name: int(said.data[name]) for name in _LOAD},
        )  # fmt: skip
        self._on_fact(fact)
        return fact

    def to_run(
        self, guest_ns: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Times of the guest's clock on the run's clock, and their errors (half-widths)."""
        with self._lock:
            return self.clock.to_run(guest_ns)

    # -- inside --------------------------------------------------------------------------

    def _not_flowing(self, stream_id: int) -> None:
        """Forget what was said of an earlier stream with that id."""
        with self._lock:
            self._flowing.discard(stream_id)

    def _ask(self, command: str, timeout: float, *, tag: int | None = None) -> Line:
        """Send a command and wait for its answer; LabError when the guest refuses it."""
        tag = next(self._tags) if tag is None else tag
        end = time.monotonic() + timeout
        with self._lock:
            self._send(f"@{tag} {command}\n")
            while tag not in self._answers:
                self._must_be_connected()
                left = end - time.monotonic()
                if left <= 0 or self._closed.is_set():
                    raise DeadlineExceeded(
                        f"guest {self.guest}: `{command}` was not answered within {timeout:g} s; "
                        f"last seen: line {self._order.last}",
                        hint="a guest that is stopped, or being migrated, does not answer",
                    )
                self._lock.wait(left)
            answer = self._answers.pop(tag)
        if answer.kind == "error":
            raise LabError(f"guest {self.guest}: `{command}`: {answer.data.get('text')}")
        return answer

    def _must_be_connected(self) -> None:
        """ReachError when no QEMU is left through which the guest could answer."""
        if not self._sockets:
            raise ReachError(
                f"guest {self.guest}: labprobe's port is not connected",
                hint="its QEMU has ended, or was taken down; see the QEMU's log",
            )

    def _send(self, text: str) -> None:
        self._must_be_connected()
        try:
            self._sockets[-1].sendall(text.encode())
        except OSError as error:
            raise ReachError(f"guest {self.guest}: labprobe's port: {error}") from error

    def _drop(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            self._sockets.remove(sock)
            self._lock.notify_all()  # who waits for an answer need not wait any longer
        try:
            sock.shutdown(socket.SHUT_RDWR)  # wakes its reader
        except OSError:
            return  # the other end was faster

    def _read(self, sock: socket.socket) -> None:
        held = b""
        try:
            while data := sock.recv(65536):
                received = now_ns()
                *lines, held = (held + data).split(b"\n")
                with self._lock:
                    for raw in lines:
                        if raw and (line := parse_line(raw, received)):
                            self._take(line)
                    if self._order.gap and self._sockets:
                        self._ask_again()
        except OSError:
            held = b""  # the connection broke: the same as its end
        finally:
            with self._lock:
                self._drop(sock)
                sock.close()

    def _ask_again(self) -> None:
        command = self._order.request(next(self._tags))
        if command:
            try:
                self._send(command)
            except ReachError:
                self._order.ask_again()  # at the next line, of the next socket

    def _take(self, line: Line) -> None:
        if self._stale is not None and not self._is_fresh(line):
            return
        for note in self._order.add(line):
            self._on_fact(Note(t_ns=line.received_ns, text=f"guest {self.guest}: {note}"))
        for ready in self._order.ready():
            self._obey(ready)

    def _is_fresh(self, line: Line) -> bool:
        """Whether a line is the first of the new labprobe; before it come those of the old one."""
        if line.kind == "error" and line.tag == self._stale:
            self._refused = str(line.data.get("text"))
            self._lock.notify_all()
        if line.kind != "hello":
            return False
        self._stale = None
        return True

    def _obey(self, line: Line) -> None:
        """Act on one line, in the order of the guest."""
        data = line.data
        if line.kind == "pong":
            self._pong(line)
        elif line.kind == "beacon":
            self.clock.add(int(data["mono"]), None, line.received_ns)
        elif line.kind == "link":
            self._link(line)
        elif line.kind == "flowing":
            self._flowing.add(int(data["id"]))
        elif line.kind in ("kmsg", "kmsg-clock", "kmsg-gap"):
            if note := self._undated.kernel(line):
                self._on_fact(note)
        elif line.kind == "monitoring":
            self._monitoring = True
        elif line.kind == "data" and line.tag in self._collecting:
            self._collecting[line.tag].append(line)
        elif line.kind in ("dropped", "netlink-lost", "full") or (
            line.kind == "error" and line.tag is None
        ):
            self._on_fact(Note(t_ns=line.received_ns, text=f"guest {self.guest}: {data}"))
        if line.tag is not None and line.kind not in ("data", "pong"):
            self._answers[line.tag] = line
        self._lock.notify_all()

    def _pong(self, line: Line) -> None:
        sent = self._pings.pop(line.tag or 0, None)
        if sent is None:
            return
        guest_ns, received = int(line.data["mono"]), line.received_ns
        self.clock.add(guest_ns, sent, received)
        self._on_fact(
            GuestClock(
                t_ns=(sent + received) // 2, err_ns=(received - sent + 1) // 2,
                guest=self.guest, guest_ns=guest_ns,
            )
        )  # fmt: skip
        self._date(bounded_to=guest_ns)
        if self._undated.links and self._sockets:
            self._ping()  # what came while the ping was under way waits for a later one

    def _link(self, line: Line) -> None:
        try:
            state = LinkState.model_validate(line.data["link"])
        except (KeyError, ValidationError) as error:
            self._on_fact(
                Note(t_ns=line.received_ns, text=f"guest {self.guest}: link line: {error}")
            )
            return
        if line.data["event"] == "state":
            self._states.append(state)
        elif line.data["event"] in _EVENTS:
            event = LinkEvent(
                t_ns=line.received_ns, guest=self.guest, event=line.data["event"], link=state,
                guest_ns=int(line.data["guest_ns"]), why=str(line.data.get("why", "")),
            )  # fmt: skip
            self._undated.link(event)
            if self._on_link is not None:
                self._on_link(event)
            if not self._pings:
                self._ping()

    def _date(self, *, bounded_to: int = 0, final: bool = False) -> None:
        """Date what a reading after it bounds; the rest only at the very end."""
        for fact in self._undated.dated(bounded_to=bounded_to, final=final):
            self._on_fact(fact)

    def _keep_pinging(self, interval: float) -> None:
        while not self._closed.wait(interval):
            with self._lock:
                lost = now_ns() - int(_PING_LOST_S * 1e9)
                self._pings = {tag: sent for tag, sent in self._pings.items() if sent > lost}
                if self._sockets and not self._pings and self._stale is None:
                    self._ping()

    def _ping(self) -> None:
        tag = next(self._tags)
        self._pings[tag] = now_ns()
        try:
            self._send(f"@{tag} ping\n")
        except ReachError:
            self._pings.pop(tag, None)  # the reader of that socket notices its end
